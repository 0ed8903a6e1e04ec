//! How many events may be written: a few at once, then one now and then; and the same again is a number on the first.
//!
//! Pure. A lock that changes hands a hundred times a second must cost the cluster no more than one that is at rest.

use std::{collections::HashMap, time::Duration};

use crate::{LockName, clock::Moment};

/// So many at once.
const BURST: u32 = 25;
/// One more each time this has passed.
const EACH: Duration = Duration::from_secs(5);
/// The same within this time is a number on the first: as client-go has it.
const SERIES: Duration = Duration::from_secs(360);
/// So many are remembered, to be counted on.
const MOST: usize = 64;

/// A lock and a reason.
pub(super) type Key = (LockName, &'static str);

/// The event that a new one repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repeated {
    pub(super) name: String,
    /// How often it has happened, this time included.
    pub(super) count: i32,
}

#[derive(Debug)]
struct Seen {
    repeated: Repeated,
    last: Moment,
}

/// What may still be written, and what was.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    /// When the first of the next ones was earned.
    since: Moment,
    seen: HashMap<Key, Seen>,
}

// === impl Budget ===

impl Default for Budget {
    fn default() -> Self {
        Self { left: BURST, since: Moment::default(), seen: HashMap::new() }
    }
}

impl Budget {
    /// Spends one event; returns the one that it repeats, if it does. `None`: it is one too many.
    #[expect(clippy::option_option, reason = "may it be written, and does it repeat another")]
    pub(super) fn spend(&mut self, key: &Key, now: Moment) -> Option<Option<Repeated>> {
        self.earn(now);
        self.left = self.left.checked_sub(1)?;
        self.seen.retain(|_, seen| now.since(seen.last) < SERIES);
        let repeated = self.seen.get_mut(key).filter(|seen| !seen.repeated.name.is_empty()).map(|seen| {
            (seen.repeated.count, seen.last) = (seen.repeated.count.saturating_add(1), now);
            seen.repeated.clone()
        });
        if repeated.is_none() && self.seen.len() < MOST {
            self.seen.insert(key.clone(), Seen { repeated: Repeated { name: String::new(), count: 1 }, last: now });
        }
        Some(repeated)
    }

    /// Notes the name of the event that was written.
    pub(super) fn wrote(&mut self, key: &Key, name: String) {
        if let Some(seen) = self.seen.get_mut(key) {
            seen.repeated.name = name;
        }
    }

    /// Forgets an event: the next one is a new one.
    pub(super) fn forget(&mut self, key: &Key) {
        self.seen.remove(key);
    }

    fn earn(&mut self, now: Moment) {
        if self.left == BURST {
            self.since = now;
            return;
        }
        let earned = now.since(self.since).as_nanos() / EACH.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(BURST);
        self.since = if self.left == BURST { now } else { self.since + EACH * earned };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn key(number: u64) -> Key {
        (LockName::of(&format!("job-{number}")).unwrap(), "LockLost")
    }

    #[test]
    fn a_few_at_once_and_then_one_now_and_then() {
        let mut budget = Budget::default();
        let mut written = |number, now| budget.spend(&key(number), now).is_some();
        assert_eq!((0..100).filter(|number| written(*number, at(0))).count(), 25);
        assert!(!written(100, at(4)) && written(101, at(5)) && !written(102, at(6)) && written(103, at(10)));
        assert_eq!((200..300).filter(|number| written(*number, at(60))).count(), 10, "one for each five seconds");
        assert_eq!((300..400).filter(|number| written(*number, at(6_000))).count(), 25, "and no more than at first");
    }

    #[test]
    fn the_same_again_is_a_number_on_the_first() {
        let mut budget = Budget::default();
        assert_eq!(budget.spend(&key(1), at(0)), Some(None));
        budget.wrote(&key(1), "job-1.17".to_owned());
        let again = |count| Some(Some(Repeated { name: "job-1.17".to_owned(), count }));
        assert_eq!((budget.spend(&key(1), at(10)), budget.spend(&key(1), at(300))), (again(2), again(3)));
        assert_eq!(budget.spend(&key(2), at(301)), Some(None), "another lock is another event");
        assert_eq!(budget.spend(&key(1), at(700)), Some(None), "after a while it is news");
    }

    #[test]
    fn what_is_gone_or_was_never_written_is_not_repeated() {
        let mut budget = Budget::default();
        assert_eq!((budget.spend(&key(1), at(0)), budget.spend(&key(1), at(1))), (Some(None), Some(None)));
        budget.wrote(&key(1), "job-1.17".to_owned());
        budget.forget(&key(1));
        assert_eq!(budget.spend(&key(1), at(2)), Some(None));
    }

    #[test]
    fn memory_is_bounded() {
        let mut budget = Budget::default();
        for number in 0..10_000 {
            let _ = budget.spend(&key(number), at(5 * number));
        }
        assert!(budget.seen.len() <= MOST, "{}", budget.seen.len());
    }
}
