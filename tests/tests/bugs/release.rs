//! Bugs of release: too late, too early, of the wrong hold.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use msync::MemoryStore;
use tests::{
    faulty::{Fate, Faulty, Kind},
    memory::{SuspendClock, TTL, builder, client, client_of, pass, record, until, waiter, within},
};

/// The first release is lost on its way and lands when the same client holds the lock anew.
#[tokio::test(start_paused = true)]
async fn bug_06_a_late_release_leaves_the_newer_hold_of_the_same_client_alone() {
    for retained in [false, true] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let lock = client_of(faulty.clone(), "a").lock("x").unwrap();
        let lock = if retained { lock.retained() } else { lock };
        let guard = lock.acquire().await.unwrap();
        let kind = if retained { Kind::Free } else { Kind::Delete };
        faulty.once(kind, Fate::Zombie(Duration::from_secs(20)));
        drop(guard);
        let newer = within(Duration::from_secs(5), "acquired anew", lock.acquire()).await.unwrap();
        let term = record(&store, "x").unwrap().term;
        pass(Duration::from_secs(60)).await;
        newer.check().unwrap();
        assert_eq!(record(&store, "x").unwrap().term, term, "retained: {retained}");
    }
}

#[tokio::test(start_paused = true)]
async fn bug_07_release_leaves_another_holder_alone() {
    let (store, clock) = (MemoryStore::new(), SuspendClock::default());
    let a = builder("a", clock.clone()).memory(&store).build();
    let b = client(&store, "b");
    let paused = a.lock("x").unwrap().acquire().await.unwrap();
    clock.suspend(TTL);
    let next = within(2 * TTL, "taken over", waiter(&b, "x")).await.unwrap();
    let before = record(&store, "x");
    drop(paused);
    pass(Duration::from_secs(1)).await;
    assert_eq!(record(&store, "x"), before);
    next.check().unwrap();
}

/// The paused holder's release is the first thing that it does, with the view of before the pause.
#[tokio::test(start_paused = true)]
async fn bug_25_a_release_with_an_old_view_tests_its_term() {
    let (store, clock) = (MemoryStore::new(), SuspendClock::default());
    let faulty = Faulty::new(store.clone());
    faulty.watches(tests::faulty::Sight::Blind);
    let a = builder("a", clock.clone()).store(Arc::new(faulty)).build();
    let b = client(&store, "b");
    let paused = a.lock("x").unwrap().acquire().await.unwrap();
    let other = msync::unstable::record::EngineId::new("other", 1);
    store.edit(&tests::memory::name("x"), |record| {
        (record.engine, record.term) = (other, msync::unstable::record::Term(7));
    });
    let waiting = waiter(&b, "x");
    drop(paused);
    pass(Duration::from_secs(1)).await;
    assert_eq!(record(&store, "x").unwrap().term, msync::unstable::record::Term(7), "not deleted, not granted");
    within(2 * TTL, "taken over", waiting).await.unwrap().check().unwrap();
}

struct Work(Arc<Mutex<Vec<&'static str>>>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.lock().unwrap().push("work ended");
    }
}

/// The orderly end of a process, as `shutdown_on_signal` brings it: the work ends first.
#[tokio::test(start_paused = true)]
async fn bug_08_at_shutdown_the_work_ends_before_the_release() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let events: Arc<Mutex<Vec<&'static str>>> = Arc::default();
    let (work, lock) = (Work(Arc::clone(&events)), a.lock("x").unwrap());
    let running = tokio::spawn(async move {
        lock.run(async move |_| {
            let _work = work;
            std::future::pending::<()>().await;
        })
        .await
    });
    until("held", || record(&store, "x").is_some()).await;
    let (next, seen) = (b.lock("x").unwrap(), Arc::clone(&events));
    let follower = tokio::spawn(async move {
        let guard = next.acquire().await.unwrap();
        seen.lock().unwrap().push("the next has it");
        guard
    });
    pass(Duration::from_secs(1)).await;
    a.shutdown().await;
    let _guard = within(Duration::from_secs(1), "handed over", follower).await.unwrap();
    assert_eq!(*events.lock().unwrap(), ["work ended", "the next has it"]);
    assert!(running.await.unwrap().unwrap_err().is_shut_down());
}
