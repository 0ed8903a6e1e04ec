//! What the macros promise about bodies, on the memory store: order of drops, losses, panics, cancellation.
#![allow(clippy::disallowed_methods, reason = "the clock of these tests is tokio's, and it is paused")]

use std::future::pending;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use futures::future::BoxFuture;

use super::{Config, Missed, Name, lead, run, run_all};
use crate::clock::{Clock, Moment, TokioClock, Wall};
use crate::{Client, Error, LockName, LossReason, MemoryStore};

const NAME: Name = Name::fixed("job");

struct Bed {
    store: MemoryStore,
    client: Client,
}

/// A clock that may be set ahead by seconds, as after a pause of the process.
#[derive(Clone, Debug, Default)]
struct Jumping(Arc<AtomicU64>, TokioClock);

/// Notes in drop whether the lock was still held.
struct Witness(MemoryStore, Arc<Mutex<Vec<bool>>>);

/// As if somebody deleted the object by hand.
fn delete(store: &MemoryStore) {
    store.delete("job");
}

/// An election's object stays when nobody leads.
fn is_held(store: &MemoryStore) -> bool {
    store.snapshot(&LockName::new("job").unwrap()).is_some_and(|snapshot| !snapshot.record.is_free())
}

impl Bed {
    fn new() -> Self {
        let store = MemoryStore::new();
        Self { client: Client::builder().memory(&store).clock(TokioClock::default()).build(), store }
    }

    fn config(&self) -> Config {
        Config::new().via(&self.client)
    }

    async fn is_free(&self) -> bool {
        self.client.lock("job").unwrap().try_acquire().await.unwrap().is_some()
    }
}

impl Clock for Jumping {
    fn now(&self) -> Moment {
        self.1.now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> Wall {
        self.1.wall()
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        self.1.sleep_until(at)
    }
}

/// A clock that counts how often it is asked.
#[derive(Clone, Debug, Default)]
struct Counting(Arc<AtomicU64>, TokioClock);

impl Clock for Counting {
    fn now(&self) -> Moment {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1.now()
    }

    fn wall(&self) -> Wall {
        self.1.wall()
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        self.1.sleep_until(at)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        let held = self.0.snapshot(&LockName::new("job").unwrap()).is_some();
        self.1.lock().unwrap().push(held);
    }
}

#[tokio::test(start_paused = true)]
async fn the_body_and_its_arguments_are_dropped_before_the_release() {
    let bed = Bed::new();
    let seen = Arc::default();
    let argument = Witness(bed.store.clone(), Arc::clone(&seen));
    let local = Witness(bed.store.clone(), Arc::clone(&seen));
    let body = move |_| async move {
        let _argument = argument;
        let _local = local;
        tokio::task::yield_now().await;
    };
    run(&bed.config(), NAME, body).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [true, true]);
    assert!(bed.is_free().await);
}

#[tokio::test(start_paused = true)]
async fn a_loss_drops_the_body_at_its_await() {
    let bed = Bed::new();
    let store = bed.store.clone();
    let body = |_| async move {
        delete(&store);
        pending::<()>().await;
    };
    let missed = run(&bed.config(), NAME, body).await.unwrap_err();
    assert!(missed.into_error().is_lost());
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_not_one_more_step_runs() {
    let clock = Jumping::default();
    let client = Client::builder().memory(&MemoryStore::new()).clock(clock.clone()).build();
    let body = |_| async move {
        clock.0.store(20, Ordering::Relaxed);
        tokio::task::yield_now().await;
        unreachable!("the lock is lost");
    };
    let missed = run(&Config::new().via(&client), NAME, body).await.unwrap_err();
    assert!(missed.into_error().is_lost());
}

#[tokio::test(start_paused = true)]
async fn signal_leaves_the_body_running_and_marks_the_lease() {
    let bed = Bed::new();
    let store = bed.store.clone();
    let body = |lease: crate::Lease| async move {
        delete(&store);
        assert_eq!(lease.lost().await, LossReason::Deleted);
        tokio::time::sleep(Duration::from_secs(1)).await;
        lease.check().is_err()
    };
    assert!(run(&bed.config().on_lost_signal(), NAME, body).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn max_hold_ends_a_stuck_body() {
    let bed = Bed::new();
    let config = bed.config().max_hold(Duration::from_secs(5));
    let missed = run(&config, NAME, |_| pending::<()>()).await.unwrap_err();
    assert!(missed.into_error().is_lost());
    assert!(bed.is_free().await);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_call_drops_the_body_and_frees_the_lock() {
    let bed = Bed::new();
    let seen = Arc::default();
    let witness = Witness(bed.store.clone(), Arc::clone(&seen));
    let config = bed.config();
    let call = run(&config, NAME, move |_| async move {
        let _witness = witness;
        pending::<()>().await;
    });
    assert!(tokio::time::timeout(Duration::from_secs(1), call).await.is_err());
    assert_eq!(*seen.lock().unwrap(), [true]);
    assert!(bed.client.lock("job").unwrap().acquire_timeout(Duration::from_secs(1)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_busy_lock_is_busy_or_times_out_and_never_runs_the_body() {
    let bed = Bed::new();
    let guard = bed.client.lock("job").unwrap().acquire().await.unwrap();
    let ran = |_| async { unreachable!("the lock is busy") };
    let once = run(&bed.config().try_once(), NAME, ran).await.unwrap_err().into_error();
    assert!(matches!(once, Error::Busy { .. }));
    let waited = run(&bed.config().wait(Duration::from_secs(3)), NAME, ran).await.unwrap_err().into_error();
    assert!(matches!(waited, Error::Timeout { .. }));
    drop(guard);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_held_as_a_whole() {
    let bed = Bed::new();
    let names = [Name::fixed("job"), Name::fixed("a"), Name::fixed("job")];
    let held = run_all(&bed.config(), names, |leases: crate::LeaseSet| async move { leases.check().is_ok() }).await;
    assert!(held.unwrap());
    assert!(bed.is_free().await);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_that_is_too_short_at_run_time_is_an_error() {
    let bed = Bed::new();
    let missed = run(&bed.config().ttl(Duration::from_millis(5)), NAME, |_| async {}).await.unwrap_err();
    assert!(matches!(missed.into_error(), Error::InvalidTiming { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_busy_and_a_leader_runs_again_after_a_loss() {
    let bed = Bed::new();
    let other = Client::builder().memory(&bed.store).clock(TokioClock::default()).build();
    lead(&bed.config(), NAME, |_| async {}).await.unwrap();
    let missed = lead(&Config::new().via(&other), NAME, |_| async {}).await.unwrap_err();
    assert!(missed.into_error().is_busy());
    other.shutdown().await;
    let store = bed.store.clone();
    let config = bed.config();
    let lost = lead(&config, NAME, |_| async move {
        delete(&store);
        pending::<()>().await;
    });
    assert!(lost.await.unwrap_err().into_error().is_lost());
    lead(&bed.config().on_follower_wait(), NAME, |_| async {}).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_leaders_loop_runs_over_losses_until_shutdown() {
    let bed = Bed::new();
    let (store, client) = (bed.store.clone(), bed.client.clone());
    let mut runs = 0;
    let ended = bed.client.leader_loop("job", Duration::from_secs(60), |_| {
        runs += 1;
        let (store, client, run) = (store.clone(), client.clone(), runs);
        async move {
            match run {
                1 => {}
                2 => delete(&store),
                _ => {
                    client.shutdown().await;
                    delete(&store);
                }
            }
        }
    });
    assert!(matches!(ended.await, Err(Error::ShutDown)));
    assert_eq!(runs, 3);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_outlives_the_body_keeps_nothing() {
    let bed = Bed::new();
    let lease = run(&bed.config(), NAME, |lease: crate::Lease| async move { lease }).await.unwrap();
    assert!(bed.is_free().await);
    assert!(lease.check().unwrap_err().is_lost());
    assert!(lease.ensure(Duration::ZERO).unwrap_err().is_lost());
    assert_eq!(lease.lost().await, LossReason::Released);
}

#[test]
fn a_client_outlives_the_runtime_it_began_on() {
    let client = Client::builder().memory(&MemoryStore::new()).build();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let config = Config::new().via(&client);
        runtime.block_on(async {
            let left = config.clone();
            tokio::spawn(async move { run(&left, Name::fixed("left-behind"), |_| pending::<()>()).await });
            run(&config, NAME, |_| async {}).await.unwrap();
            lead(&Config::new().via(&client), Name::fixed("led"), |_| async {}).await.unwrap();
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(client.shutdown());
}

/// Were it a loss, this process would end here.
#[tokio::test(start_paused = true)]
async fn an_orderly_shutdown_cancels_a_body_that_a_loss_would_abort() {
    let bed = Bed::new();
    let config = bed.config().on_lost_abort();
    let (ended, ()) = tokio::join!(run(&config, NAME, |_| pending::<()>()), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bed.client.shutdown().await;
    });
    let Err(Error::Lost { reason, .. }) = ended.map_err(Missed::into_error) else {
        unreachable!("the body never ends")
    };
    assert_eq!(reason, LossReason::ShutDown);
    assert_eq!(bed.store.names(), []);
}

#[tokio::test(start_paused = true)]
async fn s7_a_term_is_given_up_after_the_bodies_that_run_under_it() {
    let bed = Bed::new();
    let store = bed.store.clone();
    let config = bed.config().on_lost_signal();
    let body = lead(&config, NAME, move |lease| async move {
        let reason = lease.lost().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        (reason, is_held(&store))
    });
    let (ended, ()) = tokio::join!(body, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bed.client.shutdown().await;
    });
    assert_eq!(ended.unwrap(), (LossReason::ShutDown, true));
    assert!(!is_held(&bed.store), "resigned when the bodies had ended");
}

#[test]
fn abort_ends_the_process_even_when_the_body_blocks_its_thread() {
    const INSIDE: &str = "MSYNC_TEST_ABORTS";
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        return runtime.block_on(async {
            let bed = Bed::new();
            let store = bed.store.clone();
            let body = |_| async move {
                delete(&store);
                loop {
                    std::thread::park();
                }
            };
            let _: Result<(), _> = run(&bed.config().on_lost_abort(), NAME, body).await;
        });
    }
    let test = std::thread::current();
    let name = test.name().expect("libtest names the thread after the test");
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", name, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("on_lost = abort: the process ends"), "{said}");
}

/// A look at the clock is the greater part of what a macro adds to a guard: one before the body, one after it (promise S3).
#[tokio::test(start_paused = true)]
async fn an_undisturbed_body_costs_two_looks_at_the_clock() {
    let clock = Counting::default();
    let client = Client::builder().memory(&MemoryStore::new()).clock(clock.clone()).build();
    let looks = async || {
        tokio::time::sleep(Duration::from_secs(1)).await; // what follows the release
        clock.0.swap(0, Ordering::Relaxed)
    };
    let mut by_hand = 0;
    for _ in 0..2 {
        client.lock("job").unwrap().acquire().await.unwrap().release().await.unwrap();
        by_hand = looks().await;
    }
    run(&Config::new().via(&client), NAME, async |_| ()).await.unwrap();
    assert_eq!(looks().await, by_hand + 2);
}
