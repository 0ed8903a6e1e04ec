//! How long a lock is kept for a client, and whether a beat may be answered with 200. Pure.
//!
//! The rule is the original's (contract, sections 1 and 2): a lease lasts 30 s, and a beat prolongs it once less than
//! half is left; earlier beats change nothing that a client could see. A client that names its own time is given it anew
//! by every beat that does.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Moment, shifted};

/// What a client is granted that asks for nothing else.
pub const TTL: Duration = Duration::from_secs(30);
/// A client that is told 200 must not lose its lock before its next beat, 10 s later at most, has told it so.
pub const SAFE: Duration = Duration::from_secs(12);

/// A client's claim on the lock that the sidecar holds for it.
#[derive(Debug, Clone)]
pub struct Lease {
    ttl: Duration,
    ends: Duration,
    expiry: Timestamp,
    version: String,
}

/// What a beat finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The hold lasts long enough to say 200.
    Good,
    /// The hold must be renewed first.
    Stale,
    /// There is no hold any more.
    Lost,
}

impl Beat {
    /// Judges by what remains of our own deadline.
    pub fn judge(remaining: Duration) -> Self {
        match remaining {
            Duration::ZERO => Self::Lost,
            remaining if remaining < SAFE => Self::Stale,
            _ => Self::Good,
        }
    }
}

impl Lease {
    /// A lease that begins now, on a record of this version.
    pub fn begin(now: Moment, ttl: Duration, version: String) -> Self {
        Self { ttl, ends: now.since_boot + ttl, expiry: shifted(now.wall, ttl), version }
    }

    /// A client's beat: prolongs the lease when it is due or asked for, and only then asks for the record's version.
    pub fn beat(&mut self, now: Moment, ttl: Option<Duration>, version: impl FnOnce() -> String) {
        if ttl.is_some() || self.is_due(now) {
            *self = Self::begin(now, ttl.unwrap_or(self.ttl), version());
        }
    }

    /// How long the client may be silent.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The next beat prolongs it.
    pub fn is_due(&self, now: Moment) -> bool {
        self.left(now) < self.ttl / 2
    }

    /// How long it lasts unless a beat prolongs it.
    pub fn left(&self, now: Moment) -> Duration {
        self.ends.saturating_sub(now.since_boot)
    }

    /// The client has not beaten in time.
    pub fn is_over(&self, now: Moment) -> bool {
        self.left(now).is_zero()
    }

    /// The version of the record when the lease began or was last prolonged.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The expiry to show: never past our own deadline, of which `remaining` is left.
    pub fn expiry(&self, now: Moment, remaining: Duration) -> Timestamp {
        if remaining.is_zero() {
            return self.expiry.min(now.wall);
        }
        self.expiry.min(shifted(now.wall, remaining))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn start() -> Moment {
        Moment { since_boot: secs(1000), wall: "2026-11-22T14:00:00Z".parse().unwrap() }
    }

    fn lease() -> Lease {
        Lease::begin(start(), TTL, "0".into())
    }

    #[test]
    fn a_beat_prolongs_only_in_the_second_half() {
        for (at, left, version) in
            [(0, 30, "0"), (1, 29, "0"), (13, 17, "0"), (15, 15, "0"), (16, 30, "1"), (29, 30, "1"), (33, 30, "1")]
        {
            let (now, mut lease) = (start().after(secs(at)), lease());
            lease.beat(now, None, || "1".into());
            assert_eq!((lease.left(now), lease.version()), (secs(left), version), "{at}");
        }
    }

    #[test]
    fn a_client_that_names_its_time_is_given_it_anew() {
        let (now, mut lease) = (start().after(secs(1)), lease());
        lease.beat(now, Some(secs(300)), || "1".into());
        assert_eq!((lease.left(now), lease.version()), (secs(300), "1"));
        let later = now.after(secs(140));
        lease.beat(later, None, || "2".into());
        assert_eq!((lease.left(later), lease.version()), (secs(160), "1"), "more than half is left");
        lease.beat(later, Some(secs(5)), || "2".into());
        assert_eq!((lease.left(later), lease.ttl()), (secs(5), secs(5)), "less is given, too");
    }

    #[test]
    fn a_client_that_beats_every_ten_seconds_never_loses_its_lease() {
        let mut lease = lease();
        for at in (10..600).step_by(10) {
            let now = start().after(secs(at));
            assert!(!lease.is_over(now), "{at}");
            lease.beat(now, None, || at.to_string());
        }
    }

    #[test]
    fn the_lease_ends_at_the_expiry_that_was_shown() {
        let lease = lease();
        assert_eq!(lease.expiry(start(), secs(60)), start().after(TTL).wall);
        assert!(!lease.is_over(start().after(Duration::from_nanos(29_999_999_999))));
        assert!(lease.is_over(start().after(secs(30))));
    }

    #[test]
    fn the_expiry_shown_is_never_past_our_own_deadline() {
        let now = start().after(secs(5));
        assert_eq!(lease().expiry(now, secs(7)), now.after(secs(7)).wall);
        assert_eq!(lease().expiry(now, secs(25)), start().after(TTL).wall);
        assert_eq!(lease().expiry(now, Duration::ZERO), now.wall);
        assert_eq!(lease().expiry(start().after(secs(40)), Duration::ZERO), start().after(TTL).wall);
    }

    #[test]
    fn a_wall_clock_that_jumps_ends_no_lease() {
        let now = start().after(secs(5));
        let jumped = Moment { wall: now.wall + secs(36_000), ..now };
        assert!(!lease().is_over(jumped));
        assert_eq!(lease().left(jumped), secs(25));
    }

    #[test]
    fn two_hundred_needs_twelve_seconds_of_our_deadline() {
        assert_eq!(Beat::judge(secs(12)), Beat::Good);
        assert_eq!(Beat::judge(Duration::from_nanos(11_999_999_999)), Beat::Stale);
        assert_eq!(Beat::judge(Duration::ZERO), Beat::Lost);
    }
}
