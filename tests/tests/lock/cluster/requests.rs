//! What an acquisition costs, counted by the API server itself.

use anyhow::Result;
use tests::{
    cluster::{Cluster, LIMIT, ttl},
    eventually,
    lock_request::Kind,
    tamper::{Call, Tamper},
    testbed::RequestCounts,
};

use super::waiting;

/// Long, so that no renewal falls into a measurement.
const LONG: u64 = 60_000;

/// Counts by verb what is neither a list nor a watch.
fn calls(counts: &RequestCounts) -> (u64, u64, u64, u64) {
    // The server renews a Lease of its own by PUT.
    let besides = counts.total() - counts.of("LIST") - counts.of("WATCH") - counts.of("PUT");
    (counts.of("POST"), counts.of("PATCH"), counts.of("DELETE"), besides)
}

#[tokio::test]
async fn an_uncontended_acquire_is_one_request_and_a_release_another() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let lock = cluster.client("a", ttl(LONG)).await?.lock("x")?;
    for _ in 0..3 {
        let before = cluster.server().lock_requests().await?;
        let guard = lock.acquire().await?;
        let held = cluster.server().lock_requests().await?;
        assert_eq!(calls(&held.since(&before)), (1, 0, 0, 1), "acquire: {:?}", held.since(&before));
        guard.release().await?;
        let released = cluster.server().lock_requests().await?;
        assert_eq!(calls(&released.since(&held)), (0, 0, 1, 1), "release: {:?}", released.since(&held));
    }
    Ok(())
}

/// Reads are told by our side of the wire: the server counts the list of a watch on one name as a read, too.
#[tokio::test]
async fn a_contended_acquire_is_two_writes_and_a_hand_off_is_one() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let tamper = Tamper::new();
    let a = cluster.client_with(&tamper, false, "a", ttl(LONG)).await?;
    let b = cluster.client_with(&tamper, false, "b", ttl(LONG)).await?;
    let held = a.lock("x")?.acquire().await?;
    let before = cluster.server().lock_requests().await?;
    let waiter = waiting(&cluster, &b, "x").await?;
    tokio::time::sleep(super::millis(500)).await; // so that the holder has seen the waiter
    let waits = cluster.server().lock_requests().await?;
    assert_eq!(writes(&waits.since(&before)), (1, 1, 0), "create refused, enqueue: {:?}", waits.since(&before));
    held.release().await?;
    let next = waiter.await??;
    let handed = cluster.server().lock_requests().await?;
    assert_eq!(writes(&handed.since(&waits)), (0, 1, 0), "hand-off: {:?}", handed.since(&waits));
    assert_eq!(reads(&tamper), 0);
    next.release().await?;
    Ok(())
}

fn writes(counts: &RequestCounts) -> (u64, u64, u64) {
    assert_eq!(counts.writes(), counts.of("POST") + counts.of("PATCH") + counts.of("DELETE"));
    (counts.of("POST"), counts.of("PATCH"), counts.of("DELETE"))
}

fn reads(tamper: &Tamper) -> usize {
    tamper.calls().iter().filter(|call| Kind::of(call) == Kind::Read).count()
}

#[tokio::test]
async fn a_try_on_a_held_lock_writes_once_and_leaves_nothing() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let (a, b) = (cluster.client("a", ttl(LONG)).await?, cluster.client("b", ttl(LONG)).await?);
    let held = a.lock("x")?.acquire().await?;
    let before = cluster.server().lock_requests().await?;
    assert!(b.lock("x")?.try_acquire().await?.is_none());
    let tried = cluster.server().lock_requests().await?.since(&before);
    assert_eq!(calls(&tried), (1, 0, 0, 2), "create refused, then a look: {tried:?}");
    held.check()?;
    Ok(())
}

/// A waiter costs its place in the queue once, and then nothing before its ttl.
#[tokio::test]
async fn waiting_costs_no_requests() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let a = cluster.client("a", ttl(LONG)).await?;
    let held = a.lock("x")?.acquire().await?;
    let tamper = Tamper::new();
    let mut waiters = Vec::new();
    let mut clients = Vec::new();
    for number in 0..5 {
        let client = cluster.client_with(&tamper, false, &format!("waiter-{number}"), ttl(LONG)).await?;
        waiters.push(waiting(&cluster, &client, "x").await?);
        clients.push(client);
    }
    until_two_watch(&tamper).await?;
    let before = cluster.server().lock_requests().await?;
    tokio::time::sleep(super::millis(3000)).await;
    let idle = cluster.server().lock_requests().await?.since(&before);
    assert_eq!(calls(&idle), (0, 0, 0, 0), "{idle:?}");
    drop(held);
    for waiter in waiters {
        waiter.await??.release().await?;
    }
    Ok(())
}

/// The first two of the queue watch the lock, after a short wait; to open a watch is a list, then the watch itself.
async fn until_two_watch(tamper: &Tamper) -> Result<()> {
    let watches = |call: &&Call| call.path.contains("metadata.name") && call.path.contains("watch=");
    let open = || async { tamper.calls().iter().filter(watches).count() >= 2 };
    eventually("the first two watch the lock", LIMIT, open).await
}
