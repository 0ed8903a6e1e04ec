//! With the real clock nothing depends on a user's runtime: it may end, stand still, be blocked, or not be there at all.

use std::{
    pin::pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use futures::StreamExt;
use msync::{Client, Error, LockGuard, LossReason, MemoryStore, leader_only, locked};
use tests::{
    faulty::{Fate, Faulty},
    memory::{queue, ttl, until, within},
};
use tokio::runtime::{Builder, Runtime};

/// Far more than anything here takes; a wait that nobody ends would be endless.
const LIMIT: Duration = Duration::from_secs(10);

fn client(store: &MemoryStore, owner: &str, seconds: u64) -> Client {
    Client::builder().owner(owner).timing(ttl(seconds)).memory(store).build()
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn two_workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Wakes the thread that runs one future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread, with nothing else: the least of executors.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Acquires in the background.
fn waits(client: &Client, lock: &str) -> tokio::task::JoinHandle<Result<LockGuard, Error>> {
    let lock = client.lock(lock).unwrap();
    tokio::spawn(async move { lock.acquire().await })
}

#[test]
fn a_first_runtime_that_is_not_driven_stops_nobody() {
    let store = MemoryStore::new();
    let a = client(&store, "a", 60);
    let idle = current_thread();
    idle.block_on(async { drop(a.lock("x").unwrap().acquire().await.unwrap()) });
    current_thread().block_on(async {
        let other = client(&store, "b", 60);
        drop(within(LIMIT, "another client", other.lock("x").unwrap().acquire()).await.unwrap());
        drop(within(LIMIT, "the same client", a.lock("x").unwrap().acquire()).await.unwrap());
    });
}

#[test]
fn a_runtime_that_ends_takes_nothing_from_others() {
    let store = MemoryStore::new();
    let a = client(&store, "a", 60);
    let first = current_thread();
    let guard = first.block_on(a.lock("x").unwrap().acquire()).unwrap();
    current_thread().block_on(async {
        let waiting = waits(&a, "x");
        tokio::task::yield_now().await;
        thread::spawn(move || drop(first)).join().unwrap();
        guard.check().expect("the guard's runtime has ended, not its hold");
        guard.release().await.expect("released on another runtime");
        let held = within(LIMIT, "handed over", waiting).await.unwrap().expect("whoever waited still waits");
        held.check().unwrap();
    });
}

#[test]
fn an_inbox_outlives_the_runtime_it_was_opened_on() {
    let store = MemoryStore::new();
    let [h, w, mine] = ["h", "w", "mine"].map(|owner| client(&store, owner, 60));
    let first = current_thread();
    first.block_on(async { mine.lock("other").unwrap().acquire().await.unwrap().release().await.unwrap() });
    current_thread().block_on(async {
        let guard = h.lock("x").unwrap().acquire().await.unwrap();
        let before = [waits(&w, "x"), waits(&w, "x")];
        until("one engine waits", || queue(&store, "x") == 1).await;
        let last = waits(&mine, "x");
        until("two engines wait", || queue(&store, "x") == 2).await;
        thread::spawn(move || drop(first)).join().unwrap();
        drop(guard);
        for waiting in before {
            drop(within(LIMIT, "had it before", waiting).await.unwrap().unwrap());
        }
        drop(within(LIMIT, "granted by the inbox", last).await.unwrap().unwrap());
    });
}

/// Both workers compute for more than two ttls: a body holds one lock, a variable another, and nobody renews for them here.
#[test]
fn workers_that_are_blocked_for_two_ttls_lose_nothing() {
    let store = MemoryStore::new();
    let (runtime, a) = (two_workers(), client(&store, "a", 2));
    let kept = runtime.block_on(a.lock("kept").unwrap().acquire()).unwrap();
    let computes = |name: &str| {
        let lock = a.lock(name).unwrap();
        runtime.spawn(async move {
            lock.run(async |guard: &LockGuard| {
                thread::sleep(Duration::from_millis(4_500));
                guard.check()
            })
            .await
        })
    };
    for computed in [computes("one"), computes("two")] {
        runtime.block_on(computed).unwrap().expect("the body's hold").expect("its check at its end");
    }
    kept.check().expect("what no body holds");
}

#[test]
fn a_body_that_blocks_beyond_max_hold_has_lost() {
    let store = MemoryStore::new();
    let a = client(&store, "a", 1);
    let lock = a.lock("x").unwrap().max_hold(Duration::from_millis(300));
    let ran = current_thread().block_on(lock.run(async |_| thread::sleep(Duration::from_millis(400))));
    assert!(matches!(ran, Err(Error::Lost { reason: LossReason::MaxHold, .. })), "{ran:?}");
}

#[locked("annotated", via = client)]
async fn annotated(client: &Client) -> Result<u32, Error> {
    Ok(1)
}

#[leader_only("led", via = client, on_follower = wait)]
async fn led(client: &Client) -> Result<u32, Error> {
    Ok(2)
}

#[test]
fn nothing_needs_a_runtime() {
    let store = MemoryStore::new();
    let a = client(&store, "a", 2);
    let lock = a.lock("x").unwrap();
    block_on(async {
        lock.acquire().await.unwrap().release().await.unwrap();
        lock.acquire_timeout(LIMIT).await.unwrap().release().await.unwrap();
        let guard = lock.try_acquire().await.unwrap().expect("free");
        let (token, lost) = (guard.cancellation_token(), guard.lost());
        let timed_out = lock.acquire_timeout(Duration::from_millis(50)).await;
        assert!(matches!(timed_out, Err(Error::Timeout { .. })), "{timed_out:?}");
        store.delete(lock.name());
        assert_eq!(lost.await, LossReason::Deleted);
        token.cancelled().await;
        drop(guard);
        assert_eq!(lock.run(async |_| 3).await.unwrap(), 3);
        let term = a.election("e").unwrap().campaign().await.unwrap();
        let leader = pin!(a.election("e").unwrap().observe()).next().await;
        assert_eq!(leader.flatten().expect("somebody leads").owner(), "a");
        term.resign().await.unwrap();
        assert_eq!((annotated(&a).await.unwrap(), led(&a).await.unwrap()), (1, 2));
        a.shutdown().await;
    });
}

/// Real time does not wait for tokio's: what the test waits for takes as long as it takes, and the test's own timers are
/// no measure of it.
#[tokio::test(start_paused = true)]
async fn in_paused_time_the_real_clock_goes_on() {
    let a = client(&MemoryStore::new(), "a", 60);
    let _guard = a.lock("x").unwrap().acquire().await.unwrap();
    let start = Instant::now();
    let timed_out = a.lock("x").unwrap().acquire_timeout(Duration::from_millis(200)).await;
    assert!(matches!(timed_out, Err(Error::Timeout { .. })), "{timed_out:?}");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn the_last_handle_waits_until_what_was_dropped_is_released() {
    for runtime in [Some(two_workers()), Some(current_thread()), None] {
        let store = MemoryStore::new();
        let a = client(&store, "a", 60);
        let main = async {
            let a = a;
            let lock = a.lock("x").unwrap();
            drop(lock.acquire().await.unwrap());
            a.lock("y").unwrap().run(async |_| ()).await.unwrap();
            let _guard = lock.acquire().await.unwrap();
        };
        match &runtime {
            Some(runtime) => runtime.block_on(main),
            None => block_on(main),
        }
        assert_eq!(store.names(), [], "{runtime:?}");
    }
}

#[test]
fn the_last_handle_waits_no_longer_than_two_seconds() {
    let store = Faulty::new(MemoryStore::new());
    let a = Client::builder().store(Arc::new(store.clone())).build();
    let guard = block_on(a.lock("x").unwrap().acquire()).unwrap();
    store.every(Fate::Hang);
    drop(guard);
    let start = Instant::now();
    drop(a);
    let took = start.elapsed();
    assert!((Duration::from_millis(1_900)..LIMIT).contains(&took), "{took:?}");
}

/// A handle that is not the last waits for nothing.
#[test]
fn only_the_last_handle_waits() {
    let store = Faulty::new(MemoryStore::new());
    let a = Client::builder().store(Arc::new(store.clone())).build();
    let lock = a.lock("x").unwrap();
    drop(block_on(lock.acquire()).unwrap());
    store.every(Fate::Hang);
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        drop(a);
        ended.send(()).unwrap();
    });
    end.recv_timeout(Duration::from_secs(1)).expect("at once: the lock is a handle, too");
    store.heal();
    drop(lock);
}
