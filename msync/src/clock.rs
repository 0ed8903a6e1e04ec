//! Time, the only place that asks for it.
//!
//! All safety rests on [`Clock::now`], a local clock that does not stop in suspend; the wall clock serves the eyes of
//! people. Timers only wake: whoever is woken compares `now` with its deadline again.
#![allow(clippy::disallowed_methods, reason = "this is the file that may ask for the time")]

use std::{
    fmt,
    ops::{Add, Sub},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;

use crate::runtime;
pub use crate::runtime::Home;

/// A point on one process's local clock, in nanoseconds since an arbitrary start. Never compared between processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment(u64);

/// A date of the wall clock, in milliseconds since 1970. For people, and for one hint of `try_acquire`; never for safety.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wall(i64);

/// Both clocks, read together: what every step of the protocol is handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Now {
    /// The local clock.
    pub local: Moment,
    /// The wall clock.
    pub wall: Wall,
}

/// A source of time. Production uses [`BootClock`]; tests inject their own.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Reads the local clock, which never goes back and never stops.
    fn now(&self) -> Moment;

    /// Reads the wall clock, which may do both.
    fn wall(&self) -> Wall;

    /// Wakes at about `at` on the local clock. May wake late: compare again.
    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()>;

    /// Says where clients with this clock live. Real time goes on by itself; a test's belongs to the runtime that moves it.
    fn home(&self) -> Home {
        Home::Caller
    }

    /// Reads both clocks.
    fn read(&self) -> Now {
        Now { local: self.now(), wall: self.wall() }
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Moment {
        (**self).now()
    }

    fn wall(&self) -> Wall {
        (**self).wall()
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        (**self).sleep_until(at)
    }

    fn home(&self) -> Home {
        (**self).home()
    }
}

/// A source of random numbers for nonces and jitter.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Returns the operating system's generator.
pub(crate) fn os_random() -> Random {
    Arc::new(|| getrandom::u64().expect("the operating system gives random numbers"))
}

/// Says whether whoever calls this runs where tokio's clock is paused, as tests pause it: it stands still while true time
/// moves.
pub(crate) fn is_paused() -> bool {
    if tokio::runtime::Handle::try_current().is_err() {
        return false;
    }
    let (tokios, true_one) = (tokio::time::Instant::now(), std::time::Instant::now());
    while std::time::Instant::now() == true_one {
        std::hint::spin_loop();
    }
    tokio::time::Instant::now() == tokios
}

/// Returns the clock that goes with the caller's time: tokio's where that is paused, else the real one.
pub(crate) fn of_caller() -> Arc<dyn Clock> {
    if is_paused() { Arc::new(TokioClock::default()) } else { Arc::new(BootClock) }
}

// === impl Moment ===

impl Moment {
    /// Makes a moment from nanoseconds since the start of the clock.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns nanoseconds since the start of the clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the moment so long before this one, or the start of the clock.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Returns the time from `earlier` to this moment, zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos(by)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    /// Saturates at the clock's start: an anchor before it is as good as the start.
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(by)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

// === impl Wall ===

impl Wall {
    /// The latest date that is read back as it was written: 9999-01-01.
    pub const LATEST: Self = Self(253_370_764_800_000);

    /// Makes a date from milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Returns milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns the time from `earlier` to this date, zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses an RFC 3339 date; `None` for whatever is unreadable or beyond the calendar.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }
}

impl Add<Duration> for Wall {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Wall {
    /// RFC 3339 in UTC with milliseconds, as the original Metaparticle/Sync wrote it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(date) => write!(f, "{date:.3}"),
            Err(_) => f.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

/// The clock of production: `CLOCK_BOOTTIME`, which goes on in suspend; `std`'s monotonic clock where there is none.
///
/// It needs no runtime, and none stops it: where a test pauses tokio's time, this clock goes on, and so does all that
/// waits by it. Tests that pause time inject a [`TokioClock`].
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

/// The longest sleep between two looks at the clock: tokio's timers stop in suspend, this one does not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

// === impl BootClock ===

impl Clock for BootClock {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn now(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let whole = u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000;
        Moment(whole + u64::try_from(time.tv_nsec).unwrap_or(0))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn now(&self) -> Moment {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        Moment(nanos(START.get_or_init(std::time::Instant::now).elapsed()))
    }

    fn wall(&self) -> Wall {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Wall(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        let clock = *self;
        Box::pin(async move {
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                runtime::sleep(left.min(LONGEST_SLEEP)).await;
            }
        })
    }

    fn home(&self) -> Home {
        Home::Own
    }
}

/// A clock that follows tokio's, for tests with paused time: it may run fast or slow, and its wall clock may be off.
///
/// Never for production: tokio's clock stops in suspend.
#[derive(Clone, Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
    /// How fast this clock runs, in parts per million: 1,010,000 is one per cent fast.
    rate_ppm: u64,
    wall: Arc<std::sync::atomic::AtomicI64>,
}

/// The date on which every [`TokioClock`] starts: 2026-01-01T00:00:00Z.
const TEST_EPOCH: i64 = 1_767_225_600_000;

// === impl TokioClock ===

impl Default for TokioClock {
    fn default() -> Self {
        Self::with_rate(1_000_000)
    }
}

impl TokioClock {
    /// Makes a clock that runs at the given rate, in parts per million of true time. Starts an hour after its zero.
    pub fn with_rate(rate_ppm: u64) -> Self {
        Self { start: tokio::time::Instant::now(), rate_ppm, wall: Arc::new(TEST_EPOCH.into()) }
    }

    /// Moves the wall clock by some milliseconds; the local clock does not notice.
    pub fn jump_wall(&self, millis: i64) {
        self.wall.fetch_add(millis, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Moment {
        let scaled = self.start.elapsed().as_nanos() * u128::from(self.rate_ppm) / 1_000_000;
        Moment(u64::try_from(scaled).unwrap_or(u64::MAX)) + Duration::from_secs(3600)
    }

    fn wall(&self) -> Wall {
        let elapsed = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        Wall(self.wall.load(std::sync::atomic::Ordering::Relaxed) + elapsed)
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                let true_nanos = left.as_nanos() * 1_000_000 / u128::from(clock.rate_ppm);
                let wait = Duration::from_nanos(u64::try_from(true_nanos).unwrap_or(u64::MAX));
                tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_with_milliseconds_and_read_back() {
        let date = Wall::from_millis(1_795_356_000_007);
        assert_eq!(date.to_string(), "2026-11-22T14:00:00.007Z");
        assert_eq!(Wall::parse(&date.to_string()), Some(date));
    }

    #[test]
    fn an_absurd_date_is_unknown_and_never_a_panic() {
        assert_eq!(Wall::parse("9999-12-31T23:59:59Z"), None);
        assert_eq!(Wall::parse("yesterday"), None);
        assert!(!Wall::from_millis(i64::MAX).to_string().is_empty());
    }

    #[test]
    fn deadline_on_clock_boottime() {
        let before = BootClock.now();
        assert!(BootClock.now() >= before);
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let boot = BootClock.now().as_nanos() / 1_000_000_000;
        assert!(boot >= u64::try_from(monotonic.tv_sec).unwrap(), "boot time includes suspend, monotonic does not");
    }

    #[test]
    fn a_paused_clock_is_told_from_one_that_runs() {
        assert!(!is_paused(), "there is no runtime");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..100 {
                assert!(!is_paused());
            }
            tokio::time::pause();
            assert!(is_paused());
            assert_eq!(of_caller().home(), Home::Caller);
            tokio::time::resume();
            assert!(!is_paused());
            assert_eq!(of_caller().home(), Home::Own);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_clock_wakes_early() {
        let (fast, even) = (TokioClock::with_rate(1_010_000), TokioClock::default());
        let start = even.now();
        fast.sleep_until(fast.now() + Duration::from_secs(101)).await;
        let took = even.now().since(start);
        assert!(took >= Duration::from_secs(99) && took <= Duration::from_secs(101), "{took:?}");
    }
}
