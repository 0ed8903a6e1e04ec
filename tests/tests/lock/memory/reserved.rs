//! What `at_least` keeps when no process is left to keep it: over shutdowns, sets, last handles, and for longer than a record
//! can tell (promise S8).

use std::time::Duration;

use msync::{Client, Error, MemoryStore, clock::TokioClock};
use tests::memory::{TTL, builder, client, is_untouched, pass, queue, record, until, waiter, within, yields};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Says whether a process that has just started gets a lock that it tries for.
async fn is_had(store: &MemoryStore, clock: &TokioClock, owner: &str, lock: &str) -> bool {
    let fresh = builder(owner, clock.clone()).memory(store).build();
    let tried = within(TTL + SECOND, "a try ends", fresh.lock(lock).unwrap().try_acquire()).await;
    let had = tried.unwrap().is_some();
    fresh.shutdown().await;
    had
}

#[tokio::test(start_paused = true)]
async fn s8_more_than_a_year_is_kept_over_a_shutdown() {
    for least in [367 * DAY, Duration::from_nanos(u64::MAX), Duration::MAX] {
        let (store, clock) = (MemoryStore::new(), TokioClock::default());
        let a = builder("a", clock.clone()).memory(&store).build();
        drop(a.lock("x").unwrap().at_least(least).acquire().await.unwrap());
        within(5 * SECOND, "shut down", a.shutdown()).await;
        drop(a);
        for (nth, later) in [SECOND, 2 * TTL, HOUR, 2 * DAY, 360 * DAY].into_iter().enumerate() {
            pass(later).await;
            assert!(!is_had(&store, &clock, &format!("b{nth}"), "x").await, "{later:?} later, of {least:?}");
        }
    }
}

/// The first of an incomplete set keeps nothing, and goes at once.
#[tokio::test(start_paused = true)]
async fn s8_a_shutdown_keeps_each_lock_of_a_complete_set_and_none_of_another() {
    let (store, clock) = (MemoryStore::new(), TokioClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    let other = builder("other", clock.clone()).memory(&store).build();
    let held = other.lock("z").unwrap().acquire().await.unwrap();
    let kept = |names: [&str; 2]| a.lock_all(names).unwrap().map(|lock| lock.at_least(HOUR));
    drop(kept(["v", "w"]).acquire().await.unwrap());
    let waiting = tokio::spawn({
        let set = kept(["y", "z"]);
        async move { set.acquire().await.map(drop) }
    });
    until("it waits for the second", || queue(&store, "z") == 1).await;
    within(5 * SECOND, "shut down", a.shutdown()).await;
    assert!(matches!(waiting.await.unwrap(), Err(Error::ShutDown)));
    pass(SECOND).await;
    assert!(is_untouched(&store, "y") && queue(&store, "z") == 0);
    held.check().unwrap();
    for lock in ["v", "w"] {
        assert!(!is_had(&store, &clock, "early", lock).await, "{lock} is kept");
    }
    pass(HOUR + 2 * SECOND).await;
    for lock in ["v", "w"] {
        assert!(is_had(&store, &clock, "late", lock).await, "{lock} is kept no more");
    }
}

/// A program that ends without a shutdown keeps it as well: the end of its last handle is one, whichever that is.
#[tokio::test(start_paused = true)]
async fn s8_the_end_of_the_last_handle_keeps_what_a_shutdown_keeps() {
    let last: [fn(Client) -> Box<dyn std::any::Any>; 3] = [
        |client| Box::new(client),
        |client| Box::new(client.lock("other").unwrap()),
        |client| Box::new(client.election("other").unwrap()),
    ];
    for handle in last {
        let (store, clock) = (MemoryStore::new(), TokioClock::default());
        let a = builder("a", clock.clone()).memory(&store).build();
        drop(a.lock("x").unwrap().at_least(HOUR).acquire().await.unwrap());
        let handle = handle(a);
        pass(10 * MINUTE).await;
        assert!(!record(&store, "x").unwrap().is_reserved(), "somebody lives who keeps it");
        drop(handle);
        pass(SECOND).await;
        assert!(record(&store, "x").unwrap().is_reserved());
        assert!(!is_had(&store, &clock, "early", "x").await);
        pass(50 * MINUTE + 2 * SECOND).await;
        assert!(is_had(&store, &clock, "late", "x").await);
    }
}

/// Who waits in the same process does not inherit it: it is told of the end, and the lock stays as it is.
#[tokio::test(start_paused = true)]
async fn s8_a_shutdown_gives_what_is_kept_to_nobody_of_its_process() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    drop(a.lock("x").unwrap().at_least(HOUR).acquire().await.unwrap());
    let waiting = tokio::spawn({
        let lock = a.lock("x").unwrap();
        async move { lock.acquire().await.map(drop) }
    });
    yields(5).await;
    within(5 * SECOND, "shut down", a.shutdown()).await;
    assert!(matches!(waiting.await.unwrap(), Err(Error::ShutDown)));
    assert!(record(&store, "x").unwrap().is_reserved());
}

/// A reservation is nobody's to hand on: the first of the queue has it at its date, however many came and went before.
#[tokio::test(start_paused = true)]
async fn s8_who_leaves_the_queue_of_a_reservation_takes_nothing_from_the_next() {
    let (store, clock) = (MemoryStore::new(), TokioClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    drop(a.lock("x").unwrap().at_least(HOUR).acquire().await.unwrap());
    a.shutdown().await;
    let (b, c) = (client(&store, "b"), client(&store, "c"));
    let first = waiter(&b, "x");
    until("b waits", || queue(&store, "x") == 1).await;
    let second = waiter(&c, "x");
    until("c waits", || queue(&store, "x") == 2).await;
    first.abort();
    until("b has left", || queue(&store, "x") == 1).await;
    pass(30 * MINUTE).await;
    b.shutdown().await;
    assert!(record(&store, "x").unwrap().is_reserved());
    let start = tokio::time::Instant::now();
    within(31 * MINUTE, "c has it", second).await.unwrap().check().unwrap();
    assert!(start.elapsed() > 29 * MINUTE, "{:?}", start.elapsed());
}
