//! Two members on a real API server, one of whom cannot rely on its requests.

use anyhow::Result;
use msync::{Client, Timing};

use crate::{cluster::Cluster, tamper::Tamper};

/// A member whose requests can be broken, and one whose cannot, in a namespace of their own.
pub struct Pair {
    /// Where they are.
    pub cluster: Cluster,
    /// The rules that requests of `broken` pass.
    pub tamper: Tamper,
    /// Its owner's name is "broken".
    pub broken: Client,
    /// Its owner's name is "honest".
    pub honest: Client,
}

impl Pair {
    /// Both with this timing, on the shared server; kube's own retries of `broken` are on or off. `None` means that the
    /// test is to be skipped.
    ///
    /// # Errors
    ///
    /// When the server cannot be had.
    ///
    /// # Cancel safety
    ///
    /// A namespace may be left behind, unused.
    pub async fn new(retry: bool, timing: Timing) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::shared().await? else { return Ok(None) };
        let tamper = Tamper::new();
        let broken = cluster.client_with(&tamper, retry, "broken", timing).await?;
        let honest = cluster.client("honest", timing).await?;
        Ok(Some(Self { cluster, tamper, broken, honest }))
    }
}
