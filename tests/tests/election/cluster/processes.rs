//! Three candidates in processes of their own: their leader is killed, resigns, is frozen.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::select_all;
use msync::clock::{BootClock, Clock, Moment};
use tests::{
    cluster::{Cluster, ttl},
    history::{History, median},
};

use super::candidate::{Candidate, ELECTION};

const TTL: Duration = Duration::from_secs(3);

/// One leads; the others wait in the queue.
struct Three {
    cluster: Cluster,
    leader: Candidate,
    token: u64,
    followers: Vec<Candidate>,
}

// === impl Three ===

impl Three {
    async fn start(ttl: Duration) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::shared().await? else { return Ok(None) };
        let mut leader = Candidate::start(&cluster, "candidate-0", ttl).await?;
        let (_, token) = leader.leads().await?;
        let mut followers = Vec::new();
        for number in 1..3 {
            followers.push(Candidate::start(&cluster, &format!("candidate-{number}"), ttl).await?);
            cluster.until_waiting(ELECTION, number).await?;
        }
        Ok(Some(Self { cluster, leader, token, followers }))
    }

    /// Waits for the next leader, and puts the old one among the followers.
    async fn next_leader(&mut self) -> Result<Moment> {
        let reports = self.followers.iter_mut().map(|follower| Box::pin(follower.leads()));
        let (report, index, others) = select_all(reports).await;
        drop(others);
        let (since, token) = report?;
        assert!(token > self.token, "tokens increase: {} then {token}", self.token);
        self.token = token;
        let next = self.followers.remove(index);
        self.followers.push(std::mem::replace(&mut self.leader, next));
        Ok(since)
    }
}

async fn after_a_renewal(history: &History) -> Result<Moment> {
    let seen = history.sights().len();
    let renewed = |sights: &[tests::history::Sight]| {
        sights[seen..].iter().filter_map(|sight| sight.snapshot.as_ref()).any(|seen| seen.record.renewals > 1)
    };
    history.until("a renewal", tests::cluster::LIMIT, renewed).await?;
    history.last_beat().context("somebody leads")
}

#[tokio::test]
async fn l1_a_killed_leader_is_succeeded_within_a_ttl() -> Result<()> {
    let Some(mut three) = Three::start(TTL).await? else { return Ok(()) };
    let history = three.cluster.history(ELECTION).await?;
    for round in 0..3_u32 {
        after_a_renewal(&history).await?;
        tokio::time::sleep(TTL / 9 * round).await; // at different ages of the last beat
        three.leader.child.kill()?;
        let last_beat = history.last_beat().context("somebody led")?;
        let since = three.next_leader().await?;
        let took = since.since(last_beat);
        println!("killed: another leads {took:?} after the last renewal, ttl {TTL:?}");
        assert!(took <= TTL * 101 / 100 + Duration::from_secs(1), "{took:?}");
        let dead = three.followers.pop().context("the killed leader")?;
        drop(dead);
        let name = format!("candidate-{}", 3 + round);
        three.followers.push(Candidate::start(&three.cluster, &name, TTL).await?);
        three.cluster.until_waiting(ELECTION, 2).await?;
    }
    Ok(())
}

#[tokio::test]
async fn l2_a_resigned_leader_is_succeeded_within_100_ms() -> Result<()> {
    let Some(mut three) = Three::start(Duration::from_secs(15)).await? else { return Ok(()) };
    let mut times = Vec::new();
    for _ in 0..20 {
        three.leader.child.say("resign")?;
        let resigned = three.leader.report("resigns").await?.moment(0)?;
        times.push(three.next_leader().await?.since(resigned));
        three.cluster.until_waiting(ELECTION, 2).await?;
    }
    times.sort_unstable();
    println!("resigned: another leads after {times:?}");
    let median = median(times)?;
    println!("in the median {median:?}");
    assert!(median <= Duration::from_millis(100), "{median:?}");
    Ok(())
}

#[tokio::test]
async fn s3_bug_32_a_leader_frozen_past_its_ttl_never_acts_again() -> Result<()> {
    let Some(mut three) = Three::start(TTL).await? else { return Ok(()) };
    let history = three.cluster.history(ELECTION).await?;
    after_a_renewal(&history).await?;
    three.leader.child.stop().await?;
    let frozen = BootClock.now();
    let last_beat = history.last_beat().context("somebody leads")?;
    let since = three.next_leader().await?;
    println!("frozen: another leads {:?} after the last renewal, ttl {TTL:?}", since.since(last_beat));
    let old = three.followers.last_mut().context("the frozen leader")?;
    tokio::time::sleep(TTL / 3).await;
    old.child.resume()?;
    let report = old.report("lost").await?;
    assert!(report.moment(0)? < frozen + Duration::from_millis(10), "the body was not polled after the pause");
    assert_eq!((report.number(2)?, report.number(3)?), (1, 1), "run and the first check say lost");
    three.cluster.until_waiting(ELECTION, 2).await?; // it campaigns again
    Ok(())
}

/// A pause shorter than the hold costs nothing.
#[tokio::test]
async fn a_leader_frozen_for_a_moment_goes_on() -> Result<()> {
    let Some(three) = Three::start(TTL).await? else { return Ok(()) };
    let history = three.cluster.history(ELECTION).await?;
    let term = three.cluster.record(ELECTION).await?.term;
    for _ in 0..3 {
        after_a_renewal(&history).await?;
        three.leader.child.stop().await?;
        tokio::time::sleep(TTL / 4).await;
        three.leader.child.resume()?;
    }
    after_a_renewal(&history).await?;
    assert_eq!(three.cluster.record(ELECTION).await?.term, term);
    Ok(())
}

/// SIGTERM, as Kubernetes sends it: the client gives everything back before the process ends.
#[tokio::test]
async fn s7_shutdown_on_a_signal_resigns() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let mut ending = cluster.child("cluster::processes::child_ends_on_a_signal", "ending", TTL)?.spawn()?;
    ending.line_with("leads", tests::cluster::LIMIT).await?;
    let next = cluster.client("next", ttl(3000)).await?;
    let election = next.election(ELECTION)?;
    let campaign = tokio::spawn(async move { election.campaign().await });
    cluster.until_waiting(ELECTION, 1).await?;
    let began = BootClock.now();
    ending.terminate()?;
    let line = ending.line_with("body ", tests::cluster::LIMIT).await?;
    assert_eq!(line, "body dropped");
    tests::cluster::soon("the next leads", campaign).await???.check()?;
    println!("SIGTERM: another leads after {:?}", BootClock.now().since(began));
    assert!(ending.wait(tests::cluster::LIMIT).await?.success());
    Ok(())
}

#[tokio::test]
#[ignore = "a child of s7_shutdown_on_a_signal_resigns"]
async fn child_ends_on_a_signal() -> Result<()> {
    if !tests::process::is_child() {
        return Ok(());
    }
    let _lines = tests::process::follow_parent();
    let client = tests::cluster::child_client().await?;
    let leading = tokio::spawn({
        let election = client.election(ELECTION)?;
        async move {
            // Who is told to end before it leads, ends.
            let Ok(term) = election.campaign().await else { return };
            println!("\nleads");
            let ended = term.run(std::future::pending::<()>()).await;
            println!("body {}", if ended.is_err() { "dropped" } else { "ended" });
        }
    });
    client.shutdown_on_signal().await?;
    leading.await?;
    Ok(())
}
