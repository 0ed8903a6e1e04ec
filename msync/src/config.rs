//! Timing of a lock: valid by construction, because an unsafe timing is two holders waiting to happen.

use std::time::Duration;

use crate::Error;

/// How long a hold lives, and how it is kept alive. Every combination that would be unsafe is refused; what is not a whole
/// number of milliseconds is rounded to the nearest.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// use msync::Timing;
///
/// let timing = Timing::with_ttl(Duration::from_secs(10))?;
/// assert_eq!(timing.renew_interval(), Duration::from_millis(3333));
/// assert_eq!(timing.safety_margin(), Duration::from_secs(1));
///
/// let eager = timing.renew_every(Duration::from_secs(10) / 7)?;
/// assert_eq!(eager.renew_interval(), Duration::from_millis(1429));
/// assert!(eager.renew_every(Duration::MAX).is_err(), "no time would be left");
/// # Ok::<(), msync::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timing {
    ttl: Duration,
    renew: Duration,
    margin: Duration,
    attempt: Duration,
}

/// The shortest ttl. Below it a hiccup of the API server costs every lock.
pub(crate) const MIN_TTL: Duration = Duration::from_secs(1);
/// The longest ttl. Above it a crash blocks everybody for longer than anybody would wait.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(24 * 3600);
/// The longest that one API call may take. A lost answer is not worth more patience, however long the ttl.
pub(crate) const MAX_ATTEMPT: Duration = Duration::from_secs(10);
/// How long a granted claim that is not instant may take to be accepted before others may claim.
pub(crate) const ACCEPT_TIMEOUT: Duration = Duration::from_secs(2);

// === impl Timing ===

impl Default for Timing {
    /// A ttl of 15 seconds.
    fn default() -> Self {
        Self::derived(Duration::from_secs(15))
    }
}

impl Timing {
    /// Derives a timing from its ttl: renewed every third of it, a margin of a tenth, a sixth for each API call, but no more
    /// than ten seconds.
    ///
    /// # Errors
    /// [`Error::InvalidTiming`] when the ttl is shorter than a second or longer than a day.
    pub fn with_ttl(ttl: Duration) -> Result<Self, Error> {
        Self::derived(ttl).validated()
    }

    /// Sets how long after one renewal the next is sent.
    ///
    /// # Errors
    /// [`Error::InvalidTiming`] when `renew + attempt` would not end before the deadline at `ttl - margin`.
    pub fn renew_every(self, renew: Duration) -> Result<Self, Error> {
        Self { renew: whole(renew), ..self }.validated()
    }

    /// Sets how much earlier than its ttl a holder stops believing: what clock rates, pauses between checks and the
    /// end of the body may use up.
    ///
    /// # Errors
    /// [`Error::InvalidTiming`] when it is less than 2 % of the ttl (two clocks, each 1 % off) or leaves no time to renew.
    pub fn margin(self, margin: Duration) -> Result<Self, Error> {
        Self { margin: whole(margin), ..self }.validated()
    }

    /// Sets the longest that one API call may take before its answer counts as unknown.
    ///
    /// Where calls always take longer, an acquisition may never succeed. The time counts from the send; a call may have to
    /// wait for as long before it is sent.
    ///
    /// # Errors
    /// [`Error::InvalidTiming`] when it is zero, longer than ten seconds, or leaves no time to renew: an answer that was
    /// lost is waited for in vain, and whoever waits for the lock waits as well.
    pub fn attempt(self, attempt: Duration) -> Result<Self, Error> {
        Self { attempt: whole(attempt), ..self }.validated()
    }

    /// Returns how long others must see no change before they may take over.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Returns how long after one renewal the next is sent; see [`renew_every`](Self::renew_every).
    pub fn renew_interval(&self) -> Duration {
        self.renew
    }

    /// Returns how much earlier than its ttl a holder stops believing; see [`margin`](Self::margin).
    pub fn safety_margin(&self) -> Duration {
        self.margin
    }

    /// Returns how long one API call may take; see [`attempt`](Self::attempt).
    pub fn attempt_timeout(&self) -> Duration {
        self.attempt
    }

    fn derived(ttl: Duration) -> Self {
        let ttl = whole(ttl);
        let part = |n: u64| Duration::from_millis(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX) / n);
        Self { ttl, renew: part(3), margin: part(10), attempt: part(6).min(MAX_ATTEMPT) }
    }

    fn validated(self) -> Result<Self, Error> {
        match self.fault() {
            None => Ok(self),
            Some(reason) => Err(Error::InvalidTiming { reason }),
        }
    }

    fn fault(&self) -> Option<&'static str> {
        if self.ttl < MIN_TTL {
            return Some("the ttl is shorter than one second");
        }
        if self.ttl > MAX_TTL {
            return Some("the ttl is longer than one day");
        }
        if self.margin < self.ttl / 50 {
            return Some("the margin is less than 2 % of the ttl");
        }
        if self.renew.is_zero() || self.attempt.is_zero() {
            return Some("the renewal interval and the attempt time-out must not be zero");
        }
        if self.attempt > MAX_ATTEMPT {
            return Some("the attempt time-out is longer than ten seconds");
        }
        if self.renew.saturating_add(self.attempt).saturating_add(self.margin) >= self.ttl {
            return Some(
                "renewal interval, attempt time-out and margin together leave no time to renew before the ttl",
            );
        }
        None
    }
}

/// Rounds to whole milliseconds, which is what a record holds; what is too long for them is far beyond any limit here.
fn whole(duration: Duration) -> Duration {
    let millis = duration.as_nanos().saturating_add(500_000) / 1_000_000;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn bug_46_unsafe_timings_are_refused() {
        for ttl in [Duration::ZERO, ms(999), MAX_TTL + ms(1), Duration::MAX] {
            assert!(matches!(Timing::with_ttl(ttl), Err(Error::InvalidTiming { .. })), "{ttl:?}");
        }
        let base = Timing::default();
        assert!(base.margin(ms(299)).is_err(), "less than 2 %");
        assert!(base.margin(ms(300)).is_ok());
        assert!(base.renew_every(ms(11_000)).is_err(), "no time to renew");
        assert!(base.renew_every(Duration::ZERO).is_err());
        assert!(base.attempt(Duration::ZERO).is_err());
        assert!(base.attempt(ms(8_500)).is_err());
    }

    #[test]
    fn no_call_may_take_more_than_ten_seconds_whatever_the_ttl() {
        for ttl in [60, 61, 3600, 24 * 3600].map(Duration::from_secs) {
            let timing = Timing::with_ttl(ttl).unwrap();
            assert_eq!(timing.attempt, MAX_ATTEMPT);
            assert!(timing.attempt(MAX_ATTEMPT).is_ok() && timing.attempt(MAX_ATTEMPT + ms(1)).is_err(), "{ttl:?}");
        }
    }

    #[test]
    fn the_default_follows_its_ttl() {
        let timing = Timing::default();
        assert_eq!((timing.ttl, timing.renew), (ms(15_000), ms(5_000)));
        assert_eq!((timing.margin, timing.attempt), (ms(1_500), ms(2_500)));
        assert!(Timing::with_ttl(MIN_TTL).is_ok() && Timing::with_ttl(MAX_TTL).is_ok());
    }

    #[test]
    fn odd_fractions_are_rounded_to_whole_milliseconds() {
        let third = Duration::from_secs(10) / 3;
        let timing = Timing::with_ttl(third).unwrap();
        assert_eq!(timing, Timing::with_ttl(ms(3333)).unwrap());
        let base = Timing::default();
        assert_eq!(base.renew_every(third).unwrap(), base.renew_every(ms(3333)).unwrap());
        assert_eq!(base.margin(Duration::from_secs(2) / 3).unwrap(), base.margin(ms(667)).unwrap());
        assert_eq!(base.attempt(Duration::from_secs(1) / 3).unwrap(), base.attempt(ms(333)).unwrap());
        assert!(base.attempt(Duration::from_nanos(499_999)).is_err(), "rounded to zero");
        assert!(Timing::with_ttl(Duration::from_nanos(999_499_999)).is_err(), "rounded to 999 ms");
    }
}
