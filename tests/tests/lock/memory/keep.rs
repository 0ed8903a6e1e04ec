//! Promise S8, `max_hold`, `shutdown`: how long a lock is kept, and how it ends.

use std::time::Duration;

use msync::{Error, LossReason, MemoryStore};
use tests::{
    faulty::{Fate, Faulty, Kind},
    memory::{TTL, client, client_of, is_untouched, name, pass, queue, record, ttl, until, waiter, within},
};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn s8_a_peer_has_the_lock_after_at_least_and_not_before() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let start = Instant::now();
    a.lock("x").unwrap().at_least(MINUTE).run(async |_| ()).await.unwrap();
    assert!(b.lock("x").unwrap().try_acquire().await.unwrap().is_none());
    waiter(&b, "x").await.unwrap().check().unwrap();
    let took = start.elapsed();
    assert!(took >= MINUTE && took < MINUTE + Duration::from_millis(100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn s8_the_next_local_task_honours_at_least() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let start = Instant::now();
    a.lock("x").unwrap().at_least(MINUTE).acquire().await.unwrap().release().await.unwrap();
    assert!(a.lock("x").unwrap().try_acquire().await.unwrap().is_none());
    waiter(&a, "x").await.unwrap().check().unwrap();
    let took = start.elapsed();
    assert!(took >= MINUTE && took < MINUTE + Duration::from_millis(100), "{took:?}");
    assert_eq!(store.calls().creates, 1, "handed over without a write");
}

#[tokio::test(start_paused = true)]
async fn s8_a_body_longer_than_at_least_is_released_at_once() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().at_least(MINUTE).acquire().await.unwrap();
    pass(MINUTE).await;
    guard.release().await.unwrap();
    assert!(is_untouched(&store, "x"));
}

#[tokio::test(start_paused = true)]
async fn s8_at_least_outlives_an_orderly_shutdown() {
    for waits_before in [false, true] {
        let store = MemoryStore::new();
        let (a, b) = (client(&store, "a"), client(&store, "b"));
        let start = Instant::now();
        drop(a.lock("x").unwrap().at_least(MINUTE).acquire().await.unwrap());
        let early = waits_before.then(|| waiter(&b, "x"));
        pass(Duration::from_secs(10)).await;
        within(Duration::from_secs(5), "shut down", a.shutdown()).await;
        pass(Duration::from_secs(1)).await;
        let late = early.unwrap_or_else(|| waiter(&b, "x"));
        let guard = within(2 * MINUTE, "acquired", late).await.unwrap();
        let took = start.elapsed();
        assert!(took >= MINUTE && took < MINUTE * 103 / 100 + 2 * TTL, "{took:?}, waits before: {waits_before}");
        guard.check().unwrap();
        drop(a);
    }
}

#[tokio::test(start_paused = true)]
async fn s8_at_least_outlives_a_shutdown_with_the_body_still_running() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let start = Instant::now();
    let running = tokio::spawn({
        let lock = a.lock("x").unwrap().at_least(MINUTE);
        async move { lock.run(async |_| std::future::pending::<()>().await).await }
    });
    until("held", || store.snapshot(&name("x")).is_some()).await;
    pass(Duration::from_secs(5)).await;
    within(Duration::from_secs(5), "shut down", a.shutdown()).await;
    assert!(matches!(running.await.unwrap(), Err(Error::Lost { reason: LossReason::ShutDown, .. })));
    drop(a);
    let _guard = within(2 * MINUTE, "acquired", waiter(&b, "x")).await.unwrap();
    assert!(start.elapsed() >= MINUTE, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn max_hold_ends_a_stuck_body_and_another_has_the_lock() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let start = Instant::now();
    let lock = a.lock("x").unwrap().max_hold(MINUTE);
    let stuck = tokio::spawn(async move { lock.run(async |_| std::future::pending::<()>().await).await });
    until("held", || store.snapshot(&name("x")).is_some()).await;
    let next = within(MINUTE + Duration::from_millis(100), "acquired", waiter(&b, "x")).await.unwrap();
    assert!(start.elapsed() >= MINUTE);
    assert!(matches!(stuck.await.unwrap(), Err(Error::Lost { reason: LossReason::MaxHold, .. })));
    next.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn max_hold_of_a_guard_that_is_never_dropped_ends_renewal() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let guard = a.lock("x").unwrap().max_hold(MINUTE).acquire().await.unwrap();
    assert_eq!(within(MINUTE + Duration::from_millis(2), "lost", guard.lost()).await, LossReason::MaxHold);
    assert_eq!(guard.remaining(), Duration::ZERO);
    within(TTL + Duration::from_secs(1), "taken over", waiter(&b, "x")).await.unwrap().check().unwrap();
    assert!(guard.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn max_hold_ends_renewal_of_a_stuck_body_at_shutdown_too() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let guard = a.lock("x").unwrap().max_hold(MINUTE).acquire().await.unwrap();
    a.shutdown().await;
    assert_eq!(guard.lost().await, LossReason::ShutDown);
    let limit = MINUTE + TTL;
    within(limit, "taken over", waiter(&b, "x")).await.unwrap().check().unwrap();
    assert!(guard.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn max_hold_counts_anew_for_each_local_task() {
    let store = MemoryStore::new();
    let lock = client(&store, "a").lock("x").unwrap().max_hold(MINUTE);
    let first = lock.acquire().await.unwrap();
    let second = tokio::spawn(async move { lock.acquire().await.unwrap() });
    pass(MINUTE / 2).await;
    drop(first);
    let second = second.await.unwrap();
    pass(MINUTE * 3 / 4).await;
    second.check().unwrap();
    pass(MINUTE / 2).await;
    assert!(second.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_waiters_bodies_and_guards() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let _blocker = b.lock("busy").unwrap().acquire().await.unwrap();
    let waiting = tokio::spawn({
        let lock = a.lock("busy").unwrap();
        async move { lock.acquire().await }
    });
    let running = tokio::spawn({
        let lock = a.lock("body").unwrap();
        async move { lock.run(async |_| std::future::pending::<()>().await).await }
    });
    let by_hand = a.lock("guard").unwrap().acquire().await.unwrap();
    let lost = tokio::spawn(by_hand.lost());
    until("all in place", || queue(&store, "busy") == 1 && store.names().len() == 3).await;
    let keeper = tokio::spawn(async move {
        lost.await.unwrap();
        pass(Duration::from_secs(3)).await;
        by_hand.release().await
    });
    let start = Instant::now();
    a.shutdown().await;
    assert_eq!(start.elapsed().as_secs(), 3, "it waits for the guard that is held by hand");
    assert!(matches!(waiting.await.unwrap(), Err(Error::ShutDown)));
    assert!(matches!(running.await.unwrap(), Err(Error::Lost { reason: LossReason::ShutDown, .. })));
    assert!(matches!(keeper.await.unwrap(), Err(Error::Lost { reason: LossReason::ShutDown, .. })));
    assert_eq!((store.names(), queue(&store, "busy")), (vec![name("busy")], 0));
    assert!(matches!(a.lock("body").unwrap().acquire().await, Err(Error::ShutDown)));
    assert!(matches!(a.lock("body").unwrap().try_acquire().await, Err(Error::ShutDown)));
    within(Duration::from_secs(1), "a second shutdown", a.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_after_a_ttl_though_a_guard_is_never_dropped() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let start = Instant::now();
    within(TTL + Duration::from_secs(1), "shut down", a.shutdown()).await;
    assert!(start.elapsed() >= TTL);
    assert!(guard.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_after_a_ttl_though_the_store_never_answers() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    drop(a.lock("kept").unwrap().at_least(MINUTE).acquire().await.unwrap());
    drop(a.lock("x").unwrap().acquire().await.unwrap());
    faulty.every(Fate::Hang);
    within(TTL + Duration::from_secs(1), "shut down", a.shutdown()).await;
}

#[tokio::test(start_paused = true)]
async fn bug_43_shutdown_joins_the_release_of_what_was_just_dropped() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let a = client_of(faulty.clone(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Delay(Duration::from_millis(900)));
    drop(guard);
    a.shutdown().await;
    assert!(is_untouched(&store, "x"), "released before shutdown returned");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_is_dropped_goes_on() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    assert!(tests::memory::drop_after(2, a.shutdown()).await.is_none());
    pass(Duration::from_millis(10)).await;
    assert!(guard.check().is_err());
    drop(guard);
    until("released", || is_untouched(&store, "x")).await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_held_for_longer_than_its_ttl_needs_renewals_alone() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().timing(ttl(1)).acquire().await.unwrap();
    pass(Duration::from_secs(100)).await;
    guard.check().unwrap();
    assert_eq!(record(&store, "x").unwrap().ttl, Duration::from_secs(1));
}

/// Nobody is left who knows what it was for: it may be what `at_least` keeps.
#[tokio::test(start_paused = true)]
async fn what_lands_after_the_end_of_its_client_is_left_to_its_ttl() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    faulty.once(Kind::Create, Fate::Zombie(MINUTE));
    let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
    let waiting = tokio::spawn({
        let lock = a.lock("x").unwrap();
        async move { lock.acquire().await.map(drop) }
    });
    until("sent", || faulty.count(Kind::Create) == 1).await;
    within(2 * TTL, "shut down", a.shutdown()).await;
    assert!(matches!(waiting.await.unwrap(), Err(Error::ShutDown)));
    until("it lands", || record(&store, "x").is_some()).await;
    let calls = faulty.total();
    pass(TTL / 2).await;
    assert_eq!(faulty.total(), calls, "nothing is sent after the end");
    assert_eq!(record(&store, "x").unwrap().engine.owner(), "a");
    within(2 * TTL, "taken over", waiter(&b, "x")).await.unwrap().check().unwrap();
    drop(a);
}
