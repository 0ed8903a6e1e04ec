//! Outages and slowness of a [`MemoryStore`], on demand.
//!
//! Both go by the clock of whoever orders them: tokio's where it is paused, else the real one.

use std::{sync::Arc, time::Duration};

use tokio::task::yield_now;

use super::{MemoryStore, State};
use crate::{
    clock::{self, Clock},
    runtime,
    store::{Fault, told},
};

/// What requests meet in an outage.
const DOWN: &str = "the store cannot be reached, as the test has ordered";

/// What was ordered.
#[derive(Default)]
pub(super) struct Trouble {
    /// How many outages go on.
    outages: usize,
    /// How long each request takes, on which clock.
    delay: Option<(Arc<dyn Clock>, Duration)>,
    /// How many clients were made, so that no two are the same.
    #[cfg(feature = "testing")]
    pub(super) clients: u64,
}

// === impl MemoryStore: trouble ===

/// With the feature `testing`; see [`testing`](crate::testing).
impl MemoryStore {
    /// Takes the store away for that time, from now on: every request fails as if its connection was broken, and no watch
    /// shows anything. Returns at once.
    ///
    /// Holders go on until their deadline, and then say [`LossReason::Deadline`](crate::LossReason::Deadline). Who waits
    /// goes on waiting; [`acquire_timeout`](crate::Lock::acquire_timeout) ends with
    /// [`Error::Unavailable`](crate::Error::Unavailable) if it has seen no holder.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// let store = msync::MemoryStore::new();
    /// let lock = store.client("web").lock("job")?;
    /// let start = Instant::now();
    /// store.outage(Duration::from_millis(50));
    /// let _guard = lock.acquire().await?; // waits until it is over
    /// assert!(start.elapsed() >= Duration::from_millis(50));
    /// # Ok(()) }
    /// ```
    pub fn outage(&self, duration: Duration) {
        let clock = clock::of_caller();
        let over = clock.sleep_until(clock.now() + duration);
        self.state().trouble.outages += 1;
        let store = self.clone();
        runtime::spawn(clock.home(), async move {
            over.await;
            let mut state = store.state();
            state.trouble.outages -= 1;
            if !state.trouble.is_down() {
                state.relist();
            }
        });
    }

    /// Lets each request take that long from now on, before the store does anything; zero ends that. What takes
    /// longer than a third of a ttl costs renewals their effect.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// let store = msync::MemoryStore::new();
    /// store.slow(Duration::from_millis(50));
    /// let start = Instant::now();
    /// let _guard = store.client("web").lock("job")?.acquire().await?;
    /// assert!(start.elapsed() >= Duration::from_millis(50));
    /// # Ok(()) }
    /// ```
    pub fn slow(&self, duration: Duration) {
        let delay = (!duration.is_zero()).then(|| (clock::of_caller(), duration));
        self.state().trouble.delay = delay;
    }

    /// Runs one request as the orders want it.
    pub(super) async fn in_trouble<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Fault>) -> Result<T, Fault> {
        let delay = self.state().trouble.delay.clone();
        if let Some((clock, whole)) = delay {
            clock.sleep_until(clock.now() + whole).await;
        }
        let answer = {
            let mut state = self.state();
            if state.is_down() { Err(Fault::Unknown(told(DOWN.to_owned()))) } else { act(&mut state) }
        };
        yield_now().await;
        answer
    }
}

// === impl Trouble ===

impl Trouble {
    pub(super) fn is_down(&self) -> bool {
        self.outages > 0
    }
}

// === impl State: trouble ===

impl State {
    pub(super) fn is_troubled(&self) -> bool {
        self.is_down() || self.trouble.delay.is_some()
    }

    /// Shows every watch all that there is, as after an error.
    pub(super) fn relist(&self) {
        for watcher in &self.watchers {
            let _ = watcher.queue.unbounded_send(Ok(self.listed(&watcher.scope)));
        }
    }
}
