//! Long queues.

use anyhow::Result;
use msync::clock::{BootClock, Clock};
use tests::{
    cluster::{Cluster, soon, ttl},
    history::median,
    lock_request::{Kind, writes},
    tamper::Tamper,
};

use super::{acquiring, millis, waiting};

/// Fifty processes' worth of clients: each hand-off is one write by one of them, and nobody else stirs.
#[tokio::test]
async fn l2_bug_34_fifty_waiters_cost_one_write_per_hand_off() -> Result<()> {
    const WAITERS: usize = 50;
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let tamper = Tamper::new();
    let holder = cluster.client_with(&tamper, false, "holder", ttl(60_000)).await?;
    let guard = holder.lock("x")?.acquire().await?;
    let (mut clients, mut waiters) = (Vec::new(), Vec::new());
    for number in 0..WAITERS {
        let client = cluster.client_with(&tamper, false, &format!("waiter-{number}"), ttl(60_000)).await?;
        waiters.push(acquiring(&client, "x"));
        clients.push(client);
    }
    cluster.until_waiting("x", WAITERS).await?;
    let sent = tamper.calls().len();
    guard.release().await?;
    let gaps = drain(waiters).await?;
    cluster.until_gone("x").await?;
    let mut expected = vec![Kind::Grant; WAITERS];
    expected.push(Kind::Delete);
    assert_eq!(writes(&tamper.calls()[sent..]), expected);
    println!("{WAITERS} waiters: hand-off in the median {:?}, from one release to the next guard", median(gaps)?);
    Ok(())
}

type Waiter = tokio::task::JoinHandle<Result<msync::LockGuard, msync::Error>>;

/// Takes the lock through the whole queue, in whatever order it comes.
async fn drain(waiters: Vec<Waiter>) -> Result<Vec<std::time::Duration>> {
    let mut waiting: futures::stream::FuturesUnordered<_> = waiters.into_iter().collect();
    let (mut gaps, mut released, mut last) = (Vec::new(), BootClock.now(), None);
    while let Some(next) = soon("the next hand-off", futures::StreamExt::next(&mut waiting)).await? {
        let guard = next??;
        gaps.push(BootClock.now().since(released));
        assert!(last < Some(guard.token()), "tokens increase");
        last = Some(guard.token());
        released = BootClock.now();
        drop(guard);
    }
    Ok(gaps)
}

/// The server refuses the 65th entry; who has no place retries, and in the end everybody had the lock.
#[tokio::test]
async fn more_acquisitions_than_the_queue_has_places_all_succeed() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let holder = cluster.client("holder", ttl(3000)).await?;
    let guard = holder.lock("x")?.acquire().await?;
    let full: Vec<_> = (0..64).map(|n| format!("{:016x} ghost-{n}.0000000000000001 1000 accept", n + 1)).collect();
    cluster.edit("x", serde_json::json!({ "waiters": full })).await?;
    let late = cluster.client("late", ttl(3000)).await?;
    let waits = acquiring(&late, "x");
    tokio::time::sleep(millis(500)).await;
    assert!(!waits.is_finished());
    cluster.edit("x", serde_json::json!({ "waiters": full[..3] })).await?;
    cluster.until_waiting("x", 4).await?;
    guard.release().await?;
    soon("past the ghosts", waits).await???.check()?;
    Ok(())
}

#[tokio::test]
async fn who_gives_up_leaves_the_queue() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let (a, b) = (cluster.client("a", ttl(3000)).await?, cluster.client("b", ttl(3000)).await?);
    let guard = a.lock("x")?.acquire().await?;
    let timed = b.lock("x")?.acquire_timeout(millis(300)).await;
    assert!(matches!(timed, Err(msync::Error::Timeout { .. })), "{timed:?}");
    cluster.until_waiting("x", 0).await?;
    assert!(b.lock("x")?.try_acquire().await?.is_none());
    guard.check()?;
    Ok(())
}

/// A process that ends in order leaves the queue, and gives back what it holds.
#[tokio::test]
async fn shutdown_leaves_the_queue_and_releases() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let (a, b) = (cluster.client("a", ttl(15_000)).await?, cluster.client("b", ttl(15_000)).await?);
    let guard = a.lock("x")?.acquire().await?;
    let waiter = waiting(&cluster, &b, "x").await?;
    b.shutdown().await;
    assert!(matches!(waiter.await?, Err(msync::Error::ShutDown)));
    cluster.until_waiting("x", 0).await?;
    let ends = tokio::spawn(async move { a.shutdown().await });
    soon("the guard is told", guard.lost()).await?;
    drop(guard);
    soon("the shutdown", ends).await??;
    assert!(cluster.snapshot("x").await?.is_none(), "released before shutdown returned");
    Ok(())
}
