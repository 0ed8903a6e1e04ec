//! Elections on one Lease by msync and by client-go's own leader election: each kills, freezes, resigns to and replaces the
//! other.
//!
//! What is promised is msync's side: it never takes over before the Lease was unchanged for the seconds that stand in it, and
//! it leads no more before client-go may.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use msync::clock::{BootClock, Clock, Moment};
use tests::{
    cluster::{Cluster, LIMIT, soon, ttl},
    history::{History, Sight},
    process::{ChildProcess, Spawn},
    testbed::{ADMIN, leaderelection},
};

use super::candidate::{Candidate, ELECTION};

const SECONDS: u64 = 3;
const TTL: Duration = Duration::from_secs(SECONDS);
/// A moment of a busy machine.
const MOMENT: Duration = Duration::from_millis(1500);

/// A candidate by client-go.
struct Peer {
    identity: String,
    child: ChildProcess,
}

// === impl Peer ===

impl Peer {
    async fn start(cluster: &Cluster, identity: &str) -> Result<Option<Self>> {
        let Some(program) = tokio::task::spawn_blocking(leaderelection).await?? else { return Ok(None) };
        let kubeconfig = cluster.server().kubeconfig(ADMIN)?;
        let spawn = Spawn::program(program).arg(kubeconfig).arg(cluster.namespace());
        let child = spawn.args([ELECTION, identity, &SECONDS.to_string()]).spawn()?;
        Ok(Some(Self { identity: identity.to_owned(), child }))
    }

    /// Waits for its next report of a kind, and returns its moment.
    async fn says(&mut self, word: &str) -> Result<Moment> {
        let line = self.child.line_with(word, LIMIT).await?;
        let nanos = line.rsplit(' ').next().and_then(|nanos| nanos.parse().ok()).context("it tells when")?;
        Ok(Moment::from_nanos(nanos))
    }

    /// Gives up what it has, and ends, as at SIGTERM.
    async fn resign(mut self) -> Result<Moment> {
        let at = BootClock.now();
        self.child.say("resign")?;
        self.child.wait(LIMIT).await?;
        Ok(at)
    }
}

async fn cluster() -> Result<Option<Cluster>> {
    Ok(Cluster::shared().await?.map(Cluster::with_leases))
}

/// Waits until a foreign holder, or an engine of an owner, stands in the Lease.
async fn until_led_by(cluster: &Cluster, owner: &str) -> Result<()> {
    cluster.until(&format!("{owner} leads"), ELECTION, |found| found.is_some_and(|r| r.engine.owner() == owner)).await
}

/// When the last change of the Lease under a holder was seen.
fn last_sign_of(history: &History, owner: &str) -> Option<Moment> {
    let led = |sight: &&Sight| sight.snapshot.as_ref().is_some_and(|seen| seen.record.engine.owner() == owner);
    history.last_beat()?;
    history.sights().iter().rev().find(led).map(|sight| sight.at)
}

#[tokio::test]
async fn each_takes_over_when_the_other_was_killed_and_not_before_its_time() -> Result<()> {
    let Some(cluster) = cluster().await? else { return Ok(()) };
    let Some(mut go) = Peer::start(&cluster, "go-0").await? else { return Ok(()) };
    go.says("leads").await?;
    let observer = cluster.client("observer", ttl(3000)).await?;
    let mut leaders = std::pin::pin!(observer.election(ELECTION)?.observe());
    let leader = soon("the observer sees client-go's leader", leaders.next()).await?.flatten().context("somebody")?;
    assert_eq!(leader.owner(), "go-0");
    let history = cluster.history(ELECTION).await?;
    let mut candidate = Candidate::start(&cluster, "msync-0", TTL).await?;
    cluster.until_waiting(ELECTION, 1).await?;
    tokio::time::sleep(TTL).await; // it goes on renewing beside a queue
    until_led_by(&cluster, "go-0").await?;
    go.child.kill()?;
    let (since, _) = candidate.leads().await?;
    let took = since.since(last_sign_of(&history, "go-0").context("it led")?);
    println!("client-go killed: msync leads {took:?} after its last renewal");
    assert!(took >= TTL * 99 / 100 && took < TTL + MOMENT, "{took:?}");

    let mut go = Peer::start(&cluster, "go-1").await?.context("it was there")?;
    go.says("sees msync-0.").await?;
    tokio::time::sleep(TTL).await; // it sees each renewal as one
    until_led_by(&cluster, "msync-0").await?;
    candidate.child.kill()?;
    let last = last_sign_of(&history, "msync-0").context("it led")?;
    let took = go.says("leads").await?.since(last);
    println!("msync killed: client-go leads {took:?} after its last renewal");
    assert!(took >= TTL * 95 / 100 && took < TTL + MOMENT, "{took:?}");
    observer.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn each_hands_over_when_it_resigns() -> Result<()> {
    let Some(cluster) = cluster().await? else { return Ok(()) };
    let mut replica_of_msync = replica(&cluster, "msync-0").await?;
    for round in 1..3 {
        let Some(mut go) = Peer::start(&cluster, &format!("go-{round}")).await? else { return Ok(()) };
        go.says("sees msync-").await?;
        replica_of_msync.terminate()?;
        let resigned = BootClock.now();
        let took = go.says("leads").await?.since(resigned);
        println!("msync resigned: client-go leads after {took:?}");
        assert!(took < TTL, "at its next look, not by the seconds of the Lease: {took:?}");

        replica_of_msync = replica(&cluster, &format!("msync-{round}")).await?;
        until_led_by(&cluster, &format!("go-{round}")).await?;
        let resigned = go.resign().await?;
        until_led_by(&cluster, &format!("msync-{round}")).await?;
        let took = BootClock.now().since(resigned);
        println!("client-go resigned: msync leads within {took:?}");
        assert!(took < TTL, "by its release: {took:?}");
    }
    Ok(())
}

#[tokio::test]
async fn who_was_frozen_past_its_time_leads_no_more() -> Result<()> {
    let Some(cluster) = cluster().await? else { return Ok(()) };
    let mut candidate = Candidate::start(&cluster, "msync-0", TTL).await?;
    candidate.leads().await?;
    let Some(mut go) = Peer::start(&cluster, "go-0").await? else { return Ok(()) };
    go.says("sees msync-0.").await?;
    candidate.child.stop().await?;
    let frozen = BootClock.now();
    go.says("leads").await?;
    candidate.child.resume()?;
    let report = candidate.report("lost").await?;
    assert!(report.moment(0)? < frozen + Duration::from_millis(10), "the body was not polled after the pause");
    assert_eq!((report.number(2)?, report.number(3)?), (1, 1), "run and the first check say lost");

    cluster.until_waiting(ELECTION, 1).await?;
    go.child.stop().await?;
    let (led, _) = candidate.leads().await?;
    let history = cluster.history(ELECTION).await?;
    let resumed = BootClock.now();
    go.child.resume()?;
    let stopped = go.says("stopped").await?;
    println!(
        "client-go, frozen: went on for {:?} beside a leader since {:?}",
        stopped.since(resumed),
        resumed.since(led)
    );
    tokio::time::sleep(TTL).await;
    let Some(wiped) = history.sights().iter().find(|sight| owner(sight) != Some("msync-0")).map(|sight| sight.at)
    else {
        return Ok(());
    };
    // Where it had no time to look before it gives up, client-go releases what it believes to have, whoever has it.
    let lost = candidate.report("lost").await?.moment(1)?;
    println!(
        "client-go, frozen: ended another's hold by its release, which that one said {:?} later",
        lost.since(wiped)
    );
    assert!(lost < wiped + MOMENT, "{:?}", lost.since(wiped));
    Ok(())
}

/// Five replicas of one become five of the other, one at a time, and back: as a Deployment is rolled.
#[tokio::test]
async fn a_rolling_replacement_has_a_leader_all_the_way_both_ways() -> Result<()> {
    let Some(cluster) = cluster().await? else { return Ok(()) };
    let mut peers = Vec::new();
    for number in 0..5 {
        let Some(peer) = Peer::start(&cluster, &format!("go-{number}")).await? else { return Ok(()) };
        peers.push(peer);
    }
    let led = |found: Option<&msync::unstable::record::Record>| found.is_some_and(|record| !record.is_free());
    cluster.until("client-go leads", ELECTION, led).await?;
    let history = cluster.history(ELECTION).await?;
    let mut candidates = Vec::new();
    for (number, peer) in peers.drain(..).enumerate() {
        candidates.push(replica(&cluster, &format!("msync-{number}")).await?);
        peer.resign().await?;
    }
    cluster
        .until("msync leads", ELECTION, |found| found.is_some_and(|r| r.engine.owner().starts_with("msync-")))
        .await?;
    for (number, mut candidate) in candidates.drain(..).enumerate() {
        peers.push(Peer::start(&cluster, &format!("back-{number}")).await?.context("it was there")?);
        candidate.terminate()?;
        candidate.wait(LIMIT).await?;
    }
    let back = |sights: &[Sight]| sights.iter().filter_map(owner).any(|owner| owner.starts_with("back-"));
    history.until("client-go leads again", LIMIT, back).await?;
    let (gap, leaders) = gaps(&history);
    println!("rolled both ways: {leaders:?}; longest without a leader {gap:?}");
    assert!(gap < TTL, "{gap:?}");
    assert!(peers.iter().any(|peer| leaders.contains(&peer.identity)));
    Ok(())
}

/// A replica that ends in order at SIGTERM; it takes part when this returns.
async fn replica(cluster: &Cluster, owner: &str) -> Result<ChildProcess> {
    let child = cluster.child("cluster::processes::child_ends_on_a_signal", owner, TTL)?.spawn()?;
    let there =
        |record: &msync::unstable::record::Record| record.engine.owner() == owner || record.place_of(owner).is_some();
    cluster.until(&format!("{owner} takes part"), ELECTION, |found| found.is_some_and(there)).await?;
    Ok(child)
}

/// The longest time that the Lease was free, and who held it, in order.
fn gaps(history: &History) -> (Duration, Vec<String>) {
    let (mut longest, mut since, mut leaders) = (Duration::ZERO, None, Vec::<String>::new());
    for sight in history.sights() {
        match owner(&sight) {
            None => since = since.or(Some(sight.at)),
            Some(owner) => {
                longest = longest.max(since.take().map_or(Duration::ZERO, |since| sight.at.since(since)));
                if leaders.last().is_none_or(|last| last != owner) {
                    leaders.push(owner.to_owned());
                }
            }
        }
    }
    (longest, leaders)
}

/// Who holds the Lease there. An engine that somebody else has wiped out is named as if it were foreign: it leads no more.
fn owner(sight: &Sight) -> Option<&str> {
    let engine = &sight.snapshot.as_ref().filter(|seen| !seen.record.is_free())?.record.engine;
    let wiped = engine.is_foreign() && engine.owner().starts_with("msync-");
    (!wiped).then(|| engine.owner())
}
