//! Promises L1 to L3: take-over, hand-off, order. And a watch that fails costs time only.

use std::time::Duration;

use msync::MemoryStore;
use tests::{
    faulty::{Fate, Faulty, Kind, Sight},
    memory::{TTL, client, client_of, pass, queue, record, until, waiter, within},
};
use tokio::time::Instant;

/// The slack of a few requests, each of which takes no time on the memory store.
const TRIP: Duration = Duration::from_millis(50);

/// A holder that crashes: none of its calls arrives any more.
async fn crash(faulty: &Faulty) -> Instant {
    faulty.every(Fate::Hang);
    faulty.watches(Sight::Blind);
    pass(Duration::ZERO).await;
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn l1_a_watching_waiter_holds_a_ttl_after_the_last_beat() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
    let _held = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    pass(Duration::from_secs(100)).await;
    let beat = record(&store, "x").unwrap().beat;
    until("another beat", || record(&store, "x").unwrap().beat != beat).await;
    let last = crash(&faulty).await;
    within(TTL * 101 / 100 + TRIP, "taken over", waiting).await.unwrap().check().unwrap();
    assert!(last.elapsed() >= TTL * 999 / 1000, "{:?}", last.elapsed());
}

#[tokio::test(start_paused = true)]
async fn l1_a_waiter_without_a_watch_holds_two_ttls_after_the_last_beat() {
    let store = MemoryStore::new();
    let (faulty, blind) = (Faulty::new(store.clone()), Faulty::new(store.clone()));
    blind.watches(Sight::Blind);
    let (a, b) = (client_of(faulty.clone(), "a"), client_of(blind, "b"));
    let _held = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    pass(Duration::from_secs(100)).await;
    crash(&faulty).await;
    within(2 * TTL + TRIP, "taken over", waiting).await.unwrap().check().unwrap();
}

/// Nobody but the first two of the queue watches the lock: the one whom quick hand-offs have moved up is told by them.
#[tokio::test(start_paused = true)]
async fn l1_after_quick_hand_offs_the_first_of_the_queue_holds_a_ttl_after_the_last_beat() {
    let store = MemoryStore::new();
    let holder = client(&store, "holder");
    let held = holder.lock("x").unwrap().acquire().await.unwrap();
    let mut faulty = Vec::new();
    let mut waiting = std::collections::VecDeque::new();
    for place in 0..6 {
        let store_of = Faulty::new(store.clone());
        let client = client_of(store_of.clone(), &format!("w{place}"));
        waiting.push_back((waiter(&client, "x"), client));
        faulty.push(store_of);
        until("in the queue", || queue(&store, "x") == place + 1).await;
    }
    pass(TTL / 2).await;
    drop(held);
    for _ in 0..3 {
        let (next, _client) = waiting.pop_front().unwrap();
        drop(within(TRIP, "its turn", next).await.unwrap());
    }
    let (next, _client) = waiting.pop_front().unwrap();
    let _dies = within(TRIP, "its turn", next).await.unwrap();
    until("a beat", || record(&store, "x").unwrap().renewals > 0).await;
    let last = crash(&faulty[3]).await;
    let (next, _client) = waiting.pop_front().unwrap();
    within(TTL * 101 / 100 + TRIP, "taken over", next).await.unwrap().check().unwrap();
    assert!(last.elapsed() >= TTL * 999 / 1000, "{:?}", last.elapsed());
}

#[tokio::test(start_paused = true)]
async fn l1_a_cold_contender_holds_a_ttl_after_it_first_looked() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
    let _held = a.lock("x").unwrap().acquire().await.unwrap();
    crash(&faulty).await;
    pass(Duration::from_secs(3600)).await;
    let _guard = within(TTL * 101 / 100 + TRIP, "taken over", waiter(&b, "x")).await.unwrap();
}

/// All waiters but the last are dead as well; the holder that crashed had already handed the lock on.
#[tokio::test(start_paused = true)]
async fn l1_dead_waiters_that_are_granted_cost_at_most_a_ttl_each() {
    let store = MemoryStore::new();
    let (a, live) = (client(&store, "a"), client(&store, "live"));
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    let mut dead = Vec::new();
    for (place, owner) in ["d1", "d2", "d3"].into_iter().enumerate() {
        let faulty = Faulty::new(store.clone());
        let client = client_of(faulty.clone(), owner);
        dead.push((waiter(&client, "x"), client));
        until("in the queue", || queue(&store, "x") == place + 1).await;
        crash(&faulty).await;
    }
    let waiting = waiter(&live, "x");
    until("in the queue", || queue(&store, "x") == 4).await;
    drop(held);
    let limit = 2 * TTL + 3 * TTL + Duration::from_secs(2);
    within(limit, "acquired", waiting).await.unwrap().check().unwrap();
    for (task, _) in dead {
        task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn l2_after_a_wait_longer_than_the_deadline_a_hand_off_is_two_writes() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    pass(Duration::from_secs(100)).await;
    let before = store.calls();
    held.release().await.unwrap();
    waiting.await.unwrap().check().unwrap();
    let after = store.calls();
    assert_eq!((after.grants - before.grants, after.renews - before.renews), (1, 1), "{after:?}");
    assert_eq!(after.writes() - before.writes(), 2);
}

#[tokio::test(start_paused = true)]
async fn l3_hand_over_follows_queue_order() {
    let store = MemoryStore::new();
    let holder = client(&store, "holder");
    let mut held = holder.lock("x").unwrap().acquire().await.unwrap();
    let clients: Vec<_> = (0..20).map(|n| client(&store, &format!("w{n:02}"))).collect();
    let mut waiting = Vec::new();
    for (place, client) in clients.iter().enumerate() {
        waiting.push(waiter(client, "x"));
        until("in the queue", || queue(&store, "x") == place + 1).await;
    }
    for (place, next) in waiting.into_iter().enumerate() {
        pass(Duration::from_secs(3)).await;
        held.release().await.unwrap();
        held = within(TRIP, &format!("number {place} is next"), next).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn l3_seventy_waiters_all_have_the_lock_though_the_queue_holds_sixty_four() {
    let store = MemoryStore::new();
    let holder = client(&store, "holder");
    let held = holder.lock("x").unwrap().acquire().await.unwrap();
    let clients: Vec<_> = (0..70).map(|n| client(&store, &format!("w{n:02}"))).collect();
    let mut waiting = Vec::new();
    for client in &clients {
        let lock = client.lock("x").unwrap();
        waiting.push(tokio::spawn(async move { lock.run(async |_| pass(Duration::from_millis(100)).await).await }));
        pass(Duration::from_millis(10)).await;
    }
    assert_eq!(queue(&store, "x"), 64);
    drop(held);
    for task in waiting {
        within(6 * TTL, "each in its turn", task).await.unwrap().unwrap();
    }
}

/// The queue stays full and the holder crashes: who does not fit in is still able to take over.
#[tokio::test(start_paused = true)]
async fn l1_beyond_a_queue_of_dead_waiters_the_lock_is_taken_over() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
    let _held = a.lock("x").unwrap().acquire().await.unwrap();
    crash(&faulty).await;
    store.edit(&tests::memory::name("x"), |record| {
        let dead = |n: u64| msync::unstable::record::Entry::from_text(&format!("{n:016x} dead.{n:016x} 15000 instant"));
        record.waiters = (1..=64).map(dead).collect();
    });
    let stagger = 65 * (TTL * 3 / 100);
    let _guard = within(TTL + stagger + Duration::from_secs(1), "taken over", waiter(&b, "x")).await.unwrap();
    assert_eq!(queue(&store, "x"), 0);
}

#[tokio::test(start_paused = true)]
async fn bug_18_waiters_progress_though_no_watch_ever_delivers() {
    for sight in [Sight::Blind, Sight::Broken, Sight::Late(Duration::from_secs(5)), Sight::Double, Sight::Stale] {
        let store = MemoryStore::new();
        let clients = ["a", "b", "c", "d"].map(|owner| {
            let faulty = Faulty::new(store.clone());
            faulty.watches(sight);
            client_of(faulty, owner)
        });
        let mut tasks = Vec::new();
        for client in &clients {
            let lock = client.lock("x").unwrap();
            tasks.push(tokio::spawn(async move { lock.run(async |_| pass(Duration::from_secs(1)).await).await }));
            pass(Duration::from_millis(100)).await;
        }
        for task in tasks {
            within(8 * TTL, &format!("{sight:?}"), task).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bug_09_the_records_ttl_counts_not_the_challengers() {
    for (holder, challenger) in [(60, 2), (2, 60)] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
        let (theirs, ours) = (tests::memory::ttl(holder), tests::memory::ttl(challenger));
        let _held = a.lock("x").unwrap().timing(theirs).acquire().await.unwrap();
        let last = crash(&faulty).await;
        let _guard = b.lock("x").unwrap().timing(ours).acquire().await.unwrap();
        let took = last.elapsed();
        assert!(took >= theirs.ttl() && took <= theirs.ttl() * 101 / 100 + TRIP, "{took:?} for {holder} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_the_inbox_misses_is_found_before_it_runs_out() {
    let store = MemoryStore::new();
    let blind = Faulty::new(store.clone());
    let (a, b) = (client(&store, "a"), client_of(blind.clone(), "b"));
    let held = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    until("b waits", || queue(&store, "x") == 1).await;
    blind.watches(Sight::Blind);
    drop(held);
    within(2 * TTL, "found", waiting).await.unwrap().check().unwrap();
    assert_eq!(blind.count(Kind::Create), 1);
}

/// A process is cut off for longer than its ttl, so its release is given up. When it is back, its inbox shows it what it
/// still has by the record; that was taken for old news, and the lock looked held until somebody else had waited a ttl.
#[tokio::test(start_paused = true)]
async fn a_release_that_was_given_up_is_made_when_the_inbox_shows_the_lock_again() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let client = client_of(faulty.clone(), "a");
    let guard = client.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Hang);
    drop(guard);
    pass(4 * TTL).await;
    let calls = faulty.total();
    pass(TTL).await;
    assert_eq!(faulty.total(), calls, "it was given up");
    faulty.heal();
    store.expire_watches();
    until("it is given back", || record(&store, "x").is_none()).await;
}
