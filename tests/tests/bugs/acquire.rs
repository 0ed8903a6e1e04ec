//! Bugs of acquisition: doubles, stale news, cold starts.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use msync::{Client, FencingToken, MemoryStore};
use tests::{
    faulty::{Fate, Faulty, Kind, Sight},
    memory::{TTL, client, client_of, drop_after, is_untouched, pass, queue, record, until, waiter, within},
};

/// More than S6 says: the owner dies with its runtime, whose tasks end wherever they are.
#[tokio::test(start_paused = true)]
async fn bug_02_neither_a_cancelled_acquire_nor_a_dead_owner_is_renewed() {
    for turns in 0..30 {
        let store = MemoryStore::new();
        let (a, b) = (client(&store, "a"), client(&store, "b"));
        let guard = drop_after(turns, a.lock("x").unwrap().acquire()).await;
        drop((guard, a));
        pass(Duration::from_secs(1)).await;
        let renews = store.calls().renews;
        pass(2 * TTL).await;
        assert_eq!(store.calls().renews, renews, "after {turns} turns");
        assert!(is_untouched(&store, "x"));
        let _guard = within(Duration::from_secs(1), "free", waiter(&b, "x")).await.unwrap();
    }
}

/// The reply of the acquiring write arrives when its deadline has passed.
#[tokio::test(start_paused = true)]
async fn bug_05_an_acquisition_whose_reply_is_older_than_the_lease_is_not_ok() {
    for kind in [Kind::Create, Kind::Enqueue] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        faulty.watches(Sight::Late(Duration::from_secs(14)));
        let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
        let held = match kind {
            Kind::Enqueue => Some(b.lock("x").unwrap().acquire().await.unwrap()),
            _ => None,
        };
        faulty.once(kind, Fate::AnswerLate(Duration::from_secs(14)));
        let waiting = waiter(&a, "x");
        pass(Duration::from_secs(1)).await;
        drop(held);
        let guard = within(4 * TTL, "acquired in the end", waiting).await.unwrap();
        guard.check().unwrap();
        let record = record(&store, "x").unwrap();
        assert_eq!(record.engine.as_str(), a.identity());
        guard.ensure(Duration::from_secs(1)).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn bug_13_of_many_claimants_on_a_dead_record_one_wins() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let dead = client_of(faulty.clone(), "dead");
    let _held = dead.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Hang);
    faulty.watches(Sight::Blind);
    let clients: Vec<_> = (0..20).map(|n| client(&store, &format!("c{n:02}"))).collect();
    let held = contend(&clients, Duration::from_millis(500)).await;
    assert_eq!(held.len(), 20, "each in its turn");
}

#[tokio::test(start_paused = true)]
async fn bug_26_of_many_creators_one_wins() {
    let store = MemoryStore::new();
    let clients: Vec<_> = (0..20).map(|n| client(&store, &format!("c{n:02}"))).collect();
    let tried = join_all(clients.iter().map(|client| {
        let lock = client.lock("x").unwrap();
        async move { lock.try_acquire().await.unwrap() }
    }));
    let won = tried.await.into_iter().flatten().count();
    assert_eq!(won, 1);
    until("released", || is_untouched(&store, "x")).await;
    assert_eq!(contend(&clients, Duration::from_millis(10)).await.len(), 20);
}

/// All acquire at once and hold for a while; returns their tokens in the order of holding, after checking that they grow
/// and that nobody was inside together with another.
async fn contend(clients: &[Client], hold: Duration) -> Vec<FencingToken> {
    let inside: Arc<Mutex<(u32, Vec<FencingToken>)>> = Arc::default();
    let tasks = clients.iter().map(|client| {
        let (lock, inside) = (client.lock("x").unwrap(), Arc::clone(&inside));
        tokio::spawn(async move {
            let guard = lock.acquire().await.unwrap();
            {
                let mut inside = inside.lock().unwrap();
                assert_eq!(inside.0, 0, "alone");
                inside.0 += 1;
                inside.1.push(guard.token());
            }
            pass(hold).await;
            guard.check().unwrap();
            inside.lock().unwrap().0 -= 1;
        })
    });
    for ended in within(Duration::from_secs(200), "all had it", join_all(tasks)).await {
        ended.unwrap();
    }
    let (_, tokens) = Arc::try_unwrap(inside).unwrap().into_inner().unwrap();
    assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    tokens
}

/// News of an old grant arrive after the lock has long gone to another.
#[tokio::test(start_paused = true)]
async fn bug_14_and_33_stale_events_never_grant() {
    for sight in [Sight::Stale, Sight::Double, Sight::Late(Duration::from_secs(20))] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        faulty.watches(sight);
        let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
        for _ in 0..10 {
            let guard = a.lock("x").unwrap().acquire().await.unwrap();
            let waiting = waiter(&b, "x");
            pass(Duration::from_secs(2)).await;
            drop(guard);
            let theirs = within(Duration::from_secs(5), "granted", waiting).await.unwrap();
            let ours = waiter(&a, "x");
            pass(Duration::from_secs(30)).await;
            assert!(!ours.is_finished(), "{sight:?}: b has it");
            theirs.check().unwrap();
            drop(theirs);
            drop(within(2 * TTL, "granted", ours).await.unwrap());
            pass(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bug_17_a_cold_try_on_a_record_dead_for_long_takes_one_ttl_at_most() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (dead, b) = (client_of(faulty.clone(), "dead"), client(&store, "b"));
    let _held = dead.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Hang);
    let early = b.lock("x").unwrap().try_acquire().await.unwrap();
    assert!(early.is_none(), "its date promises life");
    pass(Duration::from_secs(24 * 3600)).await;
    let start = tokio::time::Instant::now();
    let guard = b.lock("x").unwrap().try_acquire().await.unwrap().expect("dead");
    assert!(start.elapsed() <= TTL * 101 / 100, "{:?}", start.elapsed());
    guard.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn bug_24_the_deadline_is_anchored_at_the_send() {
    let faulty = Faulty::new(MemoryStore::new());
    faulty.watches(Sight::Blind);
    faulty.every(Fate::AnswerLate(Duration::from_secs(1)));
    let a = client_of(faulty, "a");
    let sent = tokio::time::Instant::now();
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let deadline = sent.elapsed() + guard.remaining();
    assert!(deadline <= Duration::from_millis(13_501), "{deadline:?} after the send");
}

#[tokio::test(start_paused = true)]
async fn bug_37_numbers_at_their_end_neither_wrap_nor_panic() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    store.edit(&tests::memory::name("x"), |record| record.renewals = u64::MAX - 1);
    pass(Duration::from_secs(60)).await;
    guard.check().unwrap();
    assert_eq!(record(&store, "x").unwrap().renewals, u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn bug_38_the_same_owner_in_two_processes_is_two_engines() {
    let store = MemoryStore::new();
    let same = || Client::builder().owner("web").clock(msync::clock::TokioClock::default()).memory(&store).build();
    let (a, b) = (same(), same());
    assert_ne!(a.identity(), b.identity());
    assert_eq!(a.owner(), b.owner());
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    pass(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished());
    assert_eq!(queue(&store, "x"), 1);
    drop(guard);
    within(Duration::from_secs(1), "then the other", waiting).await.unwrap().check().unwrap();
}
