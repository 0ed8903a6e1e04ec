//! Opens the store that the configuration names, and makes it usable where that is allowed.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use msync::{
    LockName, MemoryStore,
    crd::install_crd,
    store::{Fatal, Fault, KubeStore, Store},
};
use tokio::time::timeout;

use crate::config::{self, Config};

/// How long the API server may take to say whether locks can be stored. If it is down now it may be up later.
const PATIENCE: Duration = Duration::from_secs(3);

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
        config::Store::Kube => Ok(Arc::new(cluster(config).await?)),
    }
}

async fn cluster(config: &Config) -> Result<KubeStore> {
    // The error tells its sources itself.
    let client = kube::Client::try_default().await.map_err(|error| {
        anyhow!("no cluster is configured ({error}); without one, `--store memory` serves for developing clients")
    })?;
    let namespace = config.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let store = KubeStore::new(client.clone(), &namespace);
    match probe(&store).await {
        Ok(()) => {}
        Err(Fault::Fatal(Fatal::CrdMissing(missing))) => install(&client, &missing).await?,
        Err(Fault::Fatal(fatal)) => bail!(fatal),
        Err(fault) => tracing::warn!(?fault, "the API server gives no answer yet; serving all the same"),
    }
    Ok(store)
}

/// Reads a lock that nobody has: that needs the resource and a right, as every later call does.
#[allow(clippy::disallowed_methods, reason = "a real server is waited for in real time")]
async fn probe(store: &KubeStore) -> Result<(), Fault> {
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
