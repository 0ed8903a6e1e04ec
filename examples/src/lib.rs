//! What the examples share: where their locks live, and clients of that place.

pub mod ledger;

use std::str::FromStr;

use anyhow::{Context, Result};
use clap::Parser;
use msync::{Client, MemoryStore};
use tests::testbed::{ADMIN, Options, TestServer};

const NO_CLUSTER: &str =
    "no cluster is configured: set KUBECONFIG, run inside a cluster, or leave `--store` out for a store in memory";

/// The arguments of every example.
#[derive(Parser, Clone, Copy, Debug)]
pub struct Args {
    /// Where the locks live: memory, kube (the cluster of the environment), leases (the same, in Leases) or testbed (a real API
    /// server, started here; needs Go).
    #[arg(long, default_value = "memory")]
    pub store: StoreKind,

    /// On a cluster, use Leases rather than the Lock resource.
    #[arg(long)]
    pub leases: bool,
}

// === impl Args ===

impl Args {
    /// Says whether locks are to stand in Leases.
    pub fn on_leases(self) -> bool {
        self.leases || self.store == StoreKind::Leases
    }
}

/// Where an example keeps its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In this process: needs nothing.
    Memory,
    /// In the cluster of the environment (kubeconfig or service account).
    Kube,
    /// There, in Leases.
    Leases,
    /// On a real API server that the example starts itself; needs Go.
    Testbed,
}

impl FromStr for StoreKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "kube" => Ok(Self::Kube),
            "leases" => Ok(Self::Leases),
            "testbed" => Ok(Self::Testbed),
            other => Err(format!("no such store: {other} (memory, kube, leases or testbed)")),
        }
    }
}

/// A place where locks live. Each client of it is what another pod would have.
pub struct Place {
    store: Store,
    leases: bool,
    /// Ends with the place.
    _server: Option<TestServer>,
}

enum Store {
    Memory(MemoryStore),
    Cluster(Box<kube::Config>),
}

// === impl Place ===

impl Place {
    /// Opens the place, and installs the resource if it is a cluster.
    ///
    /// # Errors
    /// When there is no cluster, it cannot be reached, or it refuses the resource.
    ///
    /// # Cancel safety
    /// A server that was being started is stopped.
    pub async fn open(args: Args) -> Result<Self> {
        let (store, server) = match args.store {
            StoreKind::Memory => (Store::Memory(MemoryStore::new()), None),
            StoreKind::Kube | StoreKind::Leases => (cluster(kube::Config::infer().await.context(NO_CLUSTER)?), None),
            StoreKind::Testbed => {
                let server =
                    TestServer::start(Options::default()).await?.context("the API server needs Go to be built")?;
                (cluster(server.config(ADMIN).await?), Some(server))
            }
        };
        let place = Self { store, leases: args.on_leases(), _server: server };
        place.client("installer")?.install_crd().await?;
        Ok(place)
    }

    /// Makes the client of one pod.
    ///
    /// # Errors
    /// When the cluster's configuration is not usable.
    pub fn client(&self, pod: &str) -> Result<Client> {
        let builder = Client::builder().owner(pod);
        let builder = if self.leases { builder.leases() } else { builder };
        Ok(match &self.store {
            Store::Memory(store) => builder.memory(store).build(),
            Store::Cluster(config) => builder.config((**config).clone()).build()?,
        })
    }
}

fn cluster(config: kube::Config) -> Store {
    Store::Cluster(Box::new(config))
}
