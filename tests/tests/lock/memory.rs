//! The promises on the memory store, in paused time.

use std::time::Duration;

use msync::{Client, Error, LockName, LossReason, MemoryStore, clock::TokioClock};

fn client(store: &MemoryStore, owner: &str) -> Client {
    Client::builder().memory(store).owner(owner).clock(TokioClock::default()).build()
}

fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn an_uncontended_acquire_is_one_write_and_a_release_another() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    assert_eq!(store.snapshot(&name("x")).unwrap().record.engine.owner(), "a");
    guard.check().unwrap();
    guard.release().await.unwrap();
    assert!(store.snapshot(&name("x")).is_none());
    let calls = store.calls();
    assert_eq!((calls.creates, calls.deletes, calls.reads, calls.renews), (1, 1, 0, 0), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn l2_a_hand_off_is_one_write() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    let waiter = tokio::spawn({
        let lock = b.lock("x").unwrap();
        async move { lock.acquire().await.unwrap() }
    });
    until("b waits", || store.snapshot(&name("x")).unwrap().record.waiters.len() == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = store.calls();
    let token = held.token();
    held.release().await.unwrap();
    let next = waiter.await.unwrap();
    let after = store.calls();
    assert_eq!(after.grants - before.grants, 1);
    assert_eq!((after.reads, after.renews, after.creates), (before.reads, before.renews, before.creates), "{after:?}");
    assert!(next.token() > token);
    next.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_renewed_for_as_long_as_the_guard_lives() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    guard.check().unwrap();
    let renews = store.calls().renews;
    assert!((58..=70).contains(&renews), "{renews} renewals in 300 s at a ttl of 15 s");
    drop(guard);
    until("released", || store.snapshot(&name("x")).is_none()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(store.calls().renews, renews, "nothing renews after its guard is gone");
}

#[tokio::test(start_paused = true)]
async fn bug_35_a_deletion_by_hand_is_a_loss_at_once() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    store.remove(&name("x"));
    let reason = tokio::time::timeout(Duration::from_secs(1), guard.lost()).await.expect("told at once");
    assert_eq!(reason, LossReason::Deleted);
    assert!(matches!(guard.check(), Err(Error::Lost { .. })));
    drop(guard);
    a.lock("x").unwrap().acquire().await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn local_tasks_share_one_term() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let lock = a.lock("x").unwrap();
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let lock = lock.clone();
            tokio::spawn(async move { lock.acquire().await.unwrap().token() })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        tokens.push(task.await.unwrap());
    }
    assert!(tokens.is_sorted_by(|a, b| a < b), "first come, first served, each with a greater token");
    let calls = store.calls();
    assert!(calls.creates <= 1 && calls.renews <= 2, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn try_acquire_is_busy_at_once_or_after_one_ttl() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    assert!(b.lock("x").unwrap().try_acquire().await.unwrap().is_none());
    drop(guard);
    until("released", || store.snapshot(&name("x")).is_none()).await;
    assert!(b.lock("x").unwrap().try_acquire().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_election_changes_hands_in_order() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let first = a.election("e").unwrap().campaign().await.unwrap();
    let second = tokio::spawn({
        let election = b.election("e").unwrap();
        async move { election.campaign().await.unwrap() }
    });
    until("b waits", || store.snapshot(&name("e")).unwrap().record.waiters.len() == 1).await;
    first.resign().await.unwrap();
    let second = second.await.unwrap();
    second.check().unwrap();
    second.resign().await.unwrap();
    assert!(store.snapshot(&name("e")).unwrap().record.is_free());
}
