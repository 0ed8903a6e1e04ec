//! The stores: one contract on both, and what only the API server can do to us.
// Servers and watches run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

mod by_hand;
mod contract;
mod leases;
mod rights;
mod watching;

use std::sync::Arc;

use anyhow::Result;
use kube::{Api, Client};
use msync::unstable::{
    crd::{Lock, install_crd},
    store::{KubeStore, LeaseStore},
};
use tests::{
    store_contract::Subject,
    tamper::Tamper,
    testbed::{ADMIN, TestServer},
};
use tokio::sync::OnceCell;

/// A namespace of the shared server: as a store, as objects, and as a client with faults.
struct Bench {
    server: &'static TestServer,
    namespace: String,
    client: Client,
    store: Subject,
    locks: Api<Lock>,
    leases: bool,
}

impl Bench {
    /// `None` when there is no server to be had; why was printed already.
    async fn new() -> Result<Option<Self>> {
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let Some(server) = TestServer::shared().await? else { return Ok(None) };
        let client = server.client(ADMIN).await?;
        INSTALLED.get_or_try_init(|| install_crd(&client)).await?;
        let namespace = server.namespace().await?;
        let store = kube_store(&client, &namespace);
        let locks = Api::namespaced(client.clone(), &namespace);
        Ok(Some(Self { server, namespace, client, store, locks, leases: false }))
    }

    /// The same with a store on Leases.
    async fn on_leases() -> Result<Option<Self>> {
        let Some(bench) = Self::new().await? else { return Ok(None) };
        Ok(Some(Self { store: lease_store(&bench.client, &bench.namespace), leases: true, ..bench }))
    }

    /// Opens a store of the kind of this bench.
    fn open(&self, client: &Client) -> Subject {
        if self.leases { lease_store(client, &self.namespace) } else { kube_store(client, &self.namespace) }
    }

    /// A store whose requests are tampered with, without retries of kube's own.
    async fn tampered(&self, tamper: &Tamper) -> Result<Subject> {
        let mut config = self.server.config(ADMIN).await?;
        config.default_retry = false;
        Ok(kube_store(&tamper.client(config)?, &self.namespace))
    }
}

fn kube_store(client: &Client, namespace: &str) -> Subject {
    Arc::new(KubeStore::new(client.clone(), namespace))
}

fn lease_store(client: &Client, namespace: &str) -> Subject {
    Arc::new(LeaseStore::new(client.clone(), namespace))
}
