//! Several locks at once, on a real API server.

use anyhow::{Context, Result};
use msync::{Error, LossReason};
use tests::{cluster::soon, tamper::Fate};

use super::{millis, pair};

#[tokio::test]
async fn a_set_is_had_as_a_whole_or_leaves_nothing() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let had = pair.honest.lock_all(["x", "y", "z"])?.acquire().await?;
    assert_eq!((had.tokens().count(), pair.honest.held().len()), (3, 3));
    let set = pair.broken.lock_all(["w", "y"])?;
    assert!(set.try_acquire().await?.is_none());
    pair.cluster.until_gone("w").await?;
    let limited = set.acquire_timeout(millis(300)).await;
    assert!(matches!(&limited, Err(Error::Timeout { name, .. }) if name == "y"), "{limited:?}");
    pair.cluster.until_gone("w").await?;
    pair.cluster.until_waiting("y", 0).await?;
    had.release().await?;
    let next = soon("it is free", set.acquire()).await??;
    pair.honest.lock("x")?.try_acquire().await?.context("no part of it")?.release().await?;
    Ok(next.release().await?)
}

#[tokio::test]
async fn a_set_is_lost_with_the_first_of_its_locks() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let guards = pair.honest.lock_all(["x", "y"])?.acquire().await?;
    let (lost, stop, lease) = (guards.lost(), guards.cancellation_token(), guards.lease());
    pair.cluster.delete("y").await?;
    assert_eq!(soon("lost", lost).await?, LossReason::Deleted);
    soon("cancelled", stop.cancelled()).await?;
    assert!(guards.check().is_err() && lease.check().is_err() && guards.remaining().is_zero());
    let released = guards.release().await;
    assert!(matches!(&released, Err(Error::Lost { name, .. }) if name == "y"), "{released:?}");
    pair.cluster.until_gone("x").await
}

#[tokio::test]
async fn an_outage_drops_the_body_under_a_set_at_its_deadline() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let (begins, begun) = tokio::sync::oneshot::channel();
    let set = pair.broken.lock_all(["x", "y"])?;
    let work = tokio::spawn(async move {
        set.run(async |guards| {
            let _ = begins.send(guards.lease());
            std::future::pending::<()>().await;
        })
        .await
    });
    let lease = soon("it begins", begun).await??;
    pair.tamper.always(|_| true, Fate::Refuse);
    let ended = soon("it is dropped", work).await??;
    assert!(matches!(ended, Err(Error::Lost { reason: LossReason::Deadline, .. })), "{ended:?}");
    assert!(lease.check().is_err());
    pair.tamper.clear();
    let set = pair.honest.lock_all(["x", "y"])?;
    soon("taken over", set.acquire()).await??.release().await?;
    Ok(())
}
