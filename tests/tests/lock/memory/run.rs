//! Promise S7: the body and its arguments are dropped before the release is sent. And how `run` ends.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::FutureExt;
use msync::{Error, LossReason, MemoryStore};
use tests::{
    faulty::{Fate, Faulty},
    memory::{client, client_of, is_untouched, name, pass, record, until, within, yields},
};

/// Notes, when dropped, whether the lock is still held in the store, and then takes its time.
struct Witness {
    store: MemoryStore,
    seen: Arc<Mutex<Vec<bool>>>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        let held = record(&self.store, "x").is_some_and(|record| !record.is_free());
        self.seen.lock().unwrap().push(held);
    }
}

fn witnesses(store: &MemoryStore) -> (Witness, Witness, Arc<Mutex<Vec<bool>>>) {
    let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
    let witness = || Witness { store: store.clone(), seen: Arc::clone(&seen) };
    (witness(), witness(), Arc::clone(&seen))
}

#[tokio::test(start_paused = true)]
async fn s7_what_the_body_has_is_dropped_before_the_release() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let (captured, local, seen) = witnesses(&store);
    let body = async move |_: &msync::LockGuard| {
        let _captured = &captured;
        let _local = local;
        yields(3).await;
        7
    };
    assert_eq!(a.lock("x").unwrap().run(body).await.unwrap(), 7);
    assert_eq!(*seen.lock().unwrap(), [true, true]);
    assert!(is_untouched(&store, "x"), "run returns when the lock is released");
}

#[tokio::test(start_paused = true)]
async fn run_returns_when_what_it_held_is_released() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    for _ in 0..10 {
        a.lock("x").unwrap().run(async |_| ()).await.unwrap();
        assert!(is_untouched(&store, "x"));
        a.lock_all(["x", "y"]).unwrap().run(async |_| ()).await.unwrap();
        assert!(is_untouched(&store, "x") && is_untouched(&store, "y"));
    }
}

/// The caller is told of its body; the ttl ends what could not be released.
#[tokio::test(start_paused = true)]
async fn run_returns_what_the_body_gave_even_if_the_release_fails() {
    let faulty = Faulty::new(MemoryStore::new());
    let a = client_of(faulty.clone(), "a");
    let lock = a.lock("x").unwrap();
    let ended = lock.run(async |_| {
        faulty.every(Fate::Hang);
        7
    });
    assert_eq!(within(Duration::from_secs(40), "given up", ended).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn s7_a_panic_drops_the_body_then_releases_then_goes_on() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let (captured, local, seen) = witnesses(&store);
    let body = async move |_: &msync::LockGuard| {
        let (_captured, _local) = (&captured, local);
        yields(3).await;
        std::panic::panic_any("the body's own words");
    };
    let lock = a.lock("x").unwrap();
    let panic = AssertUnwindSafe(lock.run(body)).catch_unwind().await.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the body's own words"));
    assert_eq!(*seen.lock().unwrap(), [true, true]);
    until("released", || is_untouched(&store, "x")).await;
}

#[tokio::test(start_paused = true)]
async fn s7_a_cancelled_run_drops_the_body_then_releases() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let (captured, local, seen) = witnesses(&store);
    let running = tokio::spawn(async move {
        let body = async move |_: &msync::LockGuard| {
            let (_captured, _local) = (&captured, local);
            std::future::pending::<()>().await;
        };
        a.lock("x").unwrap().run(body).await
    });
    until("held", || store.snapshot(&name("x")).is_some()).await;
    running.abort();
    until("released", || is_untouched(&store, "x")).await;
    assert_eq!(*seen.lock().unwrap(), [true, true]);
}

#[tokio::test(start_paused = true)]
async fn s7_a_lost_body_is_dropped_before_the_release() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let a = client_of(faulty.clone(), "a");
    let (captured, local, seen) = witnesses(&store);
    let body = async move |_: &msync::LockGuard| {
        let (_captured, _local) = (&captured, local);
        faulty.every(Fate::Hang);
        std::future::pending::<()>().await;
    };
    assert!(a.lock("x").unwrap().run(body).await.unwrap_err().is_lost());
    assert_eq!(*seen.lock().unwrap(), [true, true]);
}

#[tokio::test(start_paused = true)]
async fn s7_several_locks_are_released_after_the_body() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let (captured, local, seen) = witnesses(&store);
    let body = async move |_: &msync::LockSetGuard| {
        let (_captured, _local) = (&captured, local);
        yields(3).await;
    };
    a.lock_all(["x", "w"]).unwrap().run(body).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [true, true]);
    until("released", || store.names().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn bug_39_a_body_that_fails_releases_and_its_error_comes_out() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let ended: Result<u8, String> = a.lock("x").unwrap().run(async |_| Err("no".to_owned())).await.unwrap();
    assert_eq!(ended, Err("no".to_owned()));
    until("released", || is_untouched(&store, "x")).await;
    let calls = store.calls();
    pass(Duration::from_secs(60)).await;
    assert_eq!(store.calls(), calls);
}

/// A body that does not yield cannot be interrupted; that it ran over is told.
#[tokio::test(start_paused = true)]
async fn a_body_that_ends_after_its_deadline_is_reported_as_lost() {
    let (store, clock) = (MemoryStore::new(), tests::memory::SuspendClock::default());
    let a = tests::memory::builder("a", clock.clone()).memory(&store).build();
    let ended = a.lock("x").unwrap().run(async |_| clock.suspend(Duration::from_secs(20))).await;
    assert!(matches!(ended, Err(Error::Lost { reason: LossReason::Deadline, .. })), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_the_same_lock_inside_its_body_would_deadlock() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let (lock, set) = (a.lock("x").unwrap(), a.lock_all(["w", "x"]).unwrap());
    let nested = lock.run(async |_| {
        let limit = Duration::from_secs(5);
        let each = async { (lock.acquire().await.err(), lock.try_acquire().await.err(), set.acquire().await.err()) };
        within(limit, "told at once", each).await
    });
    let (acquire, tried, all) = nested.await.unwrap();
    for error in [acquire, tried, all] {
        assert!(matches!(error, Some(Error::WouldDeadlock { .. })), "{error:?}");
    }
    lock.run(async |_| ()).await.expect("afterwards it is free again");
    until("released", || store.names().is_empty()).await;
}

/// Whatever has it, and whichever way it is asked for: a lock, one of a set, a term; and nothing is left of what a set had.
#[tokio::test(start_paused = true)]
async fn whoever_asks_for_what_its_own_body_has_is_told_at_every_door() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let (lock, set, election) = (a.lock("x").unwrap(), a.lock_all(["w", "x"]).unwrap(), a.election("x").unwrap());
    let second = Duration::from_secs(1);
    let every_door = async || {
        let told = [
            lock.acquire().await.err(),
            lock.try_acquire().await.err(),
            lock.acquire_timeout(Duration::ZERO).await.err(),
            lock.acquire_timeout(second).await.err(),
            lock.run(async |_| ()).await.err(),
            set.acquire().await.err(),
            set.try_acquire().await.err(),
            set.acquire_timeout(Duration::ZERO).await.err(),
            set.acquire_timeout(second).await.err(),
            election.campaign().await.err(),
            election.try_campaign().await.err(),
            election.campaign_timeout(Duration::ZERO).await.err(),
            election.campaign_timeout(second).await.err(),
            election.lead(async |_| ()).await.err(),
        ];
        for (door, error) in told.iter().enumerate() {
            let error = error.as_ref().unwrap_or_else(|| panic!("door {door}: had"));
            assert!(matches!(error, Error::WouldDeadlock { .. }) && !error.is_busy(), "door {door}: {error:?}");
        }
    };
    let limit = Duration::from_millis(100);
    lock.run(async |_| within(limit, "in a lock", every_door()).await).await.unwrap();
    let wider = a.lock_all(["v", "x"]).unwrap();
    wider.run(async |_| within(limit, "in a set", every_door()).await).await.unwrap();
    election.lead(async |_| within(limit, "in a term", every_door()).await).await.unwrap();
    let term = election.campaign().await.unwrap();
    Box::pin(term.run(within(limit, "in a body of a term", every_door()))).await.unwrap();
    term.resign().await.unwrap();
    until("nothing is left", || ["v", "w", "x"].iter().all(|lock| is_untouched(&store, lock))).await;
}

#[tokio::test(start_paused = true)]
async fn other_locks_other_clients_and_spawned_tasks_do_not_deadlock() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let inner = async |_: &msync::LockGuard| {
        a.lock("y").unwrap().run(async |_| ()).await.unwrap();
        assert!(b.lock("x").unwrap().try_acquire().await.unwrap().is_none());
        let lock = a.lock("x").unwrap();
        tokio::spawn(async move { lock.try_acquire().await.unwrap().is_none() }).await.unwrap()
    };
    assert!(a.lock("x").unwrap().run(inner).await.unwrap());
}
