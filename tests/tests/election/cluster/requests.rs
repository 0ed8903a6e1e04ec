//! What an election costs, counted by the API server itself.

use anyhow::Result;
use tests::{
    cluster::{Cluster, ttl},
    testbed::RequestCounts,
};

/// Long, so that no renewal falls into a measurement.
const LONG: u64 = 60_000;

fn writes(now: &RequestCounts, before: &RequestCounts) -> (u64, u64, u64) {
    let since = now.since(before);
    (since.of("POST"), since.of("PATCH"), since.of("DELETE"))
}

#[tokio::test]
async fn a_free_election_costs_one_write_and_a_resignation_another() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let (server, election) = (cluster.server(), cluster.client("a", ttl(LONG)).await?.election("e")?);
    let start = server.lock_requests().await?;
    election.campaign().await?.resign().await?;
    let made = server.lock_requests().await?;
    assert_eq!(writes(&made, &start), (1, 2, 0), "a claim that finds nothing, a creation, the freeing");
    let term = election.campaign().await?;
    let led = server.lock_requests().await?;
    assert_eq!(writes(&led, &made), (0, 1, 0), "the claim");
    term.resign().await?;
    assert_eq!(writes(&server.lock_requests().await?, &led), (0, 1, 0), "the freeing");
    Ok(())
}

#[tokio::test]
async fn a_succession_costs_a_grant_and_its_acceptance() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let server = cluster.server();
    let (a, b) = (cluster.client("a", ttl(LONG)).await?, cluster.client("b", ttl(LONG)).await?);
    let term = a.election("e")?.campaign().await?;
    let before = server.lock_requests().await?;
    let election = b.election("e")?;
    let campaign = tokio::spawn(async move { election.campaign().await });
    cluster.until_waiting("e", 1).await?;
    let waits = server.lock_requests().await?;
    assert_eq!(writes(&waits, &before), (0, 2, 0), "a claim that is refused, and the entry in the queue");
    term.resign().await?;
    let term = campaign.await??;
    assert_eq!(writes(&server.lock_requests().await?, &waits), (0, 2, 0), "the grant, and its acceptance");
    term.check()?;
    Ok(())
}
