//! Which failures of a row are told: the first, and then whenever their number has doubled. Of one that will not pass, such as
//! what a policy denies, there would be seven hundred lines an hour.

use crate::Error;

/// Failures in a row that say the same.
#[derive(Default)]
pub(super) struct Failing {
    count: u32,
    text: String,
}

// === impl Failing ===

impl Failing {
    /// Counts one more, and says whether it is told.
    pub(super) fn is_told(&mut self, error: &Error) -> bool {
        let text = error.to_string();
        if text != self.text {
            (self.count, self.text) = (0, text);
        }
        self.count = self.count.saturating_add(1);
        self.count.is_power_of_two()
    }

    /// Takes that the row is over.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_row_the_first_is_told_and_whenever_it_has_doubled_and_another_one_at_once() {
        let mut failing = Failing::default();
        let mut told = |error: &Error, times| (0..times).filter(|_| failing.is_told(error)).count();
        assert_eq!((told(&Error::ShutDown, 1), told(&Error::ShutDown, 719)), (1, 9));
        assert_eq!(told(&Error::Forbidden("no".to_owned()), 3), 2);
        failing.over();
        assert!(failing.is_told(&Error::Forbidden("no".to_owned())));
    }
}
