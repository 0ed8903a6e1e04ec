//! The fencing token: a number that grows with every acquisition of a lock.

use std::fmt;

/// A number that is greater for every later acquisition of the same lock (promise S1).
///
/// Hand it to the resource that the lock protects; a resource that refuses a smaller token than the greatest it has
/// seen is safe even from a holder that was paused past its ttl; `tests/tests/lock/memory/fence.rs` in the repository
/// shows what happens with and without it. See Martin Kleppmann, "How to do distributed locking" (2016), for the idea.
///
/// The upper 48 bits are the `resourceVersion` of the acquiring write, the lower 16 count hand-overs inside one process.
/// Restoring etcd from a backup, or moving to another cluster, can set it back; see `Lock::token_floor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FencingToken(u64);

// === impl FencingToken ===

impl FencingToken {
    /// One more than the greatest `resourceVersion` that fits into a token.
    pub(crate) const VERSION_LIMIT: u64 = 1 << 48;

    /// Composes a token; `None` when the version does not fit.
    pub(crate) fn new(version: u64, sequence: u16) -> Option<Self> {
        (version < Self::VERSION_LIMIT).then(|| Self(version << 16 | u64::from(sequence)))
    }

    /// Returns the token as a number, to be sent to the protected resource.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<FencingToken> for u64 {
    fn from(token: FencingToken) -> Self {
        token.0
    }
}

impl From<u64> for FencingToken {
    /// Takes back a token that was stored as a number.
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_version_beats_any_sequence() {
        assert!(FencingToken::new(8, 0) > FencingToken::new(7, u16::MAX));
        assert!(FencingToken::new(7, 1) > FencingToken::new(7, 0));
    }

    #[test]
    fn a_version_that_does_not_fit_makes_no_token() {
        assert_eq!(FencingToken::new(1 << 48, 0), None);
        assert!(FencingToken::new((1 << 48) - 1, u16::MAX).is_some());
    }
}
