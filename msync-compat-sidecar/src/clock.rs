//! The sidecar's two clocks: one that does not stop in suspend, for every decision, and the wall, for dates.
//!
//! This file alone asks for the time; everything else is handed a [`Moment`], so that its tests choose it.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// One instant on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time since boot, suspend included. Decisions compare only this.
    pub since_boot: Duration,
    /// The wall clock, for the dates in answers. It may jump.
    pub wall: Timestamp,
}

impl Moment {
    /// The present.
    pub fn now() -> Self {
        Self { since_boot: since_boot(), wall: wall() }
    }

    /// The moment `later` after this one, on both clocks.
    #[must_use]
    pub fn after(self, later: Duration) -> Self {
        Self { since_boot: self.since_boot + later, wall: shifted(self.wall, later) }
    }
}

/// A date `later` after `wall`; the end of time when there is none.
pub fn shifted(wall: Timestamp, later: Duration) -> Timestamp {
    wall.checked_add(later).unwrap_or(Timestamp::MAX)
}

/// The date on the wall.
pub(crate) fn wall() -> Timestamp {
    Timestamp::now()
}

fn since_boot() -> Duration {
    let time = clock_gettime(CLOCK);
    // Both parts are non-negative on every kernel; zero is the safe reading of nonsense.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const CLOCK: ClockId = ClockId::Monotonic;
