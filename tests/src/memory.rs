//! Clients on the memory store in paused time, and a clock that can be suspended: what the promise tests share.
#![allow(clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use futures::future::BoxFuture;
use msync::{
    Client, ClientBuilder, LockName, MemoryStore, Timing,
    clock::{Clock, Moment, TokioClock, Wall},
    unstable::{record::Record, store::Store},
};
use tokio::{task::JoinHandle, time::sleep};

/// The ttl of a client of [`client`]: the default.
pub const TTL: Duration = Duration::from_secs(15);

/// The deadline that a confirmed write of the default timing gives: ttl less margin.
pub const DEADLINE: Duration = Duration::from_millis(13_500);

/// The longest sleep of a [`SuspendClock`] between two looks, as that of the clock of production.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Makes a client of a store, with a clock that follows tokio's and random numbers that repeat.
pub fn client(store: &MemoryStore, owner: &str) -> Client {
    builder(owner, TokioClock::default()).memory(store).build()
}

/// Makes a client of any store.
pub fn client_of(store: impl Store, owner: &str) -> Client {
    builder(owner, TokioClock::default()).store(Arc::new(store)).build()
}

/// Begins a client whose random numbers repeat from run to run.
pub fn builder(owner: &str, clock: impl Clock) -> ClientBuilder {
    Client::builder().owner(owner).clock(clock).random(random_of(owner))
}

/// Makes a repeatable source of random numbers, another one for every text: `SplitMix64`.
pub fn random_of(seed: &str) -> impl Fn() -> u64 + Send + Sync + 'static {
    let start = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let state = AtomicU64::new(start);
    move || {
        let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Makes a timing of a ttl in seconds.
pub fn ttl(seconds: u64) -> Timing {
    Timing::with_ttl(Duration::from_secs(seconds)).expect("tests use safe timings")
}

/// Makes a name.
pub fn name(text: &str) -> LockName {
    LockName::new(text).expect("tests use valid names")
}

/// Returns a lock's record, if there is one.
pub fn record(store: &MemoryStore, lock: &str) -> Option<Record> {
    store.snapshot(&name(lock)).map(|snapshot| snapshot.record)
}

/// Returns how many wait in a lock's queue.
pub fn queue(store: &MemoryStore, lock: &str) -> usize {
    record(store, lock).map_or(0, |record| record.waiters.len())
}

/// Says whether nobody has a lock and nobody waits for it.
pub fn is_untouched(store: &MemoryStore, lock: &str) -> bool {
    record(store, lock).is_none_or(|record| record.is_free() && record.waiters.is_empty())
}

/// Waits, in paused time, until a condition holds; panics after 200 seconds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..200_000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("never: {what}");
}

/// Lets paused time pass.
pub async fn pass(duration: Duration) {
    sleep(duration).await;
}

/// Awaits a future no longer than a time that it must not need.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"))
}

/// Starts a task that acquires a lock and returns its guard.
pub fn waiter(client: &Client, lock: &str) -> JoinHandle<msync::LockGuard> {
    let lock = client.lock(lock).expect("tests use valid names");
    tokio::spawn(async move { lock.acquire().await.expect("acquired in the end") })
}

/// Polls a future once, and no more; nobody is woken for it.
pub fn touch<T>(future: &mut BoxFuture<'_, T>) {
    let polled = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "it waits");
}

/// Runs a future until every other task has had so many turns, then drops it wherever it is. Returns its output if it
/// ended before. No time passes: this is for what happens between two instants.
pub async fn drop_after<F: Future>(turns: usize, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = yields(turns) => None,
    }
}

/// Gives every other task so many turns.
pub async fn yields(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

/// A clock of a machine that can be suspended: the clock goes on, tokio's timers stand still.
#[derive(Clone, Debug, Default)]
pub struct SuspendClock {
    awake: TokioClock,
    /// Nanoseconds spent in suspend.
    asleep: Arc<AtomicU64>,
}

// === impl SuspendClock ===

impl SuspendClock {
    /// Suspends the machine: the clock has moved by `duration`, and no timer knows.
    pub fn suspend(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).expect("tests suspend for less than centuries");
        self.asleep.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for SuspendClock {
    fn now(&self) -> Moment {
        self.awake.now() + Duration::from_nanos(self.asleep.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Wall {
        self.awake.wall() + Duration::from_nanos(self.asleep.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                sleep(left.clamp(Duration::from_micros(1), LONGEST_SLEEP)).await;
            }
        })
    }
}
