//! The one error of the public API: variants by what the caller can do.

use std::{fmt, sync::Arc, time::Duration};

/// What went wrong, by what the caller can do about it.
///
/// Variants and their fields may become more: match with `..`, or ask [`is_lost`](Self::is_lost), [`is_busy`](Self::is_busy)
/// and [`is_shut_down`](Self::is_shut_down).
///
/// `{:?}` writes the message as `{}` does, for that is what a `main` that returns an error shows to people, and what
/// `unwrap` says; `{:#?}` adds the variant.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else has the lock; only from calls that do not wait.
    #[error("lock {name} is held by another")]
    #[non_exhaustive]
    Busy {
        /// The lock.
        name: String,
    },
    /// Somebody else had the lock for the time given.
    #[error("lock {name} was not free within {after:?}")]
    #[non_exhaustive]
    Timeout {
        /// The lock.
        name: String,
        /// The time given.
        after: Duration,
    },
    /// In the time given nobody was seen to have the lock, for the store could not be used: it did not answer, or failed.
    /// Somebody must look; the lock is not busy.
    #[error("lock {name} could not be had within {after:?}, and nobody was seen to have it: {}", chain(&**cause))]
    #[non_exhaustive]
    Unavailable {
        /// The lock.
        name: String,
        /// The time given.
        after: Duration,
        /// What the last call met.
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The lock was held and is held no more: stop what it protects.
    #[error("lock {name} is lost: {reason}")]
    #[non_exhaustive]
    Lost {
        /// The lock.
        name: String,
        /// How it was lost.
        reason: LossReason,
    },
    /// Too little time remains for what the caller wants to do.
    #[error("lock {name} is safe for only {remaining:?} more")]
    #[non_exhaustive]
    TooShort {
        /// The lock.
        name: String,
        /// The time that remains.
        remaining: Duration,
    },
    /// The name is not one that Kubernetes allows.
    #[error("invalid lock name {name:?}: {reason}")]
    #[non_exhaustive]
    InvalidName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The timing is not safe.
    #[error("invalid timing: {reason}")]
    #[non_exhaustive]
    InvalidTiming {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What a leader is to advertise does not fit into a record.
    #[error("an advertisement has at most 256 bytes, and this one has {length}")]
    #[non_exhaustive]
    AdvertTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// This task already runs inside this lock: it would wait for itself.
    #[error("lock {name} is already held by this task: waiting for it would never end")]
    #[non_exhaustive]
    WouldDeadlock {
        /// The lock.
        name: String,
    },
    /// The token is not greater than the floor that was set.
    #[error("lock {name}: fencing token {token} is not above the floor {floor}; was etcd restored from a backup?")]
    #[non_exhaustive]
    TokenTooLow {
        /// The lock.
        name: String,
        /// The token of this acquisition.
        token: u64,
        /// The floor.
        floor: u64,
    },
    /// The API server refuses, and has done so for ten seconds: the message names the missing rule, or says that the
    /// credentials are not accepted.
    #[error("{0}")]
    Forbidden(String),
    /// The custom resource is not installed, or is an outdated one that does not keep what is written: the message says
    /// what to do.
    #[error("{0}")]
    CrdMissing(String),
    /// The client was shut down.
    #[error("the client was shut down")]
    ShutDown,
    /// The store could not be used; the message says why.
    #[error("{context}: {}", chain(&**cause))]
    #[non_exhaustive]
    Store {
        /// What was tried.
        context: String,
        /// Why it failed. It is part of the message, and so no `source()` beside it.
        cause: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// How a lock was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum LossReason {
    /// No renewal was confirmed in time.
    #[error("its deadline passed without a confirmed renewal")]
    Deadline,
    /// No renewal was confirmed in time, for the API server refused it: the rights, an admission policy. The log says why.
    #[error("its deadline passed, for the API server refused to renew it")]
    Refused,
    /// Another acquisition has it.
    #[error("another holder took it over")]
    TakenOver,
    /// Its object was deleted by hand.
    #[error("its object was deleted")]
    Deleted,
    /// It was held as long as `max_hold` allows.
    #[error("it was held for max_hold")]
    MaxHold,
    /// It was released in order; only a [`Lease`](crate::Lease) that outlives its guard sees this.
    #[error("it was released")]
    Released,
    /// The client is being shut down.
    #[error("the client is shutting down")]
    ShutDown,
    /// Nobody renews it any more: the caller's runtime that did has ended. Only with an injected clock: with the real one,
    /// renewal does not depend on any.
    #[error("the runtime that renewed it has ended")]
    RuntimeEnded,
}

// === impl LossReason ===

impl LossReason {
    /// Says whether it ended because its client was shut down: nobody else can have it before its guard is gone.
    pub fn is_shut_down(self) -> bool {
        self == Self::ShutDown
    }

    /// Says whether nobody else can have the lock yet: while a client shuts down, a hold lasts as long as its guard.
    pub(crate) fn is_orderly(self) -> bool {
        matches!(self, Self::Released | Self::ShutDown)
    }
}

// === impl Error ===

impl Error {
    /// Makes a store error of a text.
    pub(crate) fn store(context: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Store { context: context.into(), cause: told(why.into()) }
    }

    /// Says whether the lock was held and lost, so that it may be worth acquiring again. The end of the client is no such
    /// loss: see [`is_shut_down`](Self::is_shut_down).
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { reason, .. } if !reason.is_shut_down())
    }

    /// Says whether the client ends: nothing can be acquired any more, and what was held is given back in order.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// let term = client.election("scheduler")?.campaign().await?;
    /// # let _ending = tokio::spawn(async move { client.shutdown().await });
    /// match term.run(std::future::pending::<()>()).await {
    ///     Err(error) if error.is_shut_down() => {} // an orderly end
    ///     Err(error) if error.is_lost() => { /* campaign again */ }
    ///     other => other?,
    /// }
    /// # Ok(()) }
    /// ```
    pub fn is_shut_down(&self) -> bool {
        matches!(self, Self::ShutDown | Self::Lost { reason: LossReason::ShutDown, .. })
    }

    /// Says whether somebody else had the lock, at once or until the time was over. A store that cannot be used is not busy.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Timeout { .. })
    }

    fn variant(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "Busy",
            Self::Timeout { .. } => "Timeout",
            Self::Unavailable { .. } => "Unavailable",
            Self::Lost { .. } => "Lost",
            Self::TooShort { .. } => "TooShort",
            Self::InvalidName { .. } => "InvalidName",
            Self::InvalidTiming { .. } => "InvalidTiming",
            Self::AdvertTooLong { .. } => "AdvertTooLong",
            Self::WouldDeadlock { .. } => "WouldDeadlock",
            Self::TokenTooLow { .. } => "TokenTooLow",
            Self::Forbidden(_) => "Forbidden",
            Self::CrdMissing(_) => "CrdMissing",
            Self::ShutDown => "ShutDown",
            Self::Store { .. } => "Store",
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            f.debug_tuple(self.variant()).field(&self.to_string()).finish()
        } else {
            write!(f, "{self}")
        }
    }
}

/// Writes an error with its sources, each said once: a transport says no more than "client error" by itself.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

/// Makes the source of a fault of a text.
pub(crate) fn told(why: String) -> Arc<dyn std::error::Error + Send + Sync> {
    let source: Box<dyn std::error::Error + Send + Sync> = why.into();
    source.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: [LossReason; 8] = [
        LossReason::Deadline,
        LossReason::Refused,
        LossReason::TakenOver,
        LossReason::Deleted,
        LossReason::MaxHold,
        LossReason::Released,
        LossReason::ShutDown,
        LossReason::RuntimeEnded,
    ];

    #[test]
    fn errors_read_well() {
        let (lock, after) = ("x".to_owned(), Duration::from_millis(1500));
        let all = [
            Error::Busy { name: lock.clone() },
            Error::Timeout { name: lock.clone(), after },
            Error::Lost { name: lock.clone(), reason: LossReason::TakenOver },
            Error::TooShort { name: lock.clone(), remaining: after },
            Error::WouldDeadlock { name: lock.clone() },
            Error::TokenTooLow { name: lock, token: 1, floor: 2 },
            Error::ShutDown,
        ];
        for error in all {
            let text = error.to_string();
            assert!(text.starts_with(char::is_lowercase) && !text.ends_with('.'), "{text}");
            assert!(text.contains("lock x") || matches!(error, Error::ShutDown), "{text}");
        }
    }

    /// Of whatever has a cause: its text is part of the message, so whoever prints the chain must not find it there again.
    #[test]
    fn what_caused_an_error_is_said_once() {
        let (cause, name) = (told("the disk is full".to_owned()), "x".to_owned());
        let all = [
            Error::Unavailable { name, after: Duration::from_secs(1), cause: Arc::clone(&cause) },
            Error::Store { context: "could not acquire lock x".to_owned(), cause },
            Error::Forbidden("the disk is full".to_owned()),
            Error::CrdMissing("the disk is full".to_owned()),
        ];
        for error in all {
            let mut printed = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                printed.push_str(&error.to_string());
                source = error.source();
            }
            assert_eq!(printed.matches("the disk is full").count(), 1, "{printed}");
        }
    }

    /// What a `main` that returns an error writes is its `Debug`; and what `unwrap` and a failed test say.
    #[test]
    fn an_error_that_main_returns_reads_as_its_message() {
        let error = Error::store("could not connect", "the disk is full");
        assert_eq!(format!("Error: {error:?}"), "Error: could not connect: the disk is full");
        let (name, reason) = ("x".to_owned(), LossReason::TakenOver);
        let boxed: Box<dyn std::error::Error> = Error::Lost { name, reason }.into();
        assert_eq!(format!("{boxed:?}"), "lock x is lost: another holder took it over");
    }

    #[test]
    fn whoever_looks_closely_sees_which_variant_an_error_is() {
        let error = Error::Busy { name: "x".to_owned() };
        assert_eq!(format!("{error:#?}"), "Busy(\n    \"lock x is held by another\",\n)");
    }

    #[test]
    fn a_shutdown_is_no_loss_and_a_loss_no_shutdown() {
        for reason in REASONS {
            let error = Error::Lost { name: "x".to_owned(), reason };
            assert_eq!(error.is_shut_down(), reason == LossReason::ShutDown, "{reason:?}");
            assert_eq!(error.is_lost(), reason != LossReason::ShutDown, "{reason:?}");
        }
        assert!(Error::ShutDown.is_shut_down() && !Error::ShutDown.is_lost());
        let busy = Error::Busy { name: "x".to_owned() };
        assert!(!busy.is_shut_down() && !busy.is_lost());
    }
}
