//! A `Lock` is edited by hand (bug 36): recovery or an error, never a panic, and never two holders that msync let in.

use anyhow::{Context, Result};
use futures::future::try_join_all;
use msync::{Client, Error, LossReason};
use serde_json::{Value, json};
use tests::cluster::{Cluster, soon, ttl};

use super::{TTL, acquiring, millis, waiting};

struct Scene {
    cluster: Cluster,
    a: Client,
    b: Client,
}

impl Scene {
    async fn new() -> Result<Option<Self>> {
        let Some(cluster) = Cluster::shared().await?.and_then(Cluster::of_the_resource) else { return Ok(None) };
        let (a, b) = (cluster.client("a", ttl(TTL)).await?, cluster.client("b", ttl(TTL)).await?);
        Ok(Some(Self { cluster, a, b }))
    }
}

/// Edits that say nothing about who holds: the holder goes on, repairs what it writes anyway, and hands over.
#[tokio::test]
async fn bug_36_a_holder_survives_edits_of_what_is_only_informative() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let edits = [
        json!({"owner": ""}),
        json!({"owner": null, "acquired": null, "expiry": null, "renewals": null, "instant": null, "waiters": null}),
        json!({"expiry": "9999-12-31T23:59:59Z", "acquired": "yesterday"}),
        json!({"ttlMilliseconds": 0}),
        json!({"ttlMilliseconds": i64::MAX, "renewals": i64::MAX}),
        json!({"waiters": ["", "garbage", "0000000000000000 x 1 accept", "5f0c9c0c2f7e4b16 gone.1 99999999999999999999 instant"]}),
        json!({"beat": "00000000000000ff"}),
    ];
    let one = |(number, edit): (usize, Value)| {
        let (scene, what) = (&scene, format!("edit {edit}"));
        async move { holds_on(scene, &format!("x-{number}"), edit).await.context(what) }
    };
    try_join_all(edits.into_iter().enumerate().map(one)).await?;
    Ok(())
}

async fn holds_on(scene: &Scene, lock: &str, edit: Value) -> Result<()> {
    let guard = scene.a.lock(lock)?.acquire().await?;
    scene.cluster.edit(lock, edit).await?;
    assert!(scene.b.lock(lock)?.acquire_timeout(millis(TTL * 4 / 3)).await.is_err(), "it is held");
    guard.check()?;
    let waits = acquiring(&scene.b, lock);
    tokio::time::sleep(millis(200)).await;
    guard.release().await?;
    soon("handed over", waits).await???.release().await?;
    scene.cluster.until_gone(lock).await
}

/// Edits that take the lock away: the holder is told at once, and acquires again.
#[tokio::test]
async fn bug_36_a_holder_whose_record_is_freed_by_hand_is_told_at_once() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let edits = [
        json!({"term": "", "engine": "", "owner": "", "beat": ""}),
        json!({"term": null}),
        json!({"term": "00000000000000ff"}),
        json!({"engine": "somebody.0000000000000001", "term": "00000000000000ff", "ttlMilliseconds": 1000}),
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        println!("edit {edit}");
        let lock = format!("x-{number}");
        let guard = scene.a.lock(&lock)?.acquire().await?;
        scene.cluster.edit(&lock, edit).await?;
        let reason = tokio::time::timeout(millis(TTL * 2 / 3), guard.lost()).await?;
        assert_eq!(reason, LossReason::TakenOver);
        drop(guard);
        let guard = soon("somebody else acquires", scene.b.lock(&lock)?.acquire()).await??;
        guard.check()?;
        guard.release().await?;
        soon("it acquires again", scene.a.lock(&lock)?.acquire()).await??.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn bug_35_bug_36_a_deletion_by_hand_is_a_loss_at_once() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let guard = scene.a.lock("x")?.acquire().await?;
    let waits = waiting(&scene.cluster, &scene.b, "x").await?;
    scene.cluster.delete("x").await?;
    let reason = tokio::time::timeout(millis(TTL * 2 / 3), guard.lost()).await?;
    assert!(matches!(reason, LossReason::Deleted | LossReason::TakenOver), "{reason:?}");
    let taken = soon("the waiter acquires", waits).await???;
    taken.check()?;
    drop(guard);
    let again = acquiring(&scene.a, "x");
    tokio::time::sleep(millis(TTL)).await;
    taken.check()?;
    taken.release().await?;
    soon("it acquires again", again).await???.release().await?;
    scene.cluster.until_gone("x").await
}

#[tokio::test]
async fn bug_36_a_lock_deleted_and_made_by_hand_loses_its_holder() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    for (lock, spec) in [("x", json!({})), ("y", json!({"owner": "hand", "expiry": "9999-12-31T23:59:59Z"}))] {
        let guard = scene.a.lock(lock)?.acquire().await?;
        let waits = waiting(&scene.cluster, &scene.b, lock).await?;
        scene.cluster.delete(lock).await?;
        let _ = scene.cluster.make(lock, spec).await; // unless somebody was faster
        tokio::time::timeout(millis(TTL * 2 / 3), guard.lost()).await?;
        soon("the waiter acquires", waits).await???.release().await?;
        drop(guard);
        soon("it acquires again", scene.a.lock(lock)?.acquire()).await??.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn bug_36_a_waiter_whose_entry_is_removed_by_hand_queues_again() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let guard = scene.a.lock("x")?.acquire().await?;
    let waits = waiting(&scene.cluster, &scene.b, "x").await?;
    let entry = scene.cluster.record("x").await?.waiters[0].clone();
    scene.cluster.edit("x", json!({"waiters": []})).await?;
    let back = |found: Option<&msync::unstable::record::Record>| {
        found.is_some_and(|record| record.waiters.len() == 1 && record.waiters[0] != entry)
    };
    scene.cluster.until("it waits again, under a new term", "x", back).await?;
    guard.release().await?;
    soon("it acquires", waits).await???.release().await?;
    scene.cluster.until_gone("x").await
}

/// What nobody of ours wrote: free, or held by nobody who ever shows life.
#[tokio::test]
async fn bug_36_locks_made_by_hand_can_be_acquired() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let specs = [
        json!({}),
        json!({"owner": "", "expiry": "tomorrow"}),
        json!({"owner": "hand", "engine": "hand"}),
        json!({"term": "00000000000000ff", "ttlMilliseconds": 1000, "waiters": ["garbage"]}),
        json!({"term": "00000000000000ff", "engine": "", "ttlMilliseconds": 1000, "expiry": "9999-12-31T23:59:59Z"}),
        json!({"beat": "00000000000000ff"}),
    ];
    for (number, spec) in specs.into_iter().enumerate() {
        println!("spec {spec}");
        let lock = format!("x-{number}");
        scene.cluster.make(&lock, spec).await?;
        let guard = soon("it acquires", scene.a.lock(&lock)?.acquire()).await??;
        guard.check()?;
        guard.release().await?;
        scene.cluster.until_gone(&lock).await?;
    }
    Ok(())
}

/// No condition can ever fit this term: an error that names the lock, for waiters; the deadline, for a holder.
#[tokio::test]
async fn bug_36_an_illegible_lock_is_an_error_that_names_it() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let guard = scene.a.lock("x")?.acquire().await?;
    let waits = waiting(&scene.cluster, &scene.b, "x").await?;
    scene.cluster.edit("x", json!({"term": "0000000000000000"})).await?;
    soon("the holder is told", guard.lost()).await?;
    let error = soon("the waiter is told", waits).await??.expect_err("nobody can hold it");
    assert!(matches!(error, Error::Store { .. }) && error.to_string().contains("/x"), "{error}");
    drop(guard);
    let error = soon("so is the next", scene.a.lock("x")?.acquire()).await?.expect_err("nobody can hold it");
    assert!(error.to_string().contains("/x"), "{error}");
    scene.cluster.delete("x").await?;
    soon("deleted, it can be had", scene.a.lock("x")?.acquire()).await??.release().await?;
    Ok(())
}

/// Somebody else's tool puts a finalizer on the object: its deletion succeeds, and the object stays.
#[tokio::test]
async fn a_lock_that_a_finalizer_keeps_is_freed_and_everybody_else_is_told_why() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let guard = scene.a.lock("x")?.acquire().await?;
    scene.cluster.finalize("x", &["example.com/backup"]).await?;
    guard.release().await?;
    assert!(scene.cluster.record("x").await?.is_free(), "it stays, and nobody waits for its ttl");
    for client in [&scene.a, &scene.b] {
        let lock = client.lock("x")?;
        for refused in [lock.try_acquire().await.err(), soon("told at once", lock.acquire()).await?.err()] {
            let error = refused.context("nobody can have it")?;
            assert!(!error.is_busy() && error.to_string().contains("example.com/backup"), "{error}");
        }
    }
    scene.cluster.finalize("x", &[]).await?;
    soon("it is gone and can be had", scene.b.lock("x")?.acquire()).await??.release().await?;
    Ok(())
}

/// Deleted by hand while it is held, and kept: its holder has it until it ends, and whoever waited is served.
#[tokio::test]
async fn a_held_lock_that_is_deleted_and_kept_by_a_finalizer_is_given_back_in_order() -> Result<()> {
    let Some(scene) = Scene::new().await? else { return Ok(()) };
    let guard = scene.a.lock("x")?.acquire().await?;
    scene.cluster.finalize("x", &["example.com/backup"]).await?;
    scene.cluster.delete("x").await?;
    tokio::time::sleep(millis(TTL)).await;
    guard.check()?;
    assert!(scene.b.lock("x")?.try_acquire().await?.is_none(), "it is held");
    guard.release().await?;
    let error = scene.b.lock("x")?.try_acquire().await.expect_err("nobody can have it");
    assert!(error.to_string().contains("example.com/backup"), "{error}");
    Ok(())
}
