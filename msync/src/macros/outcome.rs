//! What became of a call that may be skipped.

/// Says whether a function that may be skipped ran.
///
/// A function under [`locked`](crate::locked) with `on_busy = skip`, or under [`leader_only`](crate::leader_only), that
/// returns `Outcome<T>` or `Result<Outcome<T>, E>` tells its caller whether it ran.
///
/// # Examples
/// ```
/// use msync::Outcome;
///
/// let sent = Outcome::Ran(3);
/// assert_eq!(sent.ran(), Some(3));
/// assert!(Outcome::<u32>::Skipped.is_skipped());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[must_use = "a call that was skipped has done nothing"]
pub enum Outcome<T> {
    /// The function ran, and this is what it returned.
    Ran(T),
    /// The function did not run: the lock was busy, or another process leads.
    #[default]
    Skipped,
}

// === impl Outcome ===

impl<T> Outcome<T> {
    /// Returns the value if the function ran.
    pub fn ran(self) -> Option<T> {
        match self {
            Self::Ran(value) => Some(value),
            Self::Skipped => None,
        }
    }

    /// Says whether the function did not run.
    pub fn is_skipped(&self) -> bool {
        matches!(self, Self::Skipped)
    }

    /// Changes the value of a function that ran.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Ran(value) => Outcome::Ran(change(value)),
            Self::Skipped => Outcome::Skipped,
        }
    }
}

impl<T> From<T> for Outcome<T> {
    fn from(value: T) -> Self {
        Self::Ran(value)
    }
}
