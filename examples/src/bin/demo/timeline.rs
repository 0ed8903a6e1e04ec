//! The timeline: prints what happens as it happens, and keeps it for the checks at the end.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// One hold, as its pod believed in it.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) lock: String,
    pub(crate) pod: String,
    pub(crate) token: u64,
    pub(crate) from: Duration,
    /// When the pod stopped believing; open while it believes.
    pub(crate) to: Option<Duration>,
}

/// Shared by all pods.
#[derive(Clone)]
pub(crate) struct Timeline {
    start: Instant,
    holds: Arc<Mutex<Vec<Hold>>>,
}

// === impl Timeline ===

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), holds: Arc::default() }
    }

    /// Returns the time since the demo began.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns how long ago a time of the demo was.
    pub(crate) fn since(&self, earlier: Duration) -> Duration {
        self.now().saturating_sub(earlier)
    }

    pub(crate) fn act(title: &str) {
        println!("\n{title}\n");
    }

    pub(crate) fn say(&self, pod: &str, what: &str) {
        println!("{:>8.3} s  {pod:<6} {what}", self.now().as_secs_f64());
    }

    /// Notes that a pod has a lock, and returns the number of the hold.
    pub(crate) fn acquired(&self, lock: &str, pod: &str, token: u64, what: &str) -> usize {
        let hold = Hold { lock: lock.into(), pod: pod.into(), token, from: self.now(), to: None };
        self.say(pod, &format!("{what}  (token {token})"));
        let mut holds = self.holds();
        holds.push(hold);
        holds.len() - 1
    }

    /// Notes that a pod stopped believing, at a time that may lie ahead.
    pub(crate) fn ended(&self, hold: usize, at: Duration) {
        self.holds()[hold].to.get_or_insert(at);
    }

    /// Notes that a pod is gone, with all that it believed.
    pub(crate) fn died(&self, pod: &str) {
        let at = self.now();
        for hold in self.holds().iter_mut().filter(|hold| hold.pod == pod) {
            hold.to.get_or_insert(at);
        }
    }

    pub(crate) fn finished(&self) -> Vec<Hold> {
        self.holds().clone()
    }

    fn holds(&self) -> MutexGuard<'_, Vec<Hold>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
