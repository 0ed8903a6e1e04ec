//! Promise S6: a cancelled acquire leaves nothing that anybody renews.

use std::time::Duration;

use msync::{Client, MemoryStore};
use tests::{
    faulty::{Fate, Faulty, Kind, Sight},
    memory::{TTL, client, client_of, drop_after, is_untouched, name, pass, queue, until, waiter, within, yields},
};

/// More turns than any of these takes to complete.
const TURNS: usize = 40;

/// The futures that can be dropped; each ends by dropping what it got.
#[derive(Clone, Copy, Debug)]
enum How {
    Acquire,
    Try,
    Timeout,
    Campaign,
    All,
    Run,
    Release,
}

const HOWS: [How; 7] = [How::Acquire, How::Try, How::Timeout, How::Campaign, How::All, How::Run, How::Release];

impl How {
    async fn go(self, client: &Client) {
        let lock = client.lock("x").unwrap();
        match self {
            Self::Acquire => drop(lock.acquire().await.unwrap()),
            Self::Try => drop(lock.try_acquire().await.unwrap()),
            Self::Timeout => drop(lock.acquire_timeout(Duration::from_secs(100)).await.unwrap()),
            Self::Campaign => drop(client.election("x").unwrap().campaign().await.unwrap()),
            Self::All => drop(client.lock_all(["y", "x"]).unwrap().acquire().await.unwrap()),
            Self::Run => lock.run(async |_| yields(3).await).await.unwrap(),
            Self::Release => lock.acquire().await.unwrap().release().await.unwrap(),
        }
    }
}

/// Says that nothing is held, queued or renewed, and that another has the lock at once.
async fn assert_nothing_is_left(store: &MemoryStore, other: &Client, case: &str) {
    let guard = within(Duration::from_secs(1), case, other.lock("x").unwrap().acquire()).await.unwrap();
    drop(guard);
    pass(Duration::from_millis(500)).await;
    for lock in ["x", "y"] {
        assert!(is_untouched(store, lock), "{case}: {:?}", tests::memory::record(store, lock));
    }
    let calls = store.calls();
    pass(3 * TTL).await;
    assert_eq!(store.calls(), calls, "{case}: something goes on");
}

#[tokio::test(start_paused = true)]
async fn s6_a_future_dropped_at_any_turn_leaves_nothing() {
    for how in HOWS {
        let mut completed = 0;
        for turns in 0..TURNS {
            let store = MemoryStore::new();
            let (a, b) = (client(&store, "a"), client(&store, "b"));
            completed += usize::from(drop_after(turns, how.go(&a)).await.is_some());
            assert_nothing_is_left(&store, &b, &format!("{how:?} dropped after {turns} turns")).await;
        }
        assert!((1..TURNS).contains(&completed), "{how:?}: some are dropped, some complete: {completed}");
    }
}

#[tokio::test(start_paused = true)]
async fn s6_a_waiter_dropped_at_any_turn_of_a_hand_off_leaves_nothing() {
    for how in HOWS {
        for turns in 0..TURNS {
            let store = MemoryStore::new();
            let (a, b, c) = (client(&store, "a"), client(&store, "b"), client(&store, "c"));
            let held = a.lock("x").unwrap().acquire().await.unwrap();
            let waiting = tokio::spawn(async move { how.go(&b).await });
            pass(Duration::from_secs(1)).await;
            drop(held);
            yields(turns).await;
            waiting.abort();
            assert_nothing_is_left(&store, &c, &format!("{how:?} dropped {turns} turns after the release")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s6_a_waiter_dropped_at_any_turn_passes_the_lock_on() {
    for turns in 0..TURNS {
        let store = MemoryStore::new();
        let (a, b, c) = (client(&store, "a"), client(&store, "b"), client(&store, "c"));
        let held = a.lock("x").unwrap().acquire().await.unwrap();
        let dropped = waiter(&b, "x");
        until("b waits", || queue(&store, "x") == 1).await;
        let next = waiter(&c, "x");
        until("c waits", || queue(&store, "x") == 2).await;
        drop(held);
        yields(turns).await;
        dropped.abort();
        drop(dropped);
        let case = format!("dropped {turns} turns after the release");
        within(Duration::from_secs(1), &case, next).await.unwrap().check().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn s6_a_local_waiter_dropped_at_any_turn_passes_the_lock_on() {
    for turns in 0..TURNS {
        let store = MemoryStore::new();
        let a = client(&store, "a");
        let held = a.lock("x").unwrap().acquire().await.unwrap();
        let (dropped, next) = (waiter(&a, "x"), waiter(&a, "x"));
        yields(5).await;
        drop(held);
        yields(turns).await;
        dropped.abort();
        drop(dropped);
        let case = format!("dropped {turns} turns after the release");
        within(Duration::from_secs(1), &case, next).await.unwrap().check().unwrap();
    }
}

/// The worst case: the dropped future's write is still on its way, and lands long after.
#[tokio::test(start_paused = true)]
async fn s6_a_write_that_lands_after_its_future_was_dropped_is_given_back() {
    for (kind, seconds) in [(Kind::Create, 5), (Kind::Create, 60), (Kind::Enqueue, 5), (Kind::Enqueue, 60)] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
        let other = client(&store, "other");
        let held = match kind {
            Kind::Enqueue => Some(b.lock("x").unwrap().acquire().await.unwrap()),
            _ => None,
        };
        faulty.on(move |request| match request.kind {
            k if k == kind => Fate::Zombie(Duration::from_secs(seconds)),
            _ => Fate::Pass,
        });
        let dropped = drop_after(20, a.lock("x").unwrap().acquire()).await;
        assert!(dropped.is_none());
        faulty.heal();
        pass(Duration::from_secs(2 * seconds)).await;
        drop(held);
        let case = format!("{kind:?} that lands after {seconds} s");
        drop(within(Duration::from_secs(3), &case, other.lock("x").unwrap().acquire()).await.unwrap());
        pass(Duration::from_secs(1)).await;
        assert!(is_untouched(&store, "x"), "{case}: {store:?}");
    }
}

/// Without an inbox nobody tells of the late write: its ttl ends it, and nobody renews it.
#[tokio::test(start_paused = true)]
async fn s6_a_late_write_that_nobody_sees_is_renewed_by_nobody() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
    faulty.watches(Sight::Blind);
    faulty.once(Kind::Create, Fate::Zombie(Duration::from_secs(60)));
    assert!(drop_after(20, a.lock("x").unwrap().acquire()).await.is_none());
    pass(Duration::from_secs(61)).await;
    let renews = store.calls().renews;
    let _taken = within(TTL + Duration::from_secs(1), "taken over", waiter(&b, "x")).await.unwrap();
    assert_eq!(store.calls().renews, renews);
}

#[tokio::test(start_paused = true)]
async fn s6_an_acquire_with_a_time_limit_leaves_the_queue_when_it_is_over() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let _held = a.lock("x").unwrap().acquire().await.unwrap();
    let start = tokio::time::Instant::now();
    let error = b.lock("x").unwrap().acquire_timeout(Duration::from_secs(40)).await.unwrap_err();
    assert!(error.is_busy(), "{error}");
    assert_eq!(start.elapsed().as_secs(), 40);
    pass(Duration::from_millis(100)).await;
    assert_eq!(queue(&store, "x"), 0);
}

#[tokio::test(start_paused = true)]
async fn s6_a_dropped_release_is_carried_out_all_the_same() {
    for turns in 0..20 {
        let store = MemoryStore::new();
        let a = client(&store, "a");
        let guard = a.lock("x").unwrap().acquire().await.unwrap();
        drop_after(turns, guard.release()).await;
        pass(Duration::from_millis(100)).await;
        assert!(is_untouched(&store, "x"), "release dropped after {turns} turns");
    }
}

/// The creation lands, its answer never comes, nobody waits any more, and no event tells.
#[tokio::test(start_paused = true)]
async fn what_became_of_a_call_without_an_answer_is_looked_after() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    faulty.watches(Sight::Blind);
    faulty.every(Fate::Swallow);
    let waiting = waiter(&client_of(faulty.clone(), "a"), "x");
    until("it has landed", || store.snapshot(&name("x")).is_some()).await;
    waiting.abort();
    faulty.every(Fate::Pass);
    until("it is given back", || store.snapshot(&name("x")).is_none()).await;
}
