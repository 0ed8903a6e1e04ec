//! On the memory store, with paused time.
#![allow(clippy::disallowed_methods, reason = "time is paused")]

use std::time::Duration;

use futures::StreamExt;

use super::*;
use crate::{Client, MemoryStore, Timing, clock::TokioClock};

const TTL: Duration = Duration::from_secs(31);

fn lock(store: &MemoryStore, owner: &str, pod: Option<&str>) -> Lock {
    let timing = Timing::with_ttl(TTL).and_then(|t| t.margin(Duration::from_secs(1))).unwrap();
    let timing = timing.renew_every(Duration::from_secs(5)).unwrap();
    let mut builder = Client::builder().owner(owner).timing(timing).clock(TokioClock::default());
    if let Some(pod) = pod {
        builder = builder.pod_uid(pod);
    }
    builder.memory(store).build().lock("x").unwrap().retained().adopt()
}

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_try_costs_a_read_and_a_write_and_a_refusal_a_read() {
    let store = MemoryStore::new();
    let (a, b) = (lock(&store, "a", None), lock(&store, "b", None));
    let guard = a.attempt(false).await.unwrap().unwrap();
    assert_eq!((store.calls().reads, store.calls().writes()), (1, 1));
    let before = store.calls();
    assert!(b.attempt(false).await.unwrap().is_none());
    assert_eq!((store.calls().reads - before.reads, store.calls().writes()), (1, before.writes()));
    assert_eq!(b.last_seen().unwrap().record.engine.owner(), "a", "without another request");
    guard.release().await.unwrap();
    assert!(b.look().await.unwrap().unwrap().record.is_free());
    assert!(b.attempt(true).await.unwrap().is_none(), "it exists");
    assert!(b.attempt(false).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_dead_holder_is_noticed_over_several_tries() {
    let store = MemoryStore::new();
    let (a, b) = (lock(&store, "a", None), lock(&store, "b", None));
    let dead = a.attempt(false).await.unwrap().unwrap();
    std::mem::forget(dead);
    let stopped = store.snapshot(a.name()).unwrap().record;
    let freeze = |store: &MemoryStore| drop(store.edit(a.name(), |record| *record = stopped.clone()));
    for _ in 0..3 {
        freeze(&store);
        assert!(b.attempt(false).await.unwrap().is_none());
        sleep(10.0).await;
    }
    freeze(&store);
    b.look().await.unwrap();
    sleep(1.5).await;
    freeze(&store);
    assert!(b.attempt(false).await.unwrap().is_some(), "31 s after the first sight");
}

#[tokio::test(start_paused = true)]
async fn the_next_start_of_the_same_pod_has_the_lock_at_once() {
    let store = MemoryStore::new();
    let before = lock(&store, "a", Some("pod")).attempt(false).await.unwrap().unwrap();
    assert!(lock(&store, "a", Some("another")).attempt(false).await.unwrap().is_none());
    assert!(lock(&store, "a", None).attempt(false).await.unwrap().is_none());
    let after = lock(&store, "a", Some("pod")).attempt(false).await.unwrap().unwrap();
    sleep(0.1).await;
    assert!(before.check().is_err(), "its record shows another term");
    after.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_renewal_on_demand_brings_the_whole_deadline() {
    let store = MemoryStore::new();
    let guard = lock(&store, "a", None).attempt(false).await.unwrap().unwrap();
    let first = guard.version();
    sleep(1.2).await; // no renewal is due yet
    assert!(guard.remaining() < Duration::from_secs(29));
    guard.renewed(Duration::from_secs(29)).await.unwrap();
    assert!(guard.remaining() > Duration::from_millis(29_900), "{:?}", guard.remaining());
    assert!(guard.version() > first);
    let renews = store.calls().renews;
    guard.renewed(Duration::from_secs(20)).await.unwrap();
    assert_eq!(store.calls().renews, renews, "enough is left");
    assert!(matches!(guard.renewed(Duration::from_secs(40)).await, Err(Error::TooShort { .. })));
    store.delete(guard.name());
    sleep(0.1).await;
    assert!(guard.renewed(Duration::from_secs(30)).await.unwrap_err().is_lost());
}

#[tokio::test(start_paused = true)]
async fn the_newest_record_is_shown_without_a_request() {
    let store = MemoryStore::new();
    let (a, b) = (lock(&store, "a", None), lock(&store, "b", None));
    assert!(a.newest().await.is_none(), "nothing is known");
    let guard = a.attempt(false).await.unwrap().unwrap();
    let waiting = tokio::spawn({
        let b = b.clone();
        async move { b.acquire().await }
    });
    sleep(1.0).await;
    let calls = store.calls();
    let (held, awaited) = (a.newest().await.unwrap().record, b.newest().await.unwrap().record);
    assert_eq!((held.engine.owner(), held.waiters.len()), ("a", 1));
    assert_eq!(awaited.engine.owner(), "a");
    assert_eq!(store.calls(), calls);
    guard.release().await.unwrap();
    let next = waiting.await.unwrap().unwrap();
    assert_eq!(b.newest().await.unwrap().record.engine.owner(), "b");
    next.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sightings_begin_with_what_is_there_and_go_on_with_every_change() {
    let store = MemoryStore::new();
    let a = lock(&store, "a", None);
    let mut sightings = Box::pin(lock(&store, "b", None).sightings());
    assert_eq!(sightings.next().await, Some(None), "absent");
    let guard = a.attempt(false).await.unwrap().unwrap();
    assert_eq!(sightings.next().await.flatten(), store.snapshot(a.name()));
    guard.release().await.unwrap();
    assert!(sightings.next().await.flatten().unwrap().record.is_free());
    store.delete(a.name());
    assert_eq!(sightings.next().await, Some(None));
}
