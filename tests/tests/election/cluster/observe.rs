//! What observers see, and hand-over to a candidate of choice.

use anyhow::{Context, Result};
use futures::{Stream, StreamExt};
use msync::Leader;
use tests::{
    cluster::{Cluster, soon, ttl},
    proxy::Direction,
};

const TTL: u64 = 2000;

async fn sees(leaders: &mut (impl Stream<Item = Option<Leader>> + Unpin), owner: Option<&str>) -> Result<()> {
    let seen = soon("the observer sees a change", leaders.next()).await?.context("it never ends")?;
    assert_eq!(seen.as_ref().map(Leader::owner), owner);
    Ok(())
}

#[tokio::test]
async fn an_observer_sees_each_leader_and_that_nobody_leads() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let (a, b) = (cluster.client("a", ttl(TTL)).await?, cluster.client("b", ttl(TTL)).await?);
    let watcher = cluster.client("watcher", ttl(TTL)).await?;
    let mut leaders = Box::pin(watcher.election("e")?.observe());
    sees(&mut leaders, None).await?;
    let term = a.election("e")?.campaign().await?;
    sees(&mut leaders, Some("a")).await?;
    let election = b.election("e")?;
    let campaign = tokio::spawn(async move { election.campaign().await });
    cluster.until_waiting("e", 1).await?;
    term.resign().await?;
    let term = soon("b leads", campaign).await???;
    // The moment between grant and acceptance may or may not be seen.
    let seen = soon("a change", leaders.next()).await?.context("it never ends")?;
    if seen.is_none() {
        sees(&mut leaders, Some("b")).await?;
    }
    term.resign().await?;
    sees(&mut leaders, None).await
}

#[tokio::test]
async fn an_observer_sees_that_a_leader_is_dead() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let Ok(proxy) = cluster.server().proxy().await else { return Ok(()) };
    let term = cluster.client_via(&proxy, "a", ttl(TTL)).await?.election("e")?.campaign().await?;
    let watcher = cluster.client("watcher", ttl(TTL)).await?;
    let mut leaders = Box::pin(watcher.election("e")?.observe());
    sees(&mut leaders, Some("a")).await?;
    proxy.blackhole(Direction::ToServer);
    sees(&mut leaders, None).await?;
    assert!(term.check().is_err(), "it knew before");
    Ok(())
}

#[tokio::test]
async fn a_leader_hands_over_to_whom_it_names() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let term = cluster.client("a", ttl(TTL)).await?.election("e")?.campaign().await?;
    let (mut clients, mut campaigns) = (Vec::new(), Vec::new());
    for (queued, owner) in ["b", "c", "d"].into_iter().enumerate() {
        let client = cluster.client(owner, ttl(TTL)).await?;
        let election = client.election("e")?;
        campaigns.push(tokio::spawn(async move { election.campaign().await }));
        cluster.until_waiting("e", queued + 1).await?;
        clients.push(client);
    }
    assert!(term.hand_over_to("c").await?, "found");
    let term = soon("c leads", campaigns.remove(1)).await???;
    term.check()?;
    assert!(!term.hand_over_to("nobody").await?, "not found");
    soon("the first in the queue leads", campaigns.remove(0)).await???.check()?;
    assert!(!campaigns[0].is_finished());
    Ok(())
}
