//! One process as its machine sees it: a clock that is off, and everything that keeps its tasks from running.
//!
//! All tasks share one runtime, so a process cannot be stopped as such. But whatever its tasks wait for passes through
//! here: timers, replies, watches, users. Nothing of that arrives while the machine is frozen, and nothing ever when it is
//! dead; what was due meanwhile comes all at once when it thaws.
#![allow(clippy::disallowed_methods, reason = "this is the file that may ask tokio for the time")]

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use msync::{
    clock::{Clock, Moment, Wall},
    unstable::record::EngineId,
};
use tokio::time::{Instant, sleep_until};

use crate::process::LocalClock;

/// The longest sleep of one timer; whoever needs more sleeps again.
const LONGEST_SLEEP: u64 = 86_400_000_000_000;

/// True time: that of the paused runtime, in nanoseconds since the episode began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrueTime(Instant);

/// One life of one process.
pub(crate) struct Machine {
    /// Its number, which outlives a restart.
    pub(crate) index: usize,
    /// How many times it was started.
    pub(crate) life: u64,
    /// The identity of its engine, once its client is made.
    pub(crate) engine: OnceLock<EngineId>,
    time: TrueTime,
    clock: Mutex<LocalClock>,
    frozen_until: AtomicU64,
    cut_until: AtomicU64,
    dead: AtomicBool,
}

/// The clock that the engine of a machine is given.
#[derive(Clone, Debug)]
pub(crate) struct LocalTime(pub(crate) Arc<Machine>);

// === impl TrueTime ===

impl TrueTime {
    /// Begins now.
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }

    /// Reads it.
    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Waits for a true time, whatever happens to any process.
    pub(crate) async fn sleep_until(self, at: u64) {
        let at = at.min(self.now().saturating_add(LONGEST_SLEEP));
        sleep_until(self.0 + Duration::from_nanos(at)).await;
    }

    /// Lets some true time pass.
    pub(crate) async fn sleep(self, span: u64) {
        self.sleep_until(self.now().saturating_add(span)).await;
    }
}

// === impl Machine ===

impl Machine {
    /// Starts a machine with a clock.
    pub(crate) fn new(index: usize, life: u64, time: TrueTime, clock: LocalClock) -> Self {
        let (frozen_until, cut_until) = (AtomicU64::new(0), AtomicU64::new(0));
        let (engine, clock, dead) = (OnceLock::new(), Mutex::new(clock), AtomicBool::new(false));
        Self { index, life, engine, time, clock, frozen_until, cut_until, dead }
    }

    /// Stops everything in it until a true time.
    pub(crate) fn freeze(&self, until: u64) {
        self.frozen_until.fetch_max(until, Ordering::Relaxed);
    }

    /// Lets no message in or out until a true time.
    pub(crate) fn cut(&self, until: u64) {
        self.cut_until.fetch_max(until, Ordering::Relaxed);
    }

    /// Ends this life: nothing in it ever happens again.
    pub(crate) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Moves the wall clock.
    pub(crate) fn jump(&self, millis: i64) {
        self.clock.lock().expect("never poisoned").jump(millis);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.time.now() < self.frozen_until.load(Ordering::Relaxed)
    }

    /// Says whether it has just thawed: its tasks are about to see what they missed.
    pub(crate) fn has_just_thawed(&self) -> bool {
        self.time.now() == self.frozen_until.load(Ordering::Relaxed)
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.time.now() < self.cut_until.load(Ordering::Relaxed)
    }

    /// Waits until its tasks may run.
    pub(crate) async fn awake(&self) {
        loop {
            if self.is_dead() {
                return std::future::pending().await;
            }
            let until = self.frozen_until.load(Ordering::Relaxed);
            if self.time.now() >= until {
                return;
            }
            self.time.sleep_until(until).await;
        }
    }

    /// Lets true time pass as a task of this machine sees it: no less, and no end of it while frozen.
    pub(crate) async fn sleep(&self, span: u64) {
        self.time.sleep(span).await;
        self.awake().await;
    }

    /// Returns how long a local duration takes in true time.
    pub(crate) fn true_span(&self, span: Duration) -> u64 {
        self.clock.lock().expect("never poisoned").true_span(span)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}/{}", self.index, self.life)
    }
}

// === impl LocalTime ===

impl Clock for LocalTime {
    fn now(&self) -> Moment {
        self.0.clock.lock().expect("never poisoned").local(self.0.time.now())
    }

    fn wall(&self) -> Wall {
        self.0.clock.lock().expect("never poisoned").read(self.0.time.now()).wall
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        let local = self.clone();
        Box::pin(async move {
            loop {
                local.0.awake().await;
                if local.now() >= at {
                    return;
                }
                let due = local.0.clock.lock().expect("never poisoned").true_time(at);
                local.0.time.sleep_until(due).await;
            }
        })
    }
}
