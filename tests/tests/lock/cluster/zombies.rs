//! A write that was given up long ago is delivered after all (bugs 6, 29, 41): it has no effect, or is undone at once.

use anyhow::{Context, Result};
use msync::clock::{BootClock, Clock};
use tests::{
    cluster::{LIMIT, soon},
    eventually,
    lock_request::Kind,
    pair::Pair,
    tamper::Fate,
};

use super::{TTL, acquiring, millis, pair, waiting};

/// Delivers the next request of a kind of the broken member so much later, unanswered.
fn raise(pair: &Pair, kind: Kind, after: u64) {
    pair.tamper.once(kind.matches(), Fate::DeliverLater(millis(after)));
}

/// Waits until a zombie of this kind has been delivered, and returns the status that nobody saw.
async fn zombie(pair: &Pair, kind: Kind) -> Result<u16> {
    let of_kind = || pair.tamper.unseen_replies().into_iter().find(|(call, _)| Kind::of(call) == kind);
    eventually("the zombie is delivered", LIMIT, || async { of_kind().is_some() }).await?;
    Ok(of_kind().context("it was delivered")?.1.as_u16())
}

/// The honest member's hold goes on as if nothing were.
async fn undisturbed(pair: &Pair, lock: &str, guard: msync::LockGuard) -> Result<()> {
    let term = pair.cluster.record(lock).await?.term;
    tokio::time::sleep(millis(TTL)).await;
    guard.check()?;
    let record = pair.cluster.record(lock).await?;
    assert_eq!((record.term, record.engine.owner()), (term, "honest"));
    guard.release().await?;
    pair.cluster.until_gone(lock).await
}

#[tokio::test]
async fn bug_29_bug_41_a_renewal_after_the_loss_has_no_effect() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let guard = pair.broken.lock("x")?.acquire().await?;
    let waits = waiting(&pair.cluster, &pair.honest, "x").await?;
    raise(&pair, Kind::Renew, TTL * 2);
    pair.tamper.always(Kind::Renew.matches(), Fate::Delay(LIMIT)); // never sent: the caller gives up before
    soon("it is lost", guard.lost()).await?;
    let taken = soon("taken over", waits).await???;
    assert_eq!(zombie(&pair, Kind::Renew).await?, 422);
    assert!(guard.check().is_err());
    undisturbed(&pair, "x", taken).await
}

#[tokio::test]
async fn bug_29_a_creation_after_the_release_is_undone() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    raise(&pair, Kind::Create, 1500);
    soon("the second creation succeeds", pair.broken.lock("x")?.acquire()).await??.release().await?;
    pair.cluster.until_gone("x").await?;
    assert_eq!(zombie(&pair, Kind::Create).await?, 201);
    gone_before_its_ttl(&pair).await
}

#[tokio::test]
async fn bug_29_a_creation_after_the_cancellation_is_undone() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    raise(&pair, Kind::Create, 1500);
    let cancelled = acquiring(&pair.broken, "x");
    tokio::time::sleep(millis(50)).await;
    cancelled.abort();
    assert_eq!(zombie(&pair, Kind::Create).await?, 201);
    gone_before_its_ttl(&pair).await
}

async fn gone_before_its_ttl(pair: &Pair) -> Result<()> {
    let began = BootClock.now();
    pair.cluster.until_gone("x").await?;
    assert!(BootClock.now().since(began) < millis(TTL / 2), "given back by its writer");
    let history = pair.cluster.history("x").await?;
    tokio::time::sleep(millis(TTL)).await;
    assert!(history.sights().is_empty(), "nobody renews it");
    Ok(())
}

#[tokio::test]
async fn bug_29_a_creation_while_another_holds_has_no_effect() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    raise(&pair, Kind::Create, 1500);
    let cancelled = acquiring(&pair.broken, "x");
    tokio::time::sleep(millis(50)).await;
    cancelled.abort();
    let guard = pair.honest.lock("x")?.acquire().await?;
    assert_eq!(zombie(&pair, Kind::Create).await?, 409);
    undisturbed(&pair, "x", guard).await
}

/// An entry that nobody wants is granted, and passed on at once.
#[tokio::test]
async fn bug_29_an_entry_after_the_cancellation_costs_nobody_a_ttl() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let guard = pair.honest.lock("x")?.acquire().await?;
    raise(&pair, Kind::Enqueue, 1500);
    let cancelled = acquiring(&pair.broken, "x");
    tokio::time::sleep(millis(100)).await;
    cancelled.abort();
    assert_eq!(zombie(&pair, Kind::Enqueue).await?, 200);
    guard.check()?;
    guard.release().await?;
    gone_before_its_ttl(&pair).await
}

#[tokio::test]
async fn bug_29_a_grant_after_the_release_has_no_effect() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let guard = pair.broken.lock("x")?.acquire().await?;
    let waits = waiting(&pair.cluster, &pair.honest, "x").await?;
    tokio::time::sleep(millis(100)).await;
    raise(&pair, Kind::Grant, 1500);
    guard.release().await?;
    let taken = soon("the second grant succeeds", waits).await???;
    assert_eq!(zombie(&pair, Kind::Grant).await?, 422);
    undisturbed(&pair, "x", taken).await
}

#[tokio::test]
async fn bug_6_bug_29_a_deletion_after_the_release_has_no_effect() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let guard = pair.broken.lock("x")?.acquire().await?;
    raise(&pair, Kind::Delete, 1500);
    guard.release().await?;
    let taken = soon("the second deletion succeeds", pair.honest.lock("x")?.acquire()).await??;
    assert_eq!(zombie(&pair, Kind::Delete).await?, 409);
    undisturbed(&pair, "x", taken).await
}

/// The same engine holds the lock again when its old deletion arrives.
#[tokio::test]
async fn bug_6_a_deletion_does_not_hit_the_next_hold_of_the_same_client() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let guard = pair.broken.lock("x")?.acquire().await?;
    raise(&pair, Kind::Delete, 1500);
    guard.release().await?;
    let again = pair.broken.lock("x")?.acquire().await?;
    assert_eq!(zombie(&pair, Kind::Delete).await?, 409);
    tokio::time::sleep(millis(TTL)).await;
    again.check()?;
    again.release().await?;
    pair.cluster.until_gone("x").await
}
