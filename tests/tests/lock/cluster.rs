//! Locks on a real API server.

mod admission;
mod by_hand;
mod crowd;
mod fence;
mod forks;
mod frozen;
mod processes;
mod promises;
mod queue;
mod replies;
mod requests;
mod sets;
mod statuses;
mod unusable;
mod zombies;

use std::time::Duration;

use anyhow::Result;
use msync::{Client, Error, LockGuard};
use tests::{
    cluster::{Cluster, ttl},
    pair::Pair,
    testbed::ADMIN,
};
use tokio::task::JoinHandle;

/// Short, so that losses come soon, with a margin of 300 ms for a machine that does other things as well.
const TTL: u64 = 3000;

/// A pair with the ttl of these tests.
async fn pair(retry: bool) -> Result<Option<Pair>> {
    Pair::new(retry, ttl(TTL)).await
}

/// A client of kube of who may do everything.
async fn kube_of(cluster: &Cluster) -> Result<kube::Client> {
    cluster.server().client(ADMIN).await
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
