//! Watches: how many there are, and that a list without a lock is news.

use std::time::Duration;

use futures::StreamExt;
use msync::MemoryStore;
use tests::{
    faulty::{Fate, Faulty, Sight},
    memory::{TTL, client, client_of, pass, queue, ttl, until, waiter, within},
};

/// How many watches one engine may have open, its inboxes among them.
const MOST: u64 = 300;

#[tokio::test(start_paused = true)]
async fn two_thousand_locks_that_are_waited_for_cost_three_hundred_watches_at_most() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
    let mut guards = Vec::new();
    for n in 0..2000 {
        guards.push(a.lock(format!("l-{n}")).unwrap().acquire().await.unwrap());
    }
    let before = store.calls().watches;
    let waiting: Vec<_> = (0..2000).map(|n| waiter(&b, &format!("l-{n}"))).collect();
    pass(Duration::from_secs(40)).await;
    assert!(store.calls().watches - before <= MOST, "{} watches", store.calls().watches - before);
    // What they are for: each of them sees the last beat of its holder (L1).
    faulty.every(Fate::Hang);
    let (last, reads) = (tokio::time::Instant::now(), store.calls().reads);
    for task in waiting {
        within(TTL * 101 / 100 + Duration::from_secs(1), "taken over", task).await.unwrap().check().unwrap();
    }
    assert!(last.elapsed() <= TTL * 101 / 100 + Duration::from_secs(1), "{:?}", last.elapsed());
    assert_eq!(store.calls().reads, reads, "nobody had to look");
}

#[tokio::test(start_paused = true)]
async fn who_waits_and_who_observes_share_the_watch_of_a_lock() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let _leads = a.election("x").unwrap().campaign().await.unwrap();
    let before = store.calls().watches;
    let campaign = b.election("x").unwrap();
    let waiting = tokio::spawn(async move { campaign.campaign().await });
    let mut observers: Vec<_> = (0..20).map(|_| Box::pin(b.election("x").unwrap().observe())).collect();
    let mut sightings: Vec<_> = (0..20).map(|_| Box::pin(b.lock("x").unwrap().sightings())).collect();
    pass(Duration::from_secs(5)).await;
    for observer in &mut observers {
        assert_eq!(observer.next().await.flatten().unwrap().owner(), "a");
    }
    for seen in &mut sightings {
        assert!(seen.next().await.flatten().is_some());
    }
    assert_eq!(store.calls().watches - before, 2, "the inbox, and one of the lock");
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_was_deleted_while_its_watch_was_deaf_is_missed_when_it_starts_over() {
    let store = MemoryStore::new();
    let deaf = Faulty::new(store.clone());
    let (a, b) = (client(&store, "a"), client_of(deaf.clone(), "b"));
    let _held = a.lock("x").unwrap().timing(ttl(600)).acquire().await.unwrap();
    let lock = b.lock("x").unwrap().timing(ttl(600));
    let waiting = tokio::spawn(async move { lock.acquire().await.unwrap() });
    until("b waits", || queue(&store, "x") == 1).await;
    pass(Duration::from_secs(1)).await;
    deaf.watches(Sight::Blind);
    pass(Duration::from_secs(1)).await;
    assert!(store.delete("x"));
    pass(Duration::from_secs(1)).await;
    deaf.watches(Sight::Clear);
    store.expire_watches();
    within(Duration::from_secs(2), "b has it", waiting).await.unwrap().check().unwrap();
}
