//! Standing by on a real API server: candidates in the background, `lead`, and what the leader says of itself.

use std::pin::pin;

use anyhow::{Context, Result};
use futures::StreamExt;
use msync::Error;
use tests::cluster::{Cluster, soon, ttl};

/// Nobody dies here: long enough for a busy machine.
const TTL: u64 = 5000;

#[tokio::test]
async fn candidates_follow_each_other_and_observers_find_the_leader() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let (a, b) = (cluster.client("a", ttl(TTL)).await?, cluster.client("b", ttl(TTL)).await?);
    let watcher = cluster.client("watcher", ttl(TTL)).await?.election("e")?;
    let mut adverts = pin!(watcher.observe().filter_map(async |leader| leader?.advert().map(str::to_owned)));
    let mut one = a.election("e")?.advertise("10.0.0.1:80")?.candidate();
    soon("it leads", one.changed()).await??;
    assert_eq!(soon("found", adverts.next()).await?.as_deref(), Some("10.0.0.1:80"));
    let mut two = b.election("e")?.advertise("10.0.0.2:80")?.candidate();
    cluster.until_waiting("e", 1).await?;
    assert!(one.is_leading() && !two.is_leading());
    let first = one.term().context("it leads")?;
    one.resign().await?;
    soon("the next leads", two.changed()).await??;
    assert!(two.term().context("it leads")?.token() > first.token() && first.check().is_err());
    assert_eq!(soon("found", adverts.next()).await?.as_deref(), Some("10.0.0.2:80"));
    drop(two);
    cluster.until("nobody leads", "e", |record| record.is_some_and(msync::unstable::record::Record::is_free)).await
}

#[tokio::test]
async fn who_stands_by_leads_when_the_leader_shuts_down() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let (a, b) = (cluster.client("a", ttl(TTL)).await?, cluster.client("b", ttl(TTL)).await?);
    let (one, two) = (a.election("e")?, b.election("e")?);
    let (leads, led) = tokio::sync::oneshot::channel();
    let mut leads = Some(leads);
    let leader = tokio::spawn(async move {
        let body = |_| {
            let _ = leads.take().map(|leads| leads.send(()));
            std::future::pending::<()>()
        };
        one.lead(body).await
    });
    soon("it leads", led).await??;
    let next = tokio::spawn(async move { two.lead(async |term| term.token()).await });
    cluster.until_waiting("e", 1).await?;
    assert!(!next.is_finished());
    a.shutdown().await;
    assert!(matches!(soon("ended", leader).await??, Err(Error::ShutDown)));
    soon("the next led", next).await???;
    cluster.until("nobody leads", "e", |record| record.is_some_and(msync::unstable::record::Record::is_free)).await
}
