//! The API server is gone for a while: loss by the deadline, and recovery without help.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Result, ensure};
use msync::{
    Client, Error, LockGuard,
    clock::{BootClock, Clock, Moment},
};
use tests::{
    cluster::{Cluster, soon, ttl},
    proxy::{Direction, Proxy},
};
use tokio::task::JoinHandle;

use super::{TTL, acquiring, millis, waiting};

/// How nobody reaches the API server any more.
#[derive(Clone, Copy, Debug)]
enum Outage {
    /// SIGSTOP: connections stay open, nobody answers.
    Freeze,
    /// SIGKILL, and a restart on the same data.
    Kill,
    /// The network loses what goes one way.
    Silence(Direction),
    /// Connections are reset and refused.
    Refuse,
}

/// A holder that runs a body, and one that waits; both lose the server at once.
struct Scene {
    cluster: Cluster,
    proxy: Option<Proxy>,
    holder: Client,
    waiter: Client,
}

// === impl Outage ===

impl Outage {
    async fn begin(self, scene: &Scene) -> Result<()> {
        match (self, &scene.proxy) {
            (Self::Freeze, _) => scene.cluster.server().freeze().await?,
            (Self::Kill, _) => scene.cluster.server().kill().await?,
            (Self::Silence(direction), Some(proxy)) => proxy.blackhole(direction),
            (Self::Refuse, Some(proxy)) => {
                proxy.refuse(true);
                proxy.reset();
            }
            (Self::Silence(_) | Self::Refuse, None) => unreachable!("these have a proxy"),
        }
        Ok(())
    }

    async fn end(self, scene: &Scene) -> Result<()> {
        match (self, &scene.proxy) {
            (Self::Freeze, _) => scene.cluster.server().thaw().await,
            (Self::Kill, _) => scene.cluster.server().restart().await,
            (Self::Silence(_) | Self::Refuse, proxy) => {
                proxy.iter().for_each(Proxy::heal);
                Ok(())
            }
        }
    }
}

// === impl Scene ===

impl Scene {
    async fn new(outage: Outage) -> Result<Option<Self>> {
        let exclusive = matches!(outage, Outage::Freeze | Outage::Kill);
        let cluster = if exclusive { Cluster::exclusive().await? } else { Cluster::shared().await? };
        let Some(cluster) = cluster else { return Ok(None) };
        let Ok(proxy) = cluster.server().proxy().await else { return Ok(None) };
        let proxy = (!exclusive).then_some(proxy);
        let (holder, waiter) = match &proxy {
            None => (cluster.client("holder", ttl(TTL)).await?, cluster.client("waiter", ttl(TTL)).await?),
            Some(proxy) => {
                let holder = cluster.client_via(proxy, "holder", ttl(TTL)).await?;
                (holder, cluster.client_via(proxy, "waiter", ttl(TTL)).await?)
            }
        };
        Ok(Some(Self { cluster, proxy, holder, waiter }))
    }
}

/// Runs a body that never ends; notes the deadline it last saw.
fn run_for_ever(client: &Client, lock: &str, deadline: &Arc<AtomicU64>) -> JoinHandle<(Result<(), Error>, Moment)> {
    let (lock, deadline) = (client.lock(lock).expect("a valid name"), Arc::clone(deadline));
    tokio::spawn(async move {
        let ended = lock.run(async |guard| note_deadline(guard, &deadline).await).await;
        (ended, BootClock.now())
    })
}

async fn note_deadline(guard: &LockGuard, deadline: &AtomicU64) {
    loop {
        let now = BootClock.now();
        deadline.store((now + guard.remaining()).as_nanos(), Ordering::SeqCst);
        tokio::time::sleep(millis(5)).await;
    }
}

async fn survives(outage: Outage) -> Result<()> {
    let Some(scene) = Scene::new(outage).await? else { return Ok(()) };
    let deadline = Arc::new(AtomicU64::new(0));
    let body = run_for_ever(&scene.holder, "x", &deadline);
    scene.cluster.until("the body runs", "x", |found| found.is_some()).await?;
    let waiter = waiting(&scene.cluster, &scene.waiter, "x").await?;
    tokio::time::sleep(millis(TTL / 2)).await; // so that there has been a renewal
    outage.begin(&scene).await?;
    let (ended, at) = soon("the body is dropped", body).await??;
    assert!(matches!(ended, Err(Error::Lost { .. })), "{ended:?}");
    in_time(at, &deadline)?;
    tokio::time::sleep(millis(TTL)).await;
    assert!(!waiter.is_finished(), "nobody can have the lock during the outage");
    outage.end(&scene).await?;
    recovers(&scene, waiter).await
}

/// Not before the deadline, and never later than a ttl after the last confirmed renewal was sent.
fn in_time(at: Moment, deadline: &AtomicU64) -> Result<()> {
    let deadline = Moment::from_nanos(deadline.load(Ordering::SeqCst));
    let margin = millis(TTL / 10);
    println!("lost {:?} after the deadline", at.since(deadline));
    ensure!(at + millis(1) >= deadline, "lost {:?} before the deadline", deadline.since(at));
    ensure!(at <= deadline + margin, "lost {:?} after the deadline, margin {margin:?}", at.since(deadline));
    Ok(())
}

/// Whoever waited has the lock, and then the one who lost it has it again.
async fn recovers(scene: &Scene, waiter: JoinHandle<Result<LockGuard, Error>>) -> Result<()> {
    let began = BootClock.now();
    let guard = soon("the waiter acquires", waiter).await???;
    println!("the waiter acquires {:?} after the outage", BootClock.now().since(began));
    guard.check()?;
    let again = acquiring(&scene.holder, "x");
    guard.release().await?;
    let guard = soon("the holder acquires again", again).await???;
    guard.check()?;
    guard.release().await?;
    scene.cluster.until_gone("x").await
}

#[tokio::test]
async fn s3_bug_10_loss_by_the_deadline_when_the_server_is_frozen() -> Result<()> {
    survives(Outage::Freeze).await
}

#[tokio::test]
async fn s3_loss_by_the_deadline_when_the_server_is_killed() -> Result<()> {
    survives(Outage::Kill).await
}

#[tokio::test]
async fn s3_bug_27_loss_by_the_deadline_when_requests_vanish() -> Result<()> {
    survives(Outage::Silence(Direction::ToServer)).await
}

#[tokio::test]
async fn s3_bug_27_loss_by_the_deadline_when_answers_vanish() -> Result<()> {
    survives(Outage::Silence(Direction::ToClient)).await
}

#[tokio::test]
async fn s3_bug_28_loss_by_the_deadline_when_connections_are_refused() -> Result<()> {
    survives(Outage::Refuse).await
}

/// A guard held by hand, without `run`: the signal, the check and the token agree.
#[tokio::test]
async fn s3_s4_a_guard_says_lost_for_ever_after_a_freeze() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let client = cluster.client("a", ttl(TTL)).await?;
    let guard = client.lock("x")?.acquire().await?;
    let (token, deadline) = (guard.cancellation_token(), BootClock.now() + guard.remaining());
    cluster.server().freeze().await?;
    soon("the guard says lost", guard.lost()).await?;
    assert!(BootClock.now() >= deadline);
    assert!(guard.check().is_err() && guard.remaining().is_zero());
    soon("the token is cancelled", token.cancelled()).await?;
    cluster.server().thaw().await?;
    tokio::time::sleep(millis(TTL)).await;
    assert!(guard.check().is_err(), "final, even if the server answers again");
    let again = acquiring(&client, "x");
    tokio::time::sleep(millis(TTL)).await;
    assert!(!again.is_finished(), "a lost guard that is not dropped blocks its process");
    drop(guard);
    soon("the same client acquires again", again).await???.check()?;
    Ok(())
}

/// The server was away from the start, and answers later.
#[tokio::test]
async fn an_acquisition_waits_for_a_server_that_never_answers() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let Ok(proxy) = cluster.server().proxy().await else { return Ok(()) };
    let client = cluster.client_via(&proxy, "a", ttl(TTL)).await?;
    proxy.blackhole(Direction::ToClient);
    let waits = acquiring(&client, "x");
    let tried = tokio::time::timeout(millis(TTL), client.lock("y")?.try_acquire()).await?;
    assert!(matches!(tried, Err(Error::Store { .. })), "{tried:?}");
    let timed = client.lock("z")?.acquire_timeout(millis(500)).await;
    assert!(matches!(timed, Err(Error::Unavailable { .. })), "{timed:?}");
    assert!(!waits.is_finished());
    proxy.heal();
    soon("it acquires", waits).await???.release().await?;
    for lock in ["x", "y", "z"] {
        cluster.until_gone(lock).await?;
    }
    Ok(())
}
