//! Log lines that a flood would repeat: one now and then, with the number of those left unsaid.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// Between two lines of one kind.
const PAUSE: Duration = Duration::from_secs(5);

/// One kind of line, and when it was last said.
#[derive(Debug)]
pub struct Sparse(Mutex<Said>);

#[derive(Debug)]
struct Said {
    last: Option<Duration>,
    unsaid: u64,
}

impl Default for Sparse {
    fn default() -> Self {
        Self::new()
    }
}

impl Sparse {
    /// A kind of line that was never said.
    pub const fn new() -> Self {
        Self(Mutex::new(Said { last: None, unsaid: 0 }))
    }

    /// Says whether the line is due: if so, how many were left unsaid since the last one.
    pub fn say(&self) -> Option<u64> {
        self.say_at(Moment::now().since_boot)
    }

    fn say_at(&self, now: Duration) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.last.is_some_and(|last| now.saturating_sub(last) < PAUSE) {
            said.unsaid += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_one_line_and_a_number() {
        let (lines, at) = (Sparse::new(), Duration::from_millis);
        assert_eq!(lines.say_at(at(0)), Some(0));
        assert!((1..5000).all(|millis| lines.say_at(at(millis)).is_none()));
        assert_eq!(lines.say_at(at(5000)), Some(4999));
        assert_eq!(lines.say_at(at(20_000)), Some(0));
    }
}
