//! When a watch that has failed is opened again, and what people are told of it. A list alone is no success: where listing
//! is allowed and watching is not, or a proxy cuts streams, each failure would be the first.

use std::time::Duration;

use super::trouble::LONGEST_RETRY;
use crate::clock::Moment;

/// The longest pause between two attempts to watch.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A failure that lasts so long is told; one that will not heal by itself at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// A watch that was open for so long has worked, though nothing may have happened.
const LONG: Duration = Duration::from_secs(30);

/// How a watch fares.
#[derive(Debug, Default)]
pub struct Watching {
    failures: u32,
    /// When the first of them happened.
    since: Moment,
    /// From when on the watch is tried again.
    resume: Moment,
    /// What people have been told last.
    told: Option<String>,
}

/// What people are to be told of a watch.
#[derive(Debug, PartialEq, Eq)]
pub enum Sightless {
    /// It fails, and goes on to.
    Failing,
    /// It works again, after so many failures.
    Recovered {
        /// How many.
        failures: u32,
        /// Over how long.
        lasting: Duration,
    },
}

// === impl Watching ===

impl Watching {
    /// Takes a failure, which says `why` and perhaps when to come back. Returns from when on to try again, a random part of
    /// it so that not all processes do at once, and what to tell.
    pub fn failed(
        &mut self,
        why: &str,
        lasts: bool,
        after: Option<Duration>,
        now: Moment,
        random: u64,
    ) -> (Moment, Option<Sightless>) {
        if self.failures > 0 && self.told.is_none() && now.since(self.resume) >= LONG {
            self.failures = 0;
        }
        if self.failures == 0 {
            self.since = now;
        }
        self.failures = self.failures.saturating_add(1);
        let most = Duration::from_millis(50 << self.failures.min(7)).min(LONGEST_PAUSE);
        let part =
            most / 2 + (most / 2).mul_f64(f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX));
        self.resume = now + part.max(after.unwrap_or_default().min(LONGEST_RETRY));
        let due = lasts || now.since(self.since) >= PATIENCE;
        let news = due && self.told.as_deref() != Some(why);
        if news {
            self.told = Some(why.to_owned());
        }
        (self.resume, news.then_some(Sightless::Failing))
    }

    /// Takes that the watch has shown something.
    pub fn shown(&mut self, now: Moment) -> Option<Sightless> {
        let (failures, lasting) = (std::mem::take(&mut self.failures), now.since(self.since));
        self.told.take().map(|_| Sightless::Recovered { failures, lasting })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    /// Fails until a time, and returns the pauses.
    fn fail(watching: &mut Watching, from: u64, until: u64) -> (Vec<u128>, usize) {
        let (mut now, mut pauses, mut told) = (at(from), Vec::new(), 0);
        while now < at(until) {
            let (resume, news) = watching.failed("cut", false, None, now, u64::MAX / 2);
            pauses.push(resume.since(now).as_millis());
            told += usize::from(news.is_some());
            now = resume;
        }
        (pauses, told)
    }

    #[test]
    fn pauses_grow_up_to_five_seconds_until_the_watch_has_shown_something() {
        let mut watching = Watching::default();
        let (pauses, _) = fail(&mut watching, 1_000, 60_000);
        assert!(pauses.is_sorted() && pauses[0] <= 100 && pauses.last() == Some(&3_750), "{pauses:?}");
        assert!(watching.shown(at(60_000)).is_some());
        assert!(fail(&mut watching, 60_000, 60_001).0[0] <= 100);
    }

    #[test]
    fn a_failure_is_told_once_when_it_has_lasted_and_its_end_with_a_count() {
        let mut watching = Watching::default();
        let (pauses, told) = fail(&mut watching, 1_000, 3_600_000);
        assert_eq!(told, 1);
        let Some(Sightless::Recovered { failures, lasting }) = watching.shown(at(3_600_000)) else { panic!("told") };
        assert_eq!((failures as usize, lasting.as_secs()), (pauses.len(), 3_599));
        assert_eq!(watching.shown(at(3_600_000)), None);
    }

    #[test]
    fn another_reason_is_told_as_well_and_what_will_not_heal_at_once() {
        let mut watching = Watching::default();
        let forbidden = |watching: &mut Watching, why| watching.failed(why, true, None, at(1_000), 0).1;
        assert_eq!(forbidden(&mut watching, "forbidden"), Some(Sightless::Failing));
        assert_eq!(forbidden(&mut watching, "forbidden"), None);
        assert_eq!(forbidden(&mut watching, "outdated"), Some(Sightless::Failing));
        assert_eq!(Watching::default().failed("cut", false, None, at(1_000), 0).1, None);
    }

    #[test]
    fn the_server_says_when_to_come_back() {
        let (resume, _) = Watching::default().failed("busy", false, Some(Duration::from_secs(7)), at(1_000), 0);
        assert_eq!(resume, at(8_000));
        let (resume, _) = Watching::default().failed("busy", false, Some(Duration::from_secs(u64::MAX)), at(1_000), 0);
        assert_eq!(resume, at(61_000), "it may be wrong");
    }

    #[test]
    fn pauses_are_random_and_within_their_half() {
        let pause = |random| Watching::default().failed("cut", false, None, at(0), random).0.since(at(0)).as_millis();
        assert_eq!((pause(0), pause(u64::MAX)), (50, 100));
    }

    #[test]
    fn a_watch_that_ends_in_silence_after_a_long_time_has_not_failed_in_a_row() {
        let mut watching = Watching::default();
        for round in 1..20 {
            let (resume, told) = watching.failed("ended", false, None, at(round * 290_000), 0);
            assert!(resume.since(at(round * 290_000)).as_millis() <= 100 && told.is_none());
        }
    }
}
