//! What a function returns whose body did not run, or not to its end: decided by its return type.
//!
//! Traits and not tokens, so that type aliases and the user's own `Result` work. Where a type cannot hold an error, the
//! error is logged: it never vanishes.

use crate::{Error, Outcome};

/// Why there is no value of the body.
#[derive(Debug)]
pub struct Missed(Error);

/// Return types that can hold msync's error.
#[diagnostic::on_unimplemented(
    message = "a function under a lock or a leader's term may fail, and `{Self}` cannot hold the error",
    label = "return `Result<_, E>` where `E: From<msync::Error>`",
    note = "to skip the call instead: `#[locked(.., wait = none, on_busy = skip)]` or `#[leader_only(.., on_follower = skip)]`, \
            with `()`, `Option<T>` or `msync::Outcome<T>`"
)]
pub trait OrError: Sized {
    /// Makes the value to return.
    fn missed(missed: Missed) -> Self;
}

/// Return types that can say that the call was skipped.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say that the call was skipped",
    label = "return `()`, `Option<T>`, `msync::Outcome<T>`, or a `Result` of one of them",
    note = "to get an error instead: `on_busy = error` in `#[locked]`, `on_follower = error` or `wait` in `#[leader_only]`"
)]
pub trait OrSkip: Sized {
    /// Makes the value to return.
    fn missed(missed: Missed) -> Self;
}

/// Values that say that a call was skipped.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot say that the call was skipped",
    label = "return `Result<(), E>`, `Result<Option<T>, E>` or `Result<msync::Outcome<T>, E>`",
    note = "to get an error instead: `on_busy = error` in `#[locked]`, `on_follower = error` or `wait` in `#[leader_only]`"
)]
pub trait SkipValue {
    /// Makes the value of a skipped call.
    fn skipped() -> Self;
}

/// Error types that can hold msync's.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold an `msync::Error`",
    label = "the lock may be busy or lost, and no `{Self}` can be made of that",
    note = "if `{Self}` is a type of yours, write `impl From<msync::Error> for {Self}`, or with thiserror a variant \
            `Lock(#[from] msync::Error)`",
    note = "if it is not, return `Result<_, msync::Error>`, `anyhow::Result<_>` or `Result<_, Box<dyn std::error::Error>>`"
)]
pub trait FromLockError {
    /// Makes the user's error.
    fn from_lock_error(error: Error) -> Self;
}

// === impl Missed ===

impl Missed {
    /// Returns the reason.
    #[cfg(test)]
    pub(super) fn into_error(self) -> Error {
        self.0
    }

    // The skip value of a type that holds no error. Busy is what it is for; anything else is worth a line in the log.
    fn skip<T: SkipValue>(self) -> T {
        if !self.0.is_busy() {
            tracing::error!(error = %self.0, "an annotated function did not run to its end");
        }
        T::skipped()
    }
}

impl From<Error> for Missed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

// === impl FromLockError ===

#[diagnostic::do_not_recommend]
impl<E: From<Error>> FromLockError for E {
    fn from_lock_error(error: Error) -> Self {
        error.into()
    }
}

// === impl OrError ===

impl<T, E: FromLockError> OrError for Result<T, E> {
    fn missed(missed: Missed) -> Self {
        Err(E::from_lock_error(missed.0))
    }
}

// === impl OrSkip ===

impl OrSkip for () {
    fn missed(missed: Missed) -> Self {
        missed.skip::<()>();
    }
}

impl<T> OrSkip for Option<T> {
    fn missed(missed: Missed) -> Self {
        missed.skip()
    }
}

impl<T> OrSkip for Outcome<T> {
    fn missed(missed: Missed) -> Self {
        missed.skip()
    }
}

impl<T: SkipValue, E: FromLockError> OrSkip for Result<T, E> {
    fn missed(missed: Missed) -> Self {
        if missed.0.is_busy() { Ok(T::skipped()) } else { Err(E::from_lock_error(missed.0)) }
    }
}

// === impl SkipValue ===

impl SkipValue for () {
    fn skipped() -> Self {}
}

impl<T> SkipValue for Option<T> {
    fn skipped() -> Self {
        None
    }
}

impl<T> SkipValue for Outcome<T> {
    fn skipped() -> Self {
        Self::Skipped
    }
}
