//! What things cost in requests (design 11).

use std::time::Duration;

use msync::MemoryStore;
use tests::memory::{client, name, pass, queue, record, until, waiter};

#[tokio::test(start_paused = true)]
async fn an_uncontended_acquire_is_one_write_and_a_release_another() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    assert_eq!(record(&store, "x").unwrap().engine.owner(), "a");
    guard.check().unwrap();
    guard.release().await.unwrap();
    assert!(store.snapshot(&name("x")).is_none());
    let calls = store.calls();
    assert_eq!((calls.creates, calls.deletes, calls.reads, calls.renews), (1, 1, 0, 0), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_contended_acquire_is_two_writes() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let _held = a.lock("x").unwrap().acquire().await.unwrap();
    let before = store.calls();
    let waiting = waiter(&b, "x");
    until("b waits", || queue(&store, "x") == 1).await;
    pass(Duration::from_secs(1)).await;
    let after = store.calls();
    assert_eq!((after.writes() - before.writes(), after.reads - before.reads), (2, 0), "{after:?}");
    waiting.abort();
}

/// Whoever finds lock after lock taken no longer tries to make them, and goes back to that when it finds one absent.
#[tokio::test(start_paused = true)]
async fn in_a_crowd_a_contended_acquire_is_one_write() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let mut held = Vec::new();
    for n in 0..100 {
        held.push(a.lock(format!("l-{n}")).unwrap().acquire().await.unwrap());
    }
    let before = store.calls();
    let waiting: Vec<_> = (0..100).map(|n| waiter(&b, &format!("l-{n}"))).collect();
    pass(Duration::from_secs(1)).await;
    let creates = store.calls().creates - before.creates;
    assert_eq!(store.calls().enqueues - before.enqueues, 100);
    assert!((8..30).contains(&creates), "{creates}");
    let before = store.calls();
    for n in 0..20 {
        drop(b.lock(format!("new-{n}")).unwrap().acquire().await.unwrap());
    }
    let after = store.calls();
    assert_eq!((after.creates - before.creates, after.enqueues - before.enqueues), (20, 1));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn in_a_crowd_a_lock_that_was_just_released_here_is_made_again() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let mut held = Vec::new();
    for n in 0..10 {
        held.push(a.lock(format!("l-{n}")).unwrap().acquire().await.unwrap());
    }
    let own = b.lock("own").unwrap().acquire().await.unwrap();
    let waiting: Vec<_> = (0..10).map(|n| waiter(&b, &format!("l-{n}"))).collect();
    until("all wait", || (0..10).all(|n| queue(&store, &format!("l-{n}")) == 1)).await;
    let again = b.lock("own").unwrap();
    let (released, again) = tokio::join!(own.release(), again.acquire());
    released.unwrap();
    again.unwrap().check().unwrap();
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn l2_a_hand_off_is_one_write() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    until("b waits", || queue(&store, "x") == 1).await;
    pass(Duration::from_secs(1)).await;
    let before = store.calls();
    let token = held.token();
    held.release().await.unwrap();
    let next = waiting.await.unwrap();
    let after = store.calls();
    assert_eq!(after.grants - before.grants, 1);
    assert_eq!((after.reads, after.writes()), (before.reads, before.writes() + 1), "{after:?}");
    assert!(next.token() > token);
    next.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hold_is_renewed_three_times_per_ttl_for_as_long_as_the_guard_lives() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    pass(Duration::from_secs(300)).await;
    guard.check().unwrap();
    let renews = store.calls().renews;
    assert!((58..=70).contains(&renews), "{renews} renewals in 300 s at a ttl of 15 s");
    drop(guard);
    until("released", || store.snapshot(&name("x")).is_none()).await;
    pass(Duration::from_secs(60)).await;
    assert_eq!(store.calls().renews, renews, "nothing renews after its guard is gone");
}

#[tokio::test(start_paused = true)]
async fn an_idle_waiter_at_the_head_reads_nothing_and_one_behind_it_once_per_ttl() {
    let store = MemoryStore::new();
    let clients = ["a", "b", "c", "d", "e"].map(|owner| client(&store, owner));
    let _held = clients[0].lock("x").unwrap().acquire().await.unwrap();
    let mut waiting = Vec::new();
    for (place, client) in clients[1..].iter().enumerate() {
        waiting.push(waiter(client, "x"));
        until("in the queue", || queue(&store, "x") == place + 1).await;
    }
    pass(Duration::from_secs(1)).await;
    let before = store.calls();
    pass(Duration::from_secs(150)).await;
    let after = store.calls();
    let reads = after.reads - before.reads;
    assert!((18..=22).contains(&reads), "two waiters behind the first two, ten ttls: {reads} reads");
    assert!(after.watches - before.watches <= 6, "only inboxes silent for 90 s are opened anew: {after:?}");
    assert_eq!(after.writes() - before.writes(), after.renews - before.renews, "only renewals are written");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn bug_34_a_release_with_fifty_waiters_is_one_write_and_no_conflict() {
    let store = MemoryStore::new();
    let holder = client(&store, "holder");
    let mut held = holder.lock("x").unwrap().acquire().await.unwrap();
    let clients: Vec<_> = (0..50).map(|n| client(&store, &format!("w{n:02}"))).collect();
    let mut waiting = std::collections::VecDeque::new();
    for (place, client) in clients.iter().enumerate() {
        waiting.push_back(waiter(client, "x"));
        until("in the queue", || queue(&store, "x") == place + 1).await;
    }
    let before = store.calls();
    while let Some(next) = waiting.pop_front() {
        held.release().await.unwrap();
        held = next.await.unwrap();
    }
    let after = store.calls();
    assert_eq!((after.grants - before.grants, after.writes() - before.writes()), (50, 50), "{before:?} {after:?}");
}
