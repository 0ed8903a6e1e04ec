//! A candidate's requests and their replies are lost.

use std::time::Duration;

use anyhow::Result;
use msync::{
    Client, Error, Leadership,
    clock::{BootClock, Clock},
};
use tests::{
    cluster::{Cluster, LIMIT, soon, ttl},
    lock_request::Kind,
    pair::Pair,
    tamper::Fate,
};
use tokio::task::JoinHandle;

const TTL: u64 = 3000;
const E: &str = "e";

/// Campaigns in the background, in the queue.
async fn candidate(pair: &Pair, client: &Client) -> Result<JoinHandle<Result<Leadership, Error>>> {
    let campaign = campaigning(client);
    pair.cluster.until_waiting(E, 1).await?;
    Ok(campaign)
}

fn campaigning(client: &Client) -> JoinHandle<Result<Leadership, Error>> {
    let election = client.election(E).expect("a valid name");
    tokio::spawn(async move { election.campaign().await })
}

/// The accept is applied and its reply lost: the candidate leads under the term that was granted to it.
async fn accept(retry: bool, fate: Fate) -> Result<()> {
    let Some(pair) = Pair::new(retry, ttl(TTL)).await? else { return Ok(()) };
    let first = pair.honest.election(E)?.campaign().await?;
    let campaign = candidate(&pair, &pair.broken).await?;
    let history = pair.cluster.history(E).await?;
    pair.tamper.once(Kind::Renew.matches(), fate);
    let began = BootClock.now();
    first.resign().await?;
    let term = soon("it leads", campaign).await???;
    assert!(BootClock.now().since(began) < Duration::from_millis(TTL * 2 / 3), "not by a take-over");
    term.check()?;
    tokio::time::sleep(Duration::from_millis(TTL)).await;
    term.check()?;
    let hands = history.hands()?;
    assert_eq!((hands.granted_in_order, hands.found_free, hands.overtaken), (1, 0, 0), "{hands:?}");
    Ok(term.resign().await?)
}

#[tokio::test]
async fn bug_4_the_reply_of_an_accept_is_lost() -> Result<()> {
    for fate in [Fate::DropReply, Fate::BreakReply, Fate::LateReply(Duration::from_millis(TTL / 2))] {
        accept(false, fate).await?;
    }
    Ok(())
}

#[tokio::test]
async fn bug_4_the_reply_of_an_accept_is_lost_and_kube_retries() -> Result<()> {
    accept(true, Fate::DropReply).await?;
    accept(true, Fate::BreakReply).await
}

/// The claim of a free election is applied and its reply lost.
#[tokio::test]
async fn bug_4_the_reply_of_a_claim_is_lost() -> Result<()> {
    for (retry, fate) in [(false, Fate::DropReply), (true, Fate::DropReply), (false, Fate::BreakReply)] {
        let Some(pair) = Pair::new(retry, ttl(TTL)).await? else { return Ok(()) };
        pair.honest.election(E)?.campaign().await?.resign().await?;
        pair.tamper.once(Kind::Claim.matches(), fate);
        let began = BootClock.now();
        let term = soon("it leads", campaigning(&pair.broken)).await???;
        assert!(BootClock.now().since(began) < Duration::from_millis(TTL * 2 / 3), "not by a take-over");
        term.resign().await?;
        pair.cluster
            .until("it is free", E, |found| found.is_some_and(msync::unstable::record::Record::is_free))
            .await?;
    }
    Ok(())
}

/// The record is freed and the reply lost: whoever leads next is left alone.
#[tokio::test]
async fn bug_4_the_reply_of_a_resignation_is_lost() -> Result<()> {
    for (retry, fate) in [(false, Fate::DropReply), (true, Fate::DropReply), (false, Fate::BreakReply)] {
        let Some(pair) = Pair::new(retry, ttl(TTL)).await? else { return Ok(()) };
        let term = pair.broken.election(E)?.campaign().await?;
        pair.tamper.once(Kind::Free.matches(), fate);
        let resigning = tokio::spawn(term.resign());
        let next = soon("the next leads", campaigning(&pair.honest)).await???;
        soon("the resignation is acknowledged", resigning).await???;
        tokio::time::sleep(Duration::from_millis(TTL)).await;
        next.check()?;
    }
    Ok(())
}

/// A candidate that was granted and is gone costs others two seconds, not a ttl.
#[tokio::test]
async fn l1_a_dead_candidate_is_passed_over() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let Ok(proxy) = cluster.server().proxy().await else { return Ok(()) };
    let long = ttl(15_000);
    let leader = cluster.client("leader", long).await?.election(E)?.campaign().await?;
    let dead = campaigning(&cluster.client_via(&proxy, "dead", long).await?);
    cluster.until_waiting(E, 1).await?;
    let living = campaigning(&cluster.client("living", long).await?);
    cluster.until_waiting(E, 2).await?;
    proxy.refuse(true);
    proxy.reset();
    let began = BootClock.now();
    leader.resign().await?;
    soon("the next leads", living).await???.check()?;
    let took = BootClock.now().since(began);
    println!("a dead candidate was passed over in {took:?}");
    assert!(took < Duration::from_secs(4), "accept time-out, stagger and a round trip: {took:?}");
    assert!(!dead.is_finished());
    Ok(())
}

/// An acceptance that was given up lands after another leads.
#[tokio::test]
async fn bug_29_bug_41_an_accept_after_the_time_out_has_no_effect() -> Result<()> {
    let Some(pair) = Pair::new(false, ttl(TTL)).await? else { return Ok(()) };
    let leader = pair.honest.election(E)?.campaign().await?;
    let dead = candidate(&pair, &pair.broken).await?;
    let other = pair.cluster.client("other", ttl(TTL)).await?;
    let living = campaigning(&other);
    pair.cluster.until_waiting(E, 2).await?;
    pair.tamper.once(Kind::Renew.matches(), Fate::DeliverLater(Duration::from_millis(TTL * 2)));
    pair.tamper.always(Kind::Renew.matches(), Fate::Delay(LIMIT));
    leader.resign().await?;
    let term = soon("the next leads", living).await???;
    let delivered = || async { !pair.tamper.unseen_replies().is_empty() };
    tests::eventually("the zombie is delivered", LIMIT, delivered).await?;
    assert_eq!(pair.tamper.unseen_replies()[0].1.as_u16(), 422);
    tokio::time::sleep(Duration::from_millis(TTL)).await;
    term.check()?;
    assert!(!dead.is_finished());
    Ok(())
}

/// The API server is out of reach for several ttls: every member comes back by itself.
#[tokio::test]
async fn bug_12_bug_28_all_members_recover_from_a_long_outage() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let Ok(proxy) = cluster.server().proxy().await else { return Ok(()) };
    let mut clients = Vec::new();
    for number in 0..3 {
        clients.push(cluster.client_via(&proxy, &format!("member-{number}"), ttl(1500)).await?);
    }
    let leader = clients[0].election(E)?.campaign().await?;
    let mut campaigns = Vec::new();
    for (queued, client) in clients[1..].iter().enumerate() {
        campaigns.push(campaigning(client));
        cluster.until_waiting(E, queued + 1).await?;
    }
    proxy.refuse(true);
    proxy.reset();
    soon("the leader is told", leader.lost()).await?;
    drop(leader);
    campaigns.push(campaigning(&clients[0]));
    tokio::time::sleep(Duration::from_secs(9)).await; // six ttls
    assert!(campaigns.iter().all(|campaign| !campaign.is_finished()));
    proxy.heal();
    everybody_leads(campaigns).await
}

async fn everybody_leads(campaigns: Vec<JoinHandle<Result<Leadership, Error>>>) -> Result<()> {
    let mut left = campaigns;
    let mut last = None;
    while !left.is_empty() {
        let (term, _, others) = soon("another leads", futures::future::select_all(left)).await?;
        let term = term??;
        assert!(last < Some(term.token()), "tokens increase");
        last = Some(term.token());
        term.resign().await?;
        left = others;
    }
    Ok(())
}
