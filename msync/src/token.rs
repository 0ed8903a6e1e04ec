//! The fencing token: a number that grows with every acquisition of a lock.

use std::{
    fmt,
    num::{ParseIntError, TryFromIntError},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A number that is greater for every later acquisition of the same lock (promise S1).
///
/// Hand it to the resource that the lock protects; a resource that refuses a smaller token than the greatest it has
/// seen is safe even from a holder that was paused past its ttl; `tests/tests/lock/memory/fence.rs` in the repository
/// shows what happens with and without it. See Martin Kleppmann, "How to do distributed locking" (2016), for the idea.
///
/// The upper 48 bits are the `resourceVersion` of the acquiring write, the lower 16 count hand-overs inside one process.
/// Restoring etcd from a backup, or moving to another cluster, can set it back; see `Lock::token_floor`.
///
/// # In a database
/// A token is an unsigned number of 64 bits, and a `BIGINT` of SQL is signed. Every token below 2^63 fits as it is, which is
/// every one of a cluster with less than 2^47 writes: 4,000 years at a thousand per second. [`to_i64`](Self::to_i64) says so
/// in the type, and `i64::try_from` does; never cast with `as`, which would make the greatest tokens negative. The order is
/// that of the numbers.
///
/// ```sql
/// UPDATE ledger SET balance = $1, fence = $2 WHERE id = $3 AND fence <= $2   -- no row: an older holder, stop
/// ```
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use msync::FencingToken;
///
/// let token = FencingToken::from(77 << 16);
/// let column = token.to_i64().ok_or("no BIGINT")?;
/// assert_eq!(FencingToken::try_from(column)?, token);
/// assert_eq!(token.to_string().parse::<FencingToken>()?, token);
/// # Ok(()) }
/// ```
/// With serde it is a number. JavaScript keeps 53 bits of those: give it the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
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

    /// Returns the token as a `BIGINT`; `None` for one of 2^63 or more, which would not keep its order.
    pub fn to_i64(self) -> Option<i64> {
        i64::try_from(self.0).ok()
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

impl TryFrom<FencingToken> for i64 {
    type Error = TryFromIntError;

    fn try_from(token: FencingToken) -> Result<Self, TryFromIntError> {
        token.0.try_into()
    }
}

impl TryFrom<i64> for FencingToken {
    type Error = TryFromIntError;

    /// Takes back a token that was stored as a `BIGINT`.
    fn try_from(number: i64) -> Result<Self, TryFromIntError> {
        number.try_into().map(Self)
    }
}

impl FromStr for FencingToken {
    type Err = ParseIntError;

    /// Takes back a token that was written as text.
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
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

    #[test]
    fn tokens_keep_their_order_in_a_bigint_and_those_that_would_not_are_refused() {
        let last = FencingToken::new((1 << 47) - 1, u16::MAX).unwrap();
        assert_eq!(last.to_i64(), Some(i64::MAX));
        let beyond = FencingToken::new(1 << 47, 0).unwrap();
        assert_eq!((beyond.to_i64(), i64::try_from(beyond).is_err()), (None, true));
        let row = [FencingToken::new(1, 0), FencingToken::new(1, 1), FencingToken::new(2, 0), Some(last)];
        let columns = row.map(|token| token.unwrap().to_i64().unwrap());
        assert!(columns.is_sorted());
        for (token, column) in row.into_iter().flatten().zip(columns) {
            assert_eq!(FencingToken::try_from(column).unwrap(), token);
        }
        assert!(FencingToken::try_from(-1_i64).is_err());
    }

    #[test]
    fn tokens_come_back_from_text_and_from_json() {
        let token = FencingToken::new(7, 3).unwrap();
        assert_eq!(token.to_string().parse::<FencingToken>().unwrap(), token);
        assert!("-1".parse::<FencingToken>().is_err() && "".parse::<FencingToken>().is_err());
        assert_eq!(serde_json::to_string(&token).unwrap(), "458755");
        assert_eq!(serde_json::from_str::<FencingToken>("458755").unwrap(), token);
    }
}
