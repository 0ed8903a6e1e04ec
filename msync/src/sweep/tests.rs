//! A whole sweep, on the memory store. Which records may go is tested where that is decided.
#![allow(clippy::disallowed_methods, reason = "the clock of these tests is tokio's, and it is paused")]

use super::*;
use crate::{
    Client, MemoryStore,
    clock::{Clock, TokioClock},
    record::{Beat, Claim, EngineId, Term},
};

const TTL: Duration = Duration::from_secs(30);

fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

fn client(store: &MemoryStore) -> Client {
    Client::builder().clock(TokioClock::default()).memory(store).build()
}

/// A crash: the client's tasks are gone, its record stays.
fn crashed(store: &MemoryStore, lock: &str) {
    let claim = Claim { engine: EngineId::new("gone", 1), term: Term(7), ttl: TTL, instant: true };
    store.edit(&name(lock), |record| {
        (record.engine, record.term, record.beat, record.renewals) = (claim.engine, claim.term, Beat(3), 1);
        (record.ttl, record.expiry) = (claim.ttl, Some(TokioClock::default().read().wall));
    });
}

#[tokio::test(start_paused = true)]
async fn a_sweep_removes_the_dead_and_leaves_the_living() {
    let store = MemoryStore::new();
    let holder = client(&store);
    crashed(&store, "dead");
    let living = holder.lock("living").unwrap().acquire().await.unwrap();
    let begun = tokio::time::Instant::now();
    let swept = client(&store).sweep().older_than(Duration::ZERO).run().await.unwrap();
    assert_eq!((swept.removed, swept.undecided, swept.seen), (vec![name("dead")], vec![], 2));
    assert!(begun.elapsed() >= TTL, "it was watched");
    assert_eq!(store.names(), [name("living")]);
    living.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_only_says_so() {
    let store = MemoryStore::new();
    crashed(&store, "dead");
    let swept = client(&store).sweep().older_than(Duration::ZERO).dry_run(true).run().await.unwrap();
    assert_eq!((swept.removed, store.names().len(), store.calls().deletes), (vec![name("dead")], 1, 0));
}

#[tokio::test(start_paused = true)]
async fn who_is_more_patient_than_the_sweep_is_left_undecided() {
    let store = MemoryStore::new();
    crashed(&store, "dead");
    let begun = tokio::time::Instant::now();
    let mut sweep = client(&store).sweep().older_than(Duration::ZERO).patience(TTL / 2);
    let swept = sweep.run().await.unwrap();
    assert_eq!((swept.removed, swept.undecided), (vec![], vec![name("dead")]));
    assert!(begun.elapsed() < TTL, "it does not wait for what it will not see");
    tokio::time::advance(TTL).await;
    assert_eq!(sweep.round().await.unwrap().removed, [name("dead")], "rounds remember");
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_between_the_look_and_the_removal_stays() {
    let store = MemoryStore::new();
    crashed(&store, "x");
    let sweep = client(&store).sweep();
    let judged = store.snapshot(&name("x")).unwrap().version;
    store.edit(&name("x"), |record| record.beat = Beat(4));
    assert!(!sweep.remove(&name("x"), &judged).await.unwrap());
    assert!(store.snapshot(&name("x")).is_some());
}
