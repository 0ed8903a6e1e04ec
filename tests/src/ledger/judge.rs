//! The one pass that decides whether a history is one of a sequential lock.

use std::fmt;

use super::Hold;

/// What was promised and did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Two believed at one time (S2).
    Overlap(Hold, Hold),
    /// The one that came later has the smaller token (S1).
    Inversion(Hold, Hold),
    /// Two acquisitions have one token (S1).
    Reuse(Hold, Hold),
    /// A loss was told before the time was over that the guard had called safe.
    Promise(Hold, String),
}

// === impl Violation ===

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overlap(one, other) => write!(f, "two held the lock at once (S2): {one} and {other}"),
            Self::Inversion(one, other) => write!(f, "a token did not increase (S1): {one} and {other}"),
            Self::Reuse(one, other) => write!(f, "a token came twice (S1): {one} and {other}"),
            Self::Promise(hold, reason) => write!(f, "lost before its time ({reason}): {hold}"),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, held, until) = (self.wanted.as_nanos(), self.held.as_nanos(), self.until.as_nanos());
        let Self { token, contender, end, .. } = self;
        write!(f, "{contender} wanted at {wanted}, held token {token} from {held} to {until} ({end:?})")
    }
}

/// Goes through the holds in the order of their tokens, and lets each begin and end as early as it can: the lock is free
/// again once the beliefs of all earlier holds are over. Each hold must find it so by the time it is held.
pub(super) fn judge(holds: &[Hold]) -> Vec<Violation> {
    let mut violations = Vec::new();
    // Who believes the longest of all so far: not always the one before, which may have been lost before it was believed.
    let mut longest: Option<&Hold> = None;
    for (index, hold) in holds.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| &holds[before]);
        if let Some(same) = before.filter(|before| before.token == hold.token) {
            violations.push(Violation::Reuse(same.clone(), hold.clone()));
        } else if let Some(earlier) = longest.filter(|earlier| earlier.until > hold.held) {
            violations.push(out_of_turn(earlier, hold));
        }
        if longest.is_none_or(|longest| longest.until <= hold.until) {
            longest = Some(hold);
        }
    }
    violations
}

/// The lock was not free in time for `later`, the one with the greater token.
fn out_of_turn(earlier: &Hold, later: &Hold) -> Violation {
    let apart = later.until <= earlier.held || earlier.until <= later.held;
    let make = if apart { Violation::Inversion } else { Violation::Overlap };
    make(earlier.clone(), later.clone())
}
