//! Opens the store that the configuration names, and makes it usable where that is allowed.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, api::PostParams};
use msync::{
    LockName, MemoryStore,
    unstable::{
        crd::install_crd,
        store::{Fatal, Fault, KubeStore, LeaseStore, Store},
        transport::{connect_at_home, infer},
    },
};
use tokio::{task::spawn_blocking, time::timeout};

use crate::config::{self, Config};

/// How long the API server may take to say whether locks can be stored. If it is down now it may be up later.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a lock's life needs; `get` alone says little of the others.
const VERBS: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];

/// Opens the store. On a cluster it installs the `Lock` resource if that is absent.
///
/// # Errors
/// There is no cluster, or a right or the resource is missing: the message says what, and how to mend it.
///
/// # Cancel safety
/// The resource may be installed already.
pub async fn open(config: &Config) -> Result<Arc<dyn Store>> {
    match config.store {
        config::Store::Memory => Ok(Arc::new(MemoryStore::new())),
        config::Store::Kube | config::Store::Leases => cluster(config).await,
    }
}

/// What locks are stored in: its group, its name, and the manifest with the rights.
type Resource = (&'static str, &'static str, &'static str);

const LOCKS: Resource = ("metaparticle.io", "locks", "rbac.yaml");
const LEASES: Resource = ("coordination.k8s.io", "leases", "rbac-leases.yaml");

async fn cluster(config: &Config) -> Result<Arc<dyn Store>> {
    // The error tells its sources itself.
    let client = connect()
        .await
        .map_err(|error| anyhow!("{error:#}; without a cluster, `--store memory` serves for developing clients"))?;
    let namespace = config.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let (store, resource): (Arc<dyn Store>, _) = match config.store {
        config::Store::Leases => (Arc::new(LeaseStore::new(client.clone(), &namespace)), LEASES),
        _ => (Arc::new(KubeStore::new(client.clone(), &namespace)), LOCKS),
    };
    match probe(&*store).await {
        Ok(()) => {}
        Err(Fault::Fatal(Fatal::CrdMissing(missing))) => install(&client, &missing).await?,
        Err(Fault::Fatal(fatal)) => bail!(fatal),
        Err(fault) => {
            tracing::warn!(fault = %fault.describe(), "the API server gives no answer yet; serving all the same");
        }
    }
    let missing = refused(&client, &namespace, resource).await;
    let (group, plural, manifest) = resource;
    ensure!(
        missing.is_empty(),
        "not allowed to {} {plural}.{group} in namespace {namespace}; missing is a Role with the rule \
         {{apiGroups: [{group}], resources: [{plural}], verbs: [{}]}}, as in examples/manifests/{manifest}",
        missing.join(" or "),
        VERBS.join(", ")
    );
    Ok(store)
}

/// Connects to the cluster of the environment as the library does, on its thread: an exec plugin may take its time.
async fn connect() -> Result<kube::Client> {
    let found = infer().await?;
    Ok(spawn_blocking(|| connect_at_home(found.config)).await??)
}

/// The verbs that this user may not use. What cannot be asked is taken for allowed: the first call will tell.
async fn refused(client: &kube::Client, namespace: &str, resource: Resource) -> Vec<&'static str> {
    let asked = join_all(VERBS.map(|verb| is_refused(client, namespace, resource, verb))).await;
    VERBS.into_iter().zip(asked).filter(|(_, refused)| *refused).map(|(verb, _)| verb).collect()
}

#[allow(clippy::disallowed_methods, reason = "a real server is waited for in real time")]
async fn is_refused(client: &kube::Client, namespace: &str, (group, plural, _): Resource, verb: &str) -> bool {
    let attributes = ResourceAttributes {
        group: Some(group.into()),
        resource: Some(plural.into()),
        namespace: Some(namespace.into()),
        verb: Some(verb.into()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    match timeout(PATIENCE, reviews.create(&PostParams::default(), &review)).await {
        Ok(Ok(answer)) => answer.status.is_some_and(|status| !status.allowed),
        Ok(Err(error)) => {
            tracing::debug!(%error, verb, "the API server does not say what is allowed");
            false
        }
        Err(_) => false,
    }
}

/// Reads a lock that nobody has: that needs the resource and a right, as every later call does.
#[allow(clippy::disallowed_methods, reason = "a real server is waited for in real time")]
async fn probe(store: &dyn Store) -> Result<(), Fault> {
    let name = LockName::new("msync-probe").expect("the name is valid");
    match timeout(PATIENCE, store.read(&name)).await {
        Ok(answer) => answer.map(drop),
        Err(_) => Err(Fault::Busy(None)),
    }
}

async fn install(client: &kube::Client, missing: &str) -> Result<()> {
    tracing::info!("{missing}");
    install_crd(client).await.context("the Lock resource is not installed, and this sidecar could not install it")?;
    tracing::info!("the Lock resource is installed");
    Ok(())
}
