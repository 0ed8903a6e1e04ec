//! Bugs of renewal and of loss.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use msync::{
    Error, LossReason, MemoryStore,
    unstable::{record::Term, store::Fault},
};
use tests::{
    faulty::{Fate, Faulty, Kind, Sight, forbidden, unknown},
    memory::{
        DEADLINE, SuspendClock, TTL, builder, client, client_of, is_untouched, name, pass, record, until, waiter,
        within, yields,
    },
};
use tracing_subscriber::util::SubscriberInitExt;

/// A release meets a renewal in flight, at every turn and with every speed of the two.
#[tokio::test(start_paused = true)]
async fn bug_01_a_release_that_races_a_renewal_leaves_nothing_that_renews() {
    for (renewal, early) in [(0, 0), (0, 1), (30, 1), (30, 29), (30, 31), (2400, 100), (5000, 100)] {
        for turns in 0..8 {
            let store = MemoryStore::new();
            let faulty = Faulty::new(store.clone());
            let a = client_of(faulty.clone(), "a");
            let guard = a.lock("x").unwrap().acquire().await.unwrap();
            faulty.once(Kind::Renew, Fate::Delay(Duration::from_millis(renewal)));
            until("a renewal is sent", || faulty.count(Kind::Renew) == 1).await;
            pass(Duration::from_millis(early)).await;
            yields(turns).await;
            drop(guard);
            pass(Duration::from_secs(10)).await;
            let case = format!("renewal takes {renewal} ms, released after {early} ms and {turns} turns");
            assert!(is_untouched(&store, "x"), "{case}: {:?}", record(&store, "x"));
            let calls = faulty.total();
            pass(3 * TTL).await;
            assert_eq!(faulty.total(), calls, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bug_10_a_call_that_never_answers_costs_the_lock_at_its_deadline_and_no_more() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let a = client_of(faulty.clone(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Hang);
    within(DEADLINE + Duration::from_millis(2), "lost", guard.lost()).await;
    drop(guard);
    let again = waiter(&a, "x");
    pass(Duration::from_secs(60)).await;
    faulty.heal();
    within(Duration::from_secs(10), "recovered by itself", again).await.unwrap().check().unwrap();
}

/// Each way to lose a lock, from the moment on at which the guard is watched.
#[tokio::test(start_paused = true)]
async fn bug_11_every_way_to_lose_fires_the_signal_exactly_once() {
    for reason in
        [LossReason::Deadline, LossReason::TakenOver, LossReason::Deleted, LossReason::MaxHold, LossReason::ShutDown]
    {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let a = client_of(faulty.clone(), "a");
        let lock = a.lock("x").unwrap();
        let lock = if reason == LossReason::MaxHold { lock.max_hold(Duration::from_secs(5)) } else { lock };
        let guard = lock.acquire().await.unwrap();
        let (fired, token) = (Arc::new(AtomicUsize::new(0)), guard.cancellation_token());
        let (watcher, counter) = (guard.lost(), Arc::clone(&fired));
        let told = tokio::spawn(async move {
            let reason = watcher.await;
            counter.fetch_add(1, Ordering::SeqCst);
            reason
        });
        pass(Duration::from_secs(1)).await;
        match reason {
            LossReason::Deadline => faulty.every(Fate::Hang),
            LossReason::TakenOver => drop(store.edit(&name("x"), |record| record.term = Term(7))),
            LossReason::Deleted => assert!(store.delete("x")),
            LossReason::ShutDown => drop(tests::memory::drop_after(2, a.shutdown()).await),
            _ => {}
        }
        assert_eq!(within(TTL, "told", told).await.unwrap(), reason);
        within(Duration::from_millis(1), "the token as well", token.cancelled()).await;
        assert!(matches!(guard.check(), Err(Error::Lost { reason: why, .. }) if why == reason), "{reason:?}");
        assert_eq!(guard.lost().await, reason, "whoever asks later is told the same");
        assert!(matches!(guard.release().await, Err(Error::Lost { .. })));
        pass(TTL).await;
        assert_eq!(fired.load(Ordering::SeqCst), 1);
    }
}

/// After each kind of error the keeper goes on; where it cannot, the body is dropped.
#[tokio::test(start_paused = true)]
async fn bug_20_a_renewal_error_of_any_kind_ends_neither_the_keeper_nor_lets_the_body_run_on() {
    for fault in [unknown(), forbidden(), Fault::Busy(None), Fault::Busy(Some(Duration::from_secs(1)))] {
        let faulty = Faulty::new(MemoryStore::new());
        let a = client_of(faulty.clone(), "a");
        let guard = a.lock("x").unwrap().acquire().await.unwrap();
        faulty.once(Kind::Renew, Fate::Fail(fault.clone()));
        pass(Duration::from_secs(60)).await;
        guard.check().unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        drop(guard);
        let fates = faulty.clone();
        let lock = a.lock("x").unwrap();
        let body = lock.run(async |_| {
            fates.every(Fate::Fail(fault.clone()));
            std::future::pending::<()>().await;
        });
        let ended = within(TTL, "dropped at the deadline", body).await;
        assert!(ended.unwrap_err().is_lost(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bug_22_a_crash_or_a_stuck_body_blocks_nobody_for_long() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b, c) = (client_of(faulty.clone(), "a"), client(&store, "b"), client(&store, "c"));
    let _crashed = a.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Hang);
    let minute = Duration::from_secs(60);
    let stuck = b.lock("x").unwrap().max_hold(minute);
    let body = tokio::spawn(async move { stuck.run(async |_| std::future::pending::<()>().await).await });
    pass(TTL + Duration::from_secs(1)).await;
    let _guard = within(minute, "after max_hold", waiter(&c, "x")).await.unwrap();
    assert!(body.await.unwrap().unwrap_err().is_lost());
}

#[tokio::test(start_paused = true)]
async fn bug_23_another_holders_term_is_a_loss_at_once() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    pass(Duration::from_secs(1)).await;
    store.edit(&name("x"), |record| record.term = Term(7));
    assert_eq!(within(Duration::from_millis(1), "at once", guard.lost()).await, LossReason::TakenOver);
}

/// Without a watch it is the refusal of the next renewal that tells.
#[tokio::test(start_paused = true)]
async fn bug_23_a_refused_renewal_is_a_loss_before_the_deadline() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    faulty.watches(Sight::Blind);
    let a = client_of(faulty, "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    store.edit(&name("x"), |record| record.term = Term(7));
    let renewal = Duration::from_millis(5_010);
    assert_eq!(within(renewal, "at the next renewal", guard.lost()).await, LossReason::TakenOver);
}

#[tokio::test(start_paused = true)]
async fn bug_27_a_holder_that_is_cut_off_is_told_by_its_deadline() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let waiting = waiter(&b, "x");
    pass(Duration::from_secs(100)).await;
    faulty.every(Fate::Hang);
    faulty.watches(Sight::Blind);
    until("taken over", || {
        assert!(!(waiting.is_finished() && guard.check().is_ok()), "told before another has it");
        waiting.is_finished()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn bug_28_refused_connections_and_silence_do_not_end_the_keeper() {
    for fate in [Fate::Fail(unknown()), Fate::Hang] {
        let faulty = Faulty::new(MemoryStore::new());
        let a = client_of(faulty.clone(), "a");
        faulty.every(fate.clone());
        faulty.watches(Sight::Broken);
        let waiting = waiter(&a, "x");
        pass(Duration::from_secs(60)).await;
        faulty.heal();
        let guard = within(Duration::from_secs(10), "acquired", waiting).await.unwrap();
        pass(Duration::from_secs(60)).await;
        guard.check().unwrap_or_else(|error| panic!("{fate:?}: {error}"));
    }
}

/// Writes of a term that was lost arrive long after, whatever their kind.
#[tokio::test(start_paused = true)]
async fn bug_29_and_41_writes_of_a_lost_term_have_no_effect_when_they_land_late() {
    for kind in [Kind::Renew, Kind::Delete, Kind::Grant, Kind::Leave] {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        let (a, b) = (client_of(faulty.clone(), "a"), client(&store, "b"));
        let guard = a.lock("x").unwrap().acquire().await.unwrap();
        let late = Duration::from_secs(60);
        faulty.on(move |request| if request.kind == kind { Fate::Zombie(late) } else { Fate::Hang });
        faulty.watches(Sight::Blind);
        match kind {
            Kind::Renew => pass(DEADLINE).await,
            _ => drop(guard),
        }
        let next = within(3 * TTL, "taken over", waiter(&b, "x")).await.unwrap();
        let term = record(&store, "x").unwrap().term;
        pass(2 * late).await;
        next.check().unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(record(&store, "x").unwrap().term, term, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bug_45_without_a_hold_nothing_says_lost() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let _held = a.lock("x").unwrap().acquire().await.unwrap();
    let error = b.lock("x").unwrap().acquire_timeout(Duration::from_secs(60)).await.unwrap_err();
    assert!(!error.is_lost(), "{error}");
    let waiting = tokio::spawn({
        let lock = b.lock("x").unwrap();
        async move { lock.run(async |_| ()).await }
    });
    pass(Duration::from_secs(1)).await;
    b.shutdown().await;
    assert!(matches!(waiting.await.unwrap(), Err(Error::ShutDown)));
}

/// Takes longer to drop than the margin lasts.
struct Slow(SuspendClock);

impl Drop for Slow {
    fn drop(&mut self) {
        self.0.suspend(Duration::from_secs(3));
    }
}

#[tokio::test(start_paused = true)]
async fn bug_47_a_body_is_dropped_at_the_deadline_and_a_slow_drop_is_warned_about() {
    let (log, _reading) = log();
    let faulty = Faulty::new(MemoryStore::new());
    let clock = SuspendClock::default();
    let a = builder("a", clock.clone()).store(Arc::new(faulty.clone())).build();
    let start = tokio::time::Instant::now();
    let slow = Slow(clock);
    let lock = a.lock("x").unwrap();
    let ended = lock.run(async move |_| {
        let _slow = slow;
        faulty.every(Fate::Hang);
        std::future::pending::<()>().await;
    });
    assert!(ended.await.unwrap_err().is_lost());
    assert!(start.elapsed() <= DEADLINE + Duration::from_millis(2), "dropped at the deadline");
    let text = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(text.contains("longer than the margin") && text.contains("WARN"), "{text}");
}

type Log = Arc<std::sync::Mutex<Vec<u8>>>;

/// Collects what this thread logs for as long as the second value lives.
fn log() -> (Log, impl Sized) {
    struct Sink(Log);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let sink = Arc::clone(&log);
    let reading = tracing_subscriber::fmt().with_writer(move || Sink(Arc::clone(&sink))).finish().set_default();
    (log, reading)
}
