//! A write is applied and its reply is lost: the writer recognises it, and nothing is thrown away (bug 4).

use anyhow::{Context, Result};
use futures::future::try_join_all;
use msync::clock::{BootClock, Clock};
use tests::{
    cluster::{Cluster, LIMIT, soon},
    eventually,
    history::Sight,
    lock_request::Kind,
    pair::Pair,
    tamper::Fate,
};

use super::{TTL, acquiring, millis, pair, waiting};

/// How a reply can be lost: no answer at all, a broken connection, an answer after the caller gave up.
const LOST: [Fate; 3] = [Fate::DropReply, Fate::BreakReply, Fate::LateReply(millis_const(TTL))];

const fn millis_const(millis: u64) -> std::time::Duration {
    std::time::Duration::from_millis(millis)
}

/// Who holds, by owner; empty when nobody does.
async fn owner(cluster: &Cluster, lock: &str) -> String {
    let found = cluster.snapshot(lock).await.ok().flatten();
    found.map(|snapshot| snapshot.record.engine.owner().to_owned()).unwrap_or_default()
}

/// Runs a case for every way to lose a reply, side by side; `retry` is kube's own.
async fn each(retry: bool, case: impl AsyncFn(&Pair, &str, Fate) -> Result<()>) -> Result<()> {
    let one = async |fate: Fate| {
        let Some(pair) = pair(retry).await? else { return Ok(()) };
        case(&pair, "x", fate.clone()).await.with_context(|| format!("{fate:?}, kube retries: {retry}"))?;
        pair.cluster.until_gone("x").await
    };
    try_join_all(LOST.into_iter().map(one)).await?;
    Ok(())
}

async fn create(pair: &Pair, lock: &str, fate: Fate) -> Result<()> {
    let history = pair.cluster.history(lock).await?;
    pair.tamper.once(Kind::Create.matches(), fate);
    let began = BootClock.now();
    let guard = soon("it acquires", acquiring(&pair.broken, lock)).await???;
    assert!(BootClock.now().since(began) < millis(TTL), "not by taking over from itself");
    history.until("the watch has shown it", LIMIT, |sights| !sights.is_empty()).await?;
    let hands = history.hands()?;
    assert_eq!((hands.granted_in_order, hands.overtaken), (0, 0), "one term: {hands:?}");
    guard.check()?;
    Ok(guard.release().await?)
}

#[tokio::test]
async fn bug_4_the_reply_of_a_create_is_lost() -> Result<()> {
    each(false, create).await
}

#[tokio::test]
async fn bug_4_the_reply_of_a_create_is_lost_and_kube_retries() -> Result<()> {
    each(true, create).await
}

async fn enqueue(pair: &Pair, lock: &str, fate: Fate) -> Result<()> {
    let guard = pair.honest.lock(lock)?.acquire().await?;
    let history = pair.cluster.history(lock).await?;
    pair.tamper.once(Kind::Enqueue.matches(), fate);
    let waits = waiting(&pair.cluster, &pair.broken, lock).await?;
    tokio::time::sleep(millis(TTL)).await; // so that the waiter has given the reply up
    assert_eq!(pair.cluster.record(lock).await?.waiters.len(), 1, "it stands in the queue once");
    guard.release().await?;
    let guard = soon("it acquires", waits).await???;
    let granted = |sights: &[Sight]| sights.last().and_then(term).is_some_and(|term| Some(term) != first_term(sights));
    history.until("the grant was seen", LIMIT, granted).await?;
    let hands = history.hands()?;
    assert_eq!((hands.granted_in_order, hands.found_free, hands.overtaken), (1, 0, 0), "{hands:?}");
    Ok(guard.release().await?)
}

fn term(sight: &Sight) -> Option<msync::unstable::record::Term> {
    sight.snapshot.as_ref().map(|snapshot| snapshot.record.term)
}

fn first_term(sights: &[Sight]) -> Option<msync::unstable::record::Term> {
    sights.first().and_then(term)
}

#[tokio::test]
async fn bug_4_the_reply_of_an_enqueue_is_lost() -> Result<()> {
    each(false, enqueue).await
}

#[tokio::test]
async fn bug_4_the_reply_of_an_enqueue_is_lost_and_kube_retries() -> Result<()> {
    each(true, enqueue).await
}

/// Each renewal's reply is lost for a while; their beats are seen by the inbox watch or by a read.
async fn renew(pair: &Pair, lock: &str, fate: Fate) -> Result<()> {
    let guard = pair.broken.lock(lock)?.acquire().await?;
    pair.tamper.always(Kind::Renew.matches(), fate);
    tokio::time::sleep(millis(TTL * 2)).await;
    guard.check()?;
    pair.tamper.clear();
    Ok(guard.release().await?)
}

#[tokio::test]
async fn bug_4_the_replies_of_renewals_are_lost() -> Result<()> {
    each(false, renew).await
}

#[tokio::test]
async fn bug_4_the_replies_of_renewals_are_lost_and_kube_retries() -> Result<()> {
    each(true, renew).await
}

async fn grant(pair: &Pair, lock: &str, fate: Fate) -> Result<()> {
    let guard = pair.broken.lock(lock)?.acquire().await?;
    let waits = waiting(&pair.cluster, &pair.honest, lock).await?;
    tokio::time::sleep(millis(100)).await; // so that the holder has seen the waiter
    pair.tamper.once(Kind::Grant.matches(), fate);
    let began = BootClock.now();
    let releasing = tokio::spawn(guard.release());
    let next = soon("the successor acquires", waits).await???;
    assert!(BootClock.now().since(began) < millis(TTL / 2), "by the grant itself");
    soon("the release is acknowledged", releasing).await???;
    next.check()?;
    assert_eq!(owner(&pair.cluster, lock).await, "honest");
    Ok(next.release().await?)
}

#[tokio::test]
async fn bug_4_the_reply_of_a_grant_is_lost() -> Result<()> {
    each(false, grant).await
}

#[tokio::test]
async fn bug_4_the_reply_of_a_grant_is_lost_and_kube_retries() -> Result<()> {
    each(true, grant).await
}

/// The object is gone, somebody makes it anew, and the writer that still wonders leaves that one alone.
async fn delete(pair: &Pair, lock: &str, fate: Fate) -> Result<()> {
    let guard = pair.broken.lock(lock)?.acquire().await?;
    pair.tamper.once(Kind::Delete.matches(), fate);
    let releasing = tokio::spawn(guard.release());
    eventually("it is gone", LIMIT, || async { owner(&pair.cluster, lock).await != "broken" }).await?;
    let next = pair.honest.lock(lock)?.acquire().await?;
    soon("the release is acknowledged", releasing).await???;
    tokio::time::sleep(millis(TTL)).await;
    next.check()?;
    Ok(next.release().await?)
}

#[tokio::test]
async fn bug_4_bug_6_the_reply_of_a_delete_is_lost() -> Result<()> {
    each(false, delete).await
}

#[tokio::test]
async fn bug_4_bug_6_the_reply_of_a_delete_is_lost_and_kube_retries() -> Result<()> {
    each(true, delete).await
}
