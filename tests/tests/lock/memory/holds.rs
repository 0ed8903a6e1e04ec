//! Holds that nobody uses: what is acquired counts from the moment a user has the guard, and ends where nobody takes it.

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
use msync::{
    Error, FencingToken, LossReason, MemoryStore,
    clock::{Clock, TokioClock},
    unstable::record::Role,
};
use tests::{
    faulty::{Fate, Faulty, Sight},
    memory::{
        DEADLINE, TTL, builder, client, client_of, drop_after, pass, queue, random_of, record, touch, ttl, until,
        waiter, within, yields,
    },
};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn s6_at_least_of_a_cancelled_acquire_keeps_nothing() {
    for turns in 0..12 {
        let store = MemoryStore::new();
        let lock = client(&store, "a").lock("x").unwrap().at_least(HOUR);
        let had = drop_after(turns, lock.acquire()).await;
        if had.is_none() {
            pass(TTL).await;
            assert_eq!(record(&store, "x"), None, "dropped after {turns} turns");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s6_at_least_of_a_token_below_the_floor_keeps_nothing() {
    let store = MemoryStore::new();
    let lock = client(&store, "a").lock("x").unwrap().at_least(HOUR).token_floor(FencingToken::from(u64::MAX));
    assert!(matches!(lock.acquire().await, Err(Error::TokenTooLow { .. })));
    pass(Duration::from_secs(1)).await;
    assert_eq!(record(&store, "x"), None);
}

#[tokio::test(start_paused = true)]
async fn s6_at_least_of_an_acquire_whose_time_is_over_keeps_nothing() {
    for millis in 0..4 {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        faulty.every(Fate::Delay(Duration::from_millis(2)));
        let lock = client_of(faulty, "a").lock("x").unwrap().at_least(HOUR);
        if lock.acquire_timeout(Duration::from_millis(millis)).await.is_err() {
            pass(TTL).await;
            assert_eq!(record(&store, "x"), None, "{millis} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_not_complete_keeps_nothing() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let busy = b.lock("k2").unwrap().acquire().await.unwrap();
    let set = a.lock_all(["k1", "k2"]).unwrap().map(|lock| lock.at_least(HOUR));
    assert!(set.try_acquire().await.unwrap().is_none());
    assert!(set.acquire_timeout(MINUTE).await.unwrap_err().is_busy());
    pass(Duration::from_secs(1)).await;
    assert_eq!(record(&store, "k1"), None, "all or nothing");
    drop(busy);
    let start = Instant::now();
    drop(set.acquire().await.unwrap());
    for lock in ["k1", "k2"] {
        drop(within(HOUR + MINUTE, "acquired", waiter(&b, lock)).await.unwrap());
        assert!(start.elapsed() >= HOUR, "a complete one keeps all of it");
    }
}

/// The "futurelock": a future that is alive, as in `select!` with `&mut future`, and that nobody polls.
#[tokio::test(start_paused = true)]
async fn an_acquire_that_is_not_polled_does_not_starve_others_and_goes_on_when_it_is() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let (held, lock) = (b.lock("x").unwrap().acquire().await.unwrap(), a.lock("x").unwrap());
    let mut forgotten: BoxFuture<'_, _> = Box::pin(lock.acquire());
    touch(&mut forgotten);
    until("a waits", || queue(&store, "x") == 1).await;
    drop(held);
    let next = within(TTL, "b has its turn within a ttl", waiter(&b, "x")).await.unwrap();
    let renewals = store.calls().renews;
    pass(4 * TTL).await;
    next.check().unwrap();
    drop(next);
    pass(HOUR).await;
    assert!(store.calls().renews < renewals + 20 && record(&store, "x").is_none(), "nobody keeps it alive");
    within(Duration::from_secs(1), "polled again", forgotten).await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_campaign_that_is_not_polled_does_not_lead() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let election = a.election("e").unwrap();
    let mut forgotten: BoxFuture<'_, _> = Box::pin(election.campaign());
    touch(&mut forgotten);
    let other = b.election("e").unwrap();
    within(TTL, "b leads", other.campaign()).await.unwrap().resign().await.unwrap();
    within(Duration::from_secs(1), "polled again", forgotten).await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_local_task_that_is_not_polled_lets_the_next_one_pass() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let (held, lock) = (a.lock("x").unwrap().acquire().await.unwrap(), a.lock("x").unwrap());
    let mut forgotten: BoxFuture<'_, _> = Box::pin(lock.acquire());
    touch(&mut forgotten);
    yields(4).await;
    let next = waiter(&a, "x");
    yields(4).await;
    drop(held);
    within(TTL, "the next one", next).await.unwrap().check().unwrap();
    drop(forgotten);
}

/// A set that waits for its second lock holds its first; when it gets the second and nobody takes it, both are given back.
#[tokio::test(start_paused = true)]
async fn a_set_that_is_not_polled_gives_all_back() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let busy = b.lock("k2").unwrap().acquire().await.unwrap();
    let set = a.lock_all(["k1", "k2"]).unwrap();
    let mut forgotten: BoxFuture<'_, _> = Box::pin(set.acquire());
    for _ in 0..20 {
        let polled = forgotten.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        yields(4).await;
    }
    until("it has the first and waits for the second", || queue(&store, "k2") == 1).await;
    pass(4 * TTL).await;
    assert!(record(&store, "k1").is_some());
    drop(busy);
    drop(within(TTL, "k2", waiter(&b, "k2")).await.unwrap());
    drop(within(Duration::from_secs(1), "k1", waiter(&b, "k1")).await.unwrap());
    let both = within(MINUTE, "polled again", forgotten).await.unwrap();
    both.check().unwrap();
    assert_eq!(both.guards().len(), 2);
}

/// As of a process that stood still longer than its lock lasts.
#[tokio::test(start_paused = true)]
async fn who_is_polled_after_the_deadline_has_a_lock_and_not_a_lost_guard() {
    let store = MemoryStore::new();
    let lock = client(&store, "a").lock("x").unwrap();
    let mut late: BoxFuture<'_, _> = Box::pin(lock.acquire());
    touch(&mut late);
    pass(3 * TTL).await;
    let guard = late.await.unwrap();
    assert!(guard.remaining() > DEADLINE / 2);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_takes_back_what_nobody_polls() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let lock = a.lock("x").unwrap();
    let mut forgotten: BoxFuture<'_, _> = Box::pin(lock.acquire());
    touch(&mut forgotten);
    until("acquired", || record(&store, "x").is_some()).await;
    pass(Duration::from_millis(1)).await;
    within(Duration::from_secs(1), "shut down", a.shutdown()).await;
    assert_eq!(record(&store, "x"), None);
    assert!(matches!(forgotten.await, Err(Error::ShutDown)));
}

#[tokio::test(start_paused = true)]
async fn s8_a_fresh_process_has_the_lock_when_at_least_is_over() {
    let (store, clock) = (MemoryStore::new(), TokioClock::default());
    for hour in 0..3 {
        let job = builder(&format!("job-{hour}"), clock.clone()).memory(&store).build();
        let start = Instant::now();
        let guard = job.lock("hourly").unwrap().at_least(10 * MINUTE).try_acquire().await.unwrap();
        assert!(guard.is_some() && start.elapsed() < Duration::from_secs(1), "hour {hour}: {:?}", start.elapsed());
        drop(guard);
        job.shutdown().await;
        pass(5 * MINUTE).await;
        let early = builder(&format!("early-{hour}"), clock.clone()).memory(&store).build();
        let start = Instant::now();
        assert!(early.lock("hourly").unwrap().try_acquire().await.unwrap().is_none(), "half of it is left");
        assert!(start.elapsed() < Duration::from_secs(1), "and nobody who tries waits for it");
        pass(55 * MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn s8_who_comes_shortly_before_its_end_waits_for_no_more_than_the_rest() {
    let (store, clock) = (MemoryStore::new(), TokioClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    drop(a.lock("x").unwrap().at_least(HOUR).acquire().await.unwrap());
    a.shutdown().await;
    pass(Duration::from_secs(3500)).await;
    let late = builder("b", clock.clone()).memory(&store).build();
    let start = Instant::now();
    let guard = waiter(&late, "x").await.unwrap();
    let took = start.elapsed().as_secs();
    assert!((100..105).contains(&took), "{took} s");
    guard.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn s8_two_days_are_kept_over_a_shutdown() {
    let (store, clock) = (MemoryStore::new(), TokioClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    drop(a.lock("x").unwrap().at_least(48 * HOUR).acquire().await.unwrap());
    a.shutdown().await;
    for hour in (1..48).step_by(6) {
        let peer = builder(&format!("b{hour}"), clock.clone()).memory(&store).build();
        assert!(peer.lock("x").unwrap().try_acquire().await.unwrap().is_none(), "hour {hour}");
        pass(6 * HOUR).await;
    }
    pass(HOUR).await;
    let peer = builder("b", clock.clone()).memory(&store).build();
    assert!(peer.lock("x").unwrap().try_acquire().await.unwrap().is_some());
}

/// The next start of the same pod is not the one that it was kept for.
#[tokio::test(start_paused = true)]
async fn s8_the_next_start_does_not_adopt_what_at_least_keeps() {
    let (store, clock) = (MemoryStore::new(), TokioClock::default());
    let start = |bits: u64| {
        let begun = builder("web", clock.clone()).random(random_of(&bits.to_string()));
        begun.pod(Role::Sidecar, "uid").memory(&store).build()
    };
    let first = start(1);
    drop(first.lock("x").unwrap().at_least(HOUR).acquire().await.unwrap());
    first.shutdown().await;
    assert!(start(2).lock("x").unwrap().adopt().try_acquire().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn s2_the_sidecar_does_not_adopt_what_the_library_beside_it_holds() {
    let store = MemoryStore::new();
    let slow = Faulty::new(store.clone());
    let app = builder("web-1", TokioClock::default()).pod(Role::Library, "uid").store(Arc::new(slow.clone())).build();
    let beside = builder("web-1", TokioClock::default()).random(random_of("sidecar"));
    let sidecar = beside.pod(Role::Sidecar, "uid").memory(&store).build();
    let held = app.lock("x").unwrap().acquire().await.unwrap();
    slow.watches(Sight::Late(Duration::from_millis(50)));
    pass(Duration::from_millis(200)).await;
    let taken = sidecar.lock("x").unwrap().retained().adopt().attempt(false).await.unwrap();
    assert!(taken.is_none());
    held.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_least_above_max_hold_is_refused() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let lock = a.lock("x").unwrap().at_least(HOUR).max_hold(MINUTE);
    assert!(matches!(lock.acquire().await, Err(Error::InvalidTiming { .. })));
    assert!(matches!(lock.try_acquire().await, Err(Error::InvalidTiming { .. })));
    let set = a.lock_all(["y"]).unwrap().map(|lock| lock.at_least(HOUR).max_hold(MINUTE));
    assert!(matches!(set.acquire().await, Err(Error::InvalidTiming { .. })));
    assert!(store.names().is_empty(), "nothing was sent");
}

/// A body asks first thing whether it has the time it needs.
#[tokio::test(start_paused = true)]
async fn a_guard_begins_with_half_of_its_time_however_long_it_waited() {
    for waited in 1..14 {
        let store = MemoryStore::new();
        let (a, b) = (client(&store, "a"), client(&store, "b"));
        let held = a.lock("x").unwrap().acquire().await.unwrap();
        let waits = waiter(&b, "x");
        pass(Duration::from_secs(waited)).await;
        held.release().await.unwrap();
        let guard = waits.await.unwrap();
        assert!(guard.remaining() >= DEADLINE / 2, "{:?} after {waited} s", guard.remaining());
        guard.ensure(Duration::from_secs(5)).unwrap();
        let accepts = record(&store, "x").unwrap().renewals;
        assert_eq!(accepts, u64::from(waited > 6), "a second write only after a long wait: {waited} s");
    }
}

/// L1 with mixed ttls: the first holder is long gone when the second one crashes.
#[tokio::test(start_paused = true)]
async fn l1_a_crash_is_noticed_whatever_the_ttl_of_the_holder_before() {
    let store = MemoryStore::new();
    let (h, faulty) = (client(&store, "h"), Faulty::new(store.clone()));
    let holder = h.lock("x").unwrap().timing(ttl(3600)).acquire().await.unwrap();
    let clients = [client(&store, "w0"), client_of(faulty.clone(), "w1"), client(&store, "w2")];
    let mut waits = Vec::new();
    for (index, client) in clients.iter().enumerate() {
        waits.push(waiter(client, "x"));
        until("it waits", || queue(&store, "x") == index + 1).await;
    }
    let last = waits.pop().unwrap();
    pass(Duration::from_secs(1)).await;
    holder.release().await.unwrap();
    let mut waits = waits.into_iter();
    waits.next().unwrap().await.unwrap().release().await.unwrap();
    let doomed = waits.next().unwrap().await.unwrap();
    faulty.every(Fate::Hang);
    faulty.watches(Sight::Blind);
    drop(within(2 * TTL + Duration::from_secs(2), "taken over", last).await.unwrap());
    assert!(doomed.check().is_err());
}

/// The 65th and later have no place in the queue, and nobody tells them of the end.
#[tokio::test(start_paused = true)]
async fn who_found_the_queue_full_has_the_lock_soon_after_it_is_free() {
    let store = MemoryStore::new();
    let clock = TokioClock::default();
    let long = ttl(600);
    let a = client(&store, "a");
    let held = a.lock("x").unwrap().timing(long).acquire().await.unwrap();
    let mut waits = Vec::new();
    for number in 0..70 {
        let lock = client(&store, &format!("w{number}")).lock("x").unwrap().timing(long);
        waits.push(tokio::spawn(async move { lock.acquire().await.unwrap().release().await.unwrap() }));
    }
    until("the queue is full", || queue(&store, "x") == 64).await;
    pass(MINUTE).await;
    let reads = store.calls().reads;
    pass(10 * MINUTE).await;
    let per_minute = (store.calls().reads - reads) / 10 / 6;
    assert!((1..=9).contains(&per_minute), "{per_minute} looks a minute for each of six");
    let start = clock.now();
    held.release().await.unwrap();
    for waits in waits {
        within(MINUTE, "had the lock", waits).await.unwrap();
    }
    assert!(clock.now().since(start) < MINUTE, "{:?}", clock.now().since(start));
}

/// Not lost before it is had, and so acquired anew for ever.
#[tokio::test(start_paused = true)]
async fn max_hold_counts_from_the_moment_the_user_has_the_lock() {
    for most in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1)] {
        let store = MemoryStore::new();
        let a = client(&store, "a");
        let guard = within(MINUTE, "had", a.lock("x").unwrap().max_hold(most).acquire()).await.unwrap();
        assert!(guard.remaining() <= most, "{:?} of {most:?}", guard.remaining());
        let lost = within(most + Duration::from_millis(5), "over in time", guard.lost()).await;
        assert_eq!(lost, LossReason::MaxHold, "{most:?}");
        drop(guard);
        pass(MINUTE).await;
        assert!(store.names().is_empty() && store.calls().creates == 1, "{most:?}: {:?}", store.calls());
    }
}
