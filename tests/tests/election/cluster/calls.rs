//! The calls that do not wait, or not for long, and the leader's loop, on a real API server.

use std::time::Duration;

use anyhow::{Context, Result};
use msync::{Client, Error, FencingToken};
use tests::{
    cluster::{Cluster, LIMIT, soon, ttl},
    pair::Pair,
    tamper::Fate,
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
};

/// Nobody dies here: long enough for a busy machine.
const TTL: u64 = 6000;
const MOMENT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_try_and_a_limit_tell_a_leader_from_a_store_that_cannot_be_used() -> Result<()> {
    let Some(pair) = Pair::new(false, ttl(TTL)).await? else { return Ok(()) };
    let (one, two) = (pair.honest.election("e")?, pair.broken.election("e")?);
    let term = one.try_campaign().await?.context("nobody leads")?;
    assert_eq!(pair.honest.held(), [one.name().clone()]);
    assert!(two.try_campaign().await?.is_none());
    let limited = two.campaign_timeout(MOMENT).await;
    assert!(matches!(limited, Err(Error::Timeout { .. })), "{limited:?}");
    let (lease, token) = (term.lease(), term.cancellation_token());
    let standing_by = tokio::spawn({
        let two = two.clone();
        async move { two.campaign_timeout(LIMIT).await }
    });
    pair.cluster.until_waiting("e", 1).await?;
    assert_eq!((pair.broken.waiting(), pair.broken.held().len()), (vec![two.name().clone()], 0));
    term.resign().await?;
    assert!(lease.check().is_err() && !token.is_cancelled(), "an orderly end is no loss");
    let next = soon("the next leads", standing_by).await???;
    assert!(next.token() > lease.token());
    next.resign().await?;

    pair.tamper.always(|_| true, Fate::Refuse);
    let away = pair.broken.election("away")?;
    let tried = soon("it ends", away.try_campaign()).await?;
    assert!(matches!(tried, Err(Error::Store { .. })), "{tried:?}");
    let limited = away.campaign_timeout(MOMENT).await;
    assert!(matches!(limited, Err(Error::Unavailable { .. })), "{limited:?}");
    pair.tamper.clear();

    pair.honest.shutdown().await;
    let ended = [one.try_campaign().await.err(), one.campaign_timeout(MOMENT).await.err()];
    assert!(pair.honest.is_shut_down() && ended.iter().flatten().filter(|error| error.is_shut_down()).count() == 2);
    Ok(())
}

/// Runs a leader's loop; each run gives its token.
fn looping(client: &Client) -> (JoinHandle<Result<(), Error>>, UnboundedReceiver<FencingToken>) {
    let ((ran, runs), client) = (unbounded_channel(), client.clone());
    let body = move |term: msync::Lease| {
        let _ = ran.send(term.token());
        std::future::ready(())
    };
    (tokio::spawn(async move { client.leader_loop("loop", MOMENT / 10, body).await }), runs)
}

#[tokio::test]
async fn a_leaders_loop_runs_in_one_process_and_in_the_next_after_it() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let (a, b) = (cluster.client("a", ttl(TTL)).await?, cluster.client("b", ttl(TTL)).await?);
    let (first, mut runs) = looping(&a);
    let token = soon("it runs", runs.recv()).await?.context("it runs")?;
    assert_eq!(soon("again", runs.recv()).await?, Some(token), "under the same term");
    let (second, mut later) = looping(&b);
    cluster.until_waiting("loop", 1).await?;
    assert!(later.is_empty());
    a.shutdown().await;
    assert!(matches!(soon("ended", first).await??, Err(Error::ShutDown)));
    assert!(soon("the next one's runs", later.recv()).await?.context("it runs")? > token);
    b.shutdown().await;
    assert!(matches!(soon("ended", second).await??, Err(Error::ShutDown)));
    cluster.until("nobody leads", "loop", |record| record.is_some_and(msync::unstable::record::Record::is_free)).await
}
