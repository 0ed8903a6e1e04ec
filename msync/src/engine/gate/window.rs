//! How many calls a server may be asked at once: additive increase, multiplicative decrease (Chiu and Jain 1989), with
//! TCP's slow start (RFC 5681) and, as in TCP Vegas, slow answers for a sign of congestion before there are none. Pure.

use std::time::Duration;

use crate::clock::Moment;

/// The most calls at once; over HTTP/1.1 every one is a connection.
const MOST: u32 = 32;
/// The fewest: one call without an answer must not stop all others.
const FEWEST: u32 = 2;
/// With so many it begins: a hundred engines that start together are a crowd already.
const FIRST: u32 = 4;
/// An answer is slow when it takes so many times as long as the quickest of late.
const SLOW: u32 = 8;
/// No answer is slow that comes within this.
const QUICK: Duration = Duration::from_millis(250);

/// The window of one engine.
pub(super) struct Window {
    calls: u32,
    /// How many calls were answered since it was last widened.
    answered: u32,
    /// Below this every answer widens it.
    threshold: u32,
    /// Only calls that were sent after this say something new.
    narrowed: Option<Moment>,
    /// How long the quickest answers of late have taken; it grows slowly, for a server may become slow for good.
    quickest: Duration,
}

// === impl Window ===

impl Default for Window {
    fn default() -> Self {
        Self { calls: FIRST, answered: 0, threshold: MOST, narrowed: None, quickest: Duration::MAX }
    }
}

impl Window {
    /// Returns how many calls may run at once.
    pub(super) fn calls(&self) -> usize {
        self.calls as usize
    }

    /// A call that was sent at such a time is answered now.
    pub(super) fn answered(&mut self, sent: Moment, now: Moment) {
        let took = now.since(sent);
        let grown = self.quickest.saturating_add(Duration::from_millis(1) + self.quickest / 64);
        self.quickest = took.min(grown);
        if took > QUICK.max(self.quickest.saturating_mul(SLOW)) { self.narrow(sent, now) } else { self.widen() }
    }

    fn widen(&mut self) {
        self.answered += 1;
        if self.calls < self.threshold || self.answered >= self.calls {
            (self.answered, self.calls) = (0, (self.calls + 1).min(MOST));
        }
    }

    /// A call that was sent at such a time was not answered in time. Those that were under way together count as one.
    pub(super) fn narrow(&mut self, sent: Moment, now: Moment) {
        if self.narrowed.is_some_and(|narrowed| sent < narrowed) {
            return;
        }
        self.calls = (self.calls / 2).max(FEWEST);
        (self.threshold, self.answered, self.narrowed) = (self.calls, 0, Some(now));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn open() -> Window {
        let mut window = Window::default();
        (0..100).for_each(|n| window.answered(at(n), at(n)));
        window
    }

    #[test]
    fn it_opens_within_a_few_answers_at_first() {
        let mut window = Window::default();
        assert_eq!(window.calls, FIRST);
        (FIRST..MOST).for_each(|_| window.widen());
        assert_eq!(window.calls, MOST);
        window.widen();
        assert_eq!(window.calls, MOST, "and no wider");
    }

    #[test]
    fn calls_that_fail_together_halve_it_once() {
        let mut window = open();
        for _ in 0..20 {
            window.narrow(at(1), at(3));
        }
        assert_eq!(window.calls, MOST / 2);
        window.narrow(at(3), at(5));
        assert_eq!(window.calls, MOST / 4, "a later one says that it was not enough");
        (6..20).for_each(|s| window.narrow(at(s), at(s)));
        assert_eq!(window.calls, FEWEST, "and it never closes");
    }

    #[test]
    fn answers_that_grow_slow_narrow_it_and_a_server_that_is_slow_for_good_does_not() {
        let mut window = open();
        window.answered(at(200), at(201));
        assert_eq!(window.calls, MOST / 2);
        (201..1200).for_each(|n| window.answered(at(n), at(n + 1)));
        assert_eq!(window.calls, MOST, "a second is what its answers take");
        let mut slow = Window::default();
        (0..100).for_each(|n| slow.answered(at(n), at(n + 3)));
        assert_eq!(slow.calls, MOST, "it never was any quicker");
    }

    #[test]
    fn it_grows_by_one_for_each_window_of_answers() {
        let mut window = open();
        window.narrow(at(1), at(2));
        for calls in MOST / 2..MOST {
            assert_eq!(window.calls, calls);
            (0..calls).for_each(|_| window.widen());
        }
        assert_eq!(window.calls, MOST);
    }
}
