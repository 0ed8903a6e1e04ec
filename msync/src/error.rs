//! The one error of the public API: variants by what the caller can do.

use std::{sync::Arc, time::Duration};

use crate::store::{Fatal, Fault};

/// What went wrong, by what the caller can do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Somebody else has the lock; only from calls that do not wait.
    #[error("lock {name} is held by another")]
    Busy {
        /// The lock.
        name: String,
    },
    /// The lock could not be had in the time given.
    #[error("lock {name} was not free within {after:?}")]
    Timeout {
        /// The lock.
        name: String,
        /// The time given.
        after: Duration,
    },
    /// The lock was held and is held no more: stop what it protects.
    #[error("lock {name} is lost: {reason}")]
    Lost {
        /// The lock.
        name: String,
        /// How it was lost.
        reason: LossReason,
    },
    /// Too little time remains for what the caller wants to do.
    #[error("lock {name} is safe for only {remaining:?} more")]
    TooShort {
        /// The lock.
        name: String,
        /// The time that remains.
        remaining: Duration,
    },
    /// The name is not one that Kubernetes allows.
    #[error("invalid lock name {name:?}: {reason}")]
    InvalidName {
        /// What was given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The timing is not safe.
    #[error("invalid timing: {reason}")]
    InvalidTiming {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// This task already runs inside this lock: it would wait for itself.
    #[error("lock {name} is already held by this task: waiting for it would never end")]
    WouldDeadlock {
        /// The lock.
        name: String,
    },
    /// The token is not greater than the floor that was set.
    #[error("lock {name}: fencing token {token} is not above the floor {floor}; was etcd restored from a backup?")]
    TokenTooLow {
        /// The lock.
        name: String,
        /// The token of this acquisition.
        token: u64,
        /// The floor.
        floor: u64,
    },
    /// The API server refuses: the message names the missing rule.
    #[error("{0}")]
    Forbidden(String),
    /// The custom resource is not installed: the message says how to do it.
    #[error("{0}")]
    CrdMissing(String),
    /// The client was shut down.
    #[error("the client was shut down")]
    ShutDown,
    /// The store could not be used; the source says why.
    #[error("{context}: {source}")]
    Store {
        /// What was tried.
        context: String,
        /// Why it failed.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

/// How a lock was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum LossReason {
    /// No renewal was confirmed in time.
    #[error("its deadline passed without a confirmed renewal")]
    Deadline,
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
    /// Says whether nobody else can have the lock yet: while a client shuts down, a hold lasts as long as its guard.
    pub(crate) fn is_orderly(self) -> bool {
        matches!(self, Self::Released | Self::ShutDown)
    }
}

// === impl Error ===

impl Error {
    /// Makes the public error of a store's refusal.
    pub(crate) fn from_fault(context: String, fault: &Fault) -> Self {
        match fault {
            Fault::Fatal(Fatal::Forbidden(message)) => Self::Forbidden(message.clone()),
            Fault::Fatal(Fatal::CrdMissing(message)) => Self::CrdMissing(message.clone()),
            Fault::Fatal(Fatal::Other(source)) | Fault::Unknown(source) => {
                Self::Store { context, source: Arc::clone(source) }
            }
            Fault::Busy(_) => Self::store(context, "the API server is overloaded"),
            Fault::Refused(refused) => Self::store(context, format!("refused: {refused:?}")),
        }
    }

    /// Makes a store error of a text.
    pub(crate) fn store(context: impl Into<String>, why: impl Into<String>) -> Self {
        let source: Box<dyn std::error::Error + Send + Sync> = why.into().into();
        Self::Store { context: context.into(), source: source.into() }
    }

    /// Says whether the lock was held and lost.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }

    /// Says whether somebody else had the lock, at once or until the time was over.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Timeout { .. })
    }
}
