//! Locks on a real API server.

mod by_hand;
mod fence;
mod frozen;
mod processes;
mod promises;
mod queue;
mod replies;
mod requests;
mod statuses;
mod zombies;

use std::time::Duration;

use anyhow::Result;
use msync::{Client, Error, LockGuard};
use tests::{cluster::Cluster, tamper::Tamper};
use tokio::task::JoinHandle;

/// Short, so that losses come soon, with a margin of 300 ms for a machine that does other things as well.
const TTL: u64 = 3000;

/// A member whose requests can be broken, and one whose cannot.
struct Pair {
    cluster: Cluster,
    tamper: Tamper,
    /// Its requests pass the rules of `tamper`.
    broken: Client,
    honest: Client,
}

impl Pair {
    async fn new(retry: bool) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::shared().await? else { return Ok(None) };
        let tamper = Tamper::new();
        let broken = cluster.client_with(&tamper, retry, "broken", tests::cluster::ttl(TTL)).await?;
        let honest = cluster.client("honest", tests::cluster::ttl(TTL)).await?;
        Ok(Some(Self { cluster, tamper, broken, honest }))
    }

    /// Who holds, by owner; empty when nobody does.
    async fn owner(&self, lock: &str) -> String {
        let found = self.cluster.snapshot(lock).await.ok().flatten();
        found.map(|snapshot| snapshot.record.engine.owner().to_owned()).unwrap_or_default()
    }
}

/// Acquires in the background.
fn acquiring(client: &Client, lock: &str) -> JoinHandle<Result<LockGuard, Error>> {
    let lock = client.lock(lock).expect("a valid name");
    tokio::spawn(async move { lock.acquire().await })
}

/// Waits in the queue, in the background.
async fn waiting(cluster: &Cluster, client: &Client, lock: &str) -> Result<JoinHandle<Result<LockGuard, Error>>> {
    let before = cluster.snapshot(lock).await?.map_or(0, |snapshot| snapshot.record.waiters.len());
    let waiter = acquiring(client, lock);
    cluster.until_waiting(lock, before + 1).await?;
    Ok(waiter)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
