use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::{
    clock::Wall,
    record::{Beat, Claim, EngineId, Term},
};

fn name() -> LockName {
    LockName::new("invoices").unwrap()
}

fn claim(engine: &str, term: u64) -> Claim {
    Claim { engine: EngineId::new(engine, 7), term: Term(term), ttl: Duration::from_secs(15), instant: true }
}

fn create(engine: &str, term: u64) -> Change {
    Change::Create { claim: claim(engine, term), beat: Beat(term + 100), under: Term::NONE, wall: Wall::default() }
}

fn drain(watch: &mut Watch) -> Vec<Sighting> {
    std::iter::from_fn(|| watch.next().now_or_never()).map(|s| s.unwrap().unwrap()).collect()
}

#[tokio::test]
async fn versions_grow_across_deletion_and_a_new_creation_has_a_new_uid() {
    let store = MemoryStore::new();
    let first = store.apply(&name(), &create("a", 1)).await.unwrap();
    Store::delete(&store, &name(), &first.version).await.unwrap();
    let second = store.apply(&name(), &create("a", 2)).await.unwrap();
    assert_eq!((first.version.number, second.version.number), (1, 3));
    assert_ne!(first.version.uid, second.version.uid);
}

#[tokio::test]
async fn a_grant_to_another_engine_is_gone_for_the_one_and_changed_for_the_other() {
    let store = MemoryStore::new();
    let (mut a, mut b) =
        (store.watch(Scope::Engine(EngineId::new("a", 7))), store.watch(Scope::Engine(EngineId::new("b", 7))));
    let held = store.apply(&name(), &create("a", 1)).await.unwrap();
    let queued = store.apply(&name(), &Change::Enqueue { claim: claim("b", 2), wall: Wall::default() }).await.unwrap();
    let entry = queued.record.waiters[0].clone();
    let grant = Change::Grant {
        term: Term(1),
        beat: Beat(9),
        index: 0,
        entry,
        duplicates: vec![],
        next: EngineId::default(),
        wall: Wall::default(),
    };
    let granted = store.apply(&name(), &grant).await.unwrap();
    let first = Sighting::Listed(vec![]);
    assert_eq!(
        drain(&mut a),
        [
            first.clone(),
            Sighting::Changed(name(), held),
            Sighting::Changed(name(), queued),
            Sighting::Gone(name(), granted.version.number)
        ]
    );
    assert_eq!(drain(&mut b), [first, Sighting::Changed(name(), granted)]);
}

#[tokio::test]
async fn a_dropped_watch_is_forgotten() {
    let store = MemoryStore::new();
    drop(store.watch(Scope::Lock(name())));
    store.edit(&name(), |record| record.ttl = Duration::from_secs(3));
    assert!(store.state().watchers.is_empty());
}

#[tokio::test]
async fn a_call_dropped_at_its_second_yield_has_taken_effect() {
    let store = MemoryStore::new();
    let (lock, change) = (name(), create("a", 1));
    let mut call = store.apply(&lock, &change);
    assert!(futures::poll!(&mut call).is_pending());
    assert!(store.names().is_empty(), "nothing is sent yet");
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    assert_eq!(store.names(), [lock]);
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_version_and_no_event() {
    let store = MemoryStore::new();
    let first = store.edit(&name(), |record| record.renewals = 3);
    let mut watch = store.watch(Scope::Lock(name()));
    assert_eq!(store.edit(&name(), |_| ()), first);
    assert_eq!(drain(&mut watch).len(), 1);
}

#[tokio::test]
async fn an_expired_watch_lists_again_and_goes_on() {
    let store = MemoryStore::new();
    let mut watch = store.watch(Scope::Lock(name()));
    let first = store.edit(&name(), |record| record.renewals = 3);
    store.expire_watches();
    let second = store.edit(&name(), |record| record.renewals = 4);
    let sightings = [
        Sighting::Listed(vec![]),
        Sighting::Changed(name(), first.clone()),
        Sighting::Listed(vec![(name(), first)]),
        Sighting::Changed(name(), second),
    ];
    assert_eq!(drain(&mut watch), sightings);
}

#[tokio::test]
async fn calls_are_counted_by_kind_refused_ones_included() {
    let store = MemoryStore::new();
    store.apply(&name(), &create("a", 1)).await.unwrap();
    store.apply(&name(), &create("b", 2)).await.unwrap_err();
    store.read(&name()).await.unwrap();
    let calls = store.calls();
    assert_eq!((calls.creates, calls.reads, calls.writes()), (2, 1, 2));
}
