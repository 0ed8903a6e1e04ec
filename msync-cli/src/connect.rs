//! From flags to the cluster: which kubeconfig, which context, which namespace.

use kube::config::{KubeConfigOptions, Kubeconfig};
use msync::{
    Client, ClientBuilder, MemoryStore,
    unstable::{
        store::{KubeStore, LeaseStore},
        transport,
    },
};

use crate::{
    args::{Cluster, Store},
    exit::{Failure, UNAVAILABLE, USAGE},
};

/// A cluster, and the namespace that is meant.
#[derive(Clone)]
pub(crate) struct Connection {
    config: kube::Config,
    pub(crate) client: kube::Client,
    pub(crate) namespace: String,
    /// The locks stand in Leases.
    pub(crate) leases: bool,
}

// === impl Connection ===

impl Connection {
    /// Reads the configuration. Sends nothing yet.
    pub(crate) async fn open(cluster: &Cluster) -> Result<Self, Failure> {
        if cluster.store == Store::Memory {
            let why =
                "locks in memory are those of one process: leave `--store` and MSYNC_STORE out, or say kube or leases";
            return Err(Failure::usage(why));
        }
        let config = config(cluster).await?;
        let namespace = cluster.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config.clone()).map_err(|error| unusable(&error))?;
        Ok(Self { config, client, namespace, leases: cluster.store == Store::Leases })
    }

    /// Where the API server is, as the configuration has it.
    pub(crate) fn server(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// Makes a client of msync; it shows itself as `owner`, or as this host.
    pub(crate) fn msync(&self, owner: Option<&str>) -> Result<Client, Failure> {
        let builder = if self.leases { Client::builder().leases() } else { Client::builder() };
        Ok(named(builder, owner).namespace(&self.namespace).config(self.config.clone()).build()?)
    }

    /// The store that its locks stand in.
    pub(crate) fn store(&self) -> Box<dyn msync::unstable::store::Store> {
        let client = self.client.clone();
        if self.leases {
            Box::new(LeaseStore::new(client, &self.namespace))
        } else {
            Box::new(KubeStore::new(client, &self.namespace))
        }
    }
}

/// Begins a client with its name.
pub(crate) fn named(builder: ClientBuilder, owner: Option<&str>) -> ClientBuilder {
    match owner {
        Some(owner) => builder.owner(owner),
        None => builder,
    }
}

/// Opens the store that `--store` names.
pub(crate) async fn open(cluster: &Cluster, build: ClientBuilder) -> Result<Client, Failure> {
    match cluster.store {
        Store::Memory => Ok(build.memory(&MemoryStore::new()).build()),
        Store::Kube | Store::Leases => {
            let build = if cluster.store == Store::Leases { build.leases() } else { build };
            let config = config(cluster).await?;
            let namespace = cluster.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
            Ok(build.namespace(namespace).config(config).build()?)
        }
    }
}

async fn config(cluster: &Cluster) -> Result<kube::Config, Failure> {
    let Some(context) = &cluster.context else {
        let found = transport::infer().await.map_err(|error| {
            let next = "set KUBECONFIG, or run inside a pod; `--store memory` lets `msync run` do without a cluster";
            Failure::new(UNAVAILABLE, format_args!("{error}; {next}"))
        })?;
        return Ok(found.config);
    };
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let kubeconfig = Kubeconfig::read().map_err(|error| unusable(&error))?;
    let known: Vec<_> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    transport::of_kubeconfig(kubeconfig, &options).await.map_err(|error| {
        let next = format!("contexts are: {}", known.join(", "));
        Failure::new(USAGE, format_args!("context {context} cannot be used: {error}; {next}"))
    })
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    Failure::new(UNAVAILABLE, format_args!("the kubeconfig cannot be used: {error}; set KUBECONFIG to one that can"))
}
