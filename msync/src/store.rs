//! Where records live: what the engine asks of a store, on Kubernetes or in memory.
//!
//! A store decides nothing. It applies changes atomically, says what became of them, and reports what it saw.

use std::{fmt, sync::Arc, time::Duration};

use futures::{future::BoxFuture, stream::BoxStream};

use crate::{
    Error, LockName,
    error::{chain, told},
    record::{Change, EngineId, Record, Refused},
};

#[cfg(feature = "kube")]
pub(crate) mod kube;
mod memory;
mod rewatched;

#[cfg(feature = "kube")]
pub use kube::{Events, KubeStore, Lease, LeaseStore, Objects};
pub use memory::{Calls, MemoryStore};
#[doc(hidden)]
pub use rewatched::Rewatched;

/// Which object, and which state of it: the precondition of a deletion.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The object's identity, new for every creation.
    pub uid: Arc<str>,
    /// The `resourceVersion`: grows with every write of any lock, survives deletion.
    pub number: u64,
}

/// A record as it was at one version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snapshot {
    /// Which state of the object.
    pub version: Version,
    /// Its content.
    pub record: Record,
}

/// Why a call has no answer that the protocol could use.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Refused by a condition: certainly not applied by this delivery.
    Refused(Refused),
    /// Certainly not applied; may be sent again after the time given, if any (429, or 409 on a patch).
    Busy(Option<Duration>),
    /// Perhaps applied, perhaps not, perhaps later: time-outs, broken connections, 5xx.
    Unknown(Arc<dyn std::error::Error + Send + Sync>),
    /// Not usable as it is, and trying again at once will not help: certainly not applied, or not kept.
    Fatal(Fatal),
}

/// What a user must mend before the store can work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fatal {
    /// The API server refuses the rights (403) or the credentials (401). May pass: it has just started, a token is renewed.
    #[error("{0}")]
    Forbidden(String),
    /// The custom resource is not installed. May pass: it is being installed.
    #[error("{0}")]
    CrdMissing(String),
    /// The custom resource is an older one, which does not keep what is written.
    #[error("{0}")]
    CrdOutdated(String),
    /// Anything else that will not heal by itself.
    #[error("{0}")]
    Other(Arc<dyn std::error::Error + Send + Sync>),
}

// === impl Fatal ===

impl Fatal {
    /// Says whether it may pass by itself within seconds.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Forbidden(_) | Self::CrdMissing(_))
    }
}

// === impl Fault ===

impl Fault {
    /// Returns what it says, for people.
    pub fn describe(&self) -> String {
        match self {
            Self::Refused(refused) => format!("the API server refuses the write again and again ({refused:?})"),
            Self::Busy(_) => "the API server is overloaded".to_owned(),
            Self::Unknown(why) | Self::Fatal(Fatal::Other(why)) => chain(&**why),
            Self::Fatal(fatal) => fatal.to_string(),
        }
    }
}

// === impl Error: of a fault ===

impl Error {
    /// Makes the public error of a store's refusal.
    pub(crate) fn from_fault(context: String, fault: &Fault) -> Self {
        match fault {
            Fault::Fatal(Fatal::Forbidden(message)) => Self::Forbidden(message.clone()),
            Fault::Fatal(Fatal::CrdMissing(message) | Fatal::CrdOutdated(message)) => Self::CrdMissing(message.clone()),
            Fault::Fatal(Fatal::Other(_)) | Fault::Unknown(_) | Fault::Busy(_) | Fault::Refused(_) => {
                Self::Store { context, cause: cause(fault) }
            }
        }
    }

    /// Makes the error of a wait that never saw a holder.
    pub(crate) fn unavailable(name: String, after: Duration, fault: Option<&Fault>) -> Self {
        match fault {
            Some(fault @ Fault::Fatal(Fatal::Forbidden(_) | Fatal::CrdMissing(_) | Fatal::CrdOutdated(_))) => {
                Self::from_fault(name, fault)
            }
            Some(fault) => Self::Unavailable { name, after, cause: cause(fault) },
            None => Self::Unavailable { name, after, cause: told("no call was answered in time".to_owned()) },
        }
    }
}

fn cause(fault: &Fault) -> Arc<dyn std::error::Error + Send + Sync> {
    match fault {
        Fault::Fatal(Fatal::Other(why)) | Fault::Unknown(why) => Arc::clone(why),
        other => told(other.describe()),
    }
}

/// What a watch looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One lock, whoever holds it.
    Lock(LockName),
    /// Every lock that one engine holds: its inbox.
    Engine(EngineId),
    /// Every lock whose queue one engine came to be the first of by a hand-off.
    Next(EngineId),
    /// Every session.
    Sessions,
    /// Every lock.
    All,
}

// === impl Scope ===

impl Scope {
    /// Says whether a watch of this scope sees a lock while it is in such a state.
    pub fn matches(&self, name: &LockName, record: &Record) -> bool {
        match self {
            Self::Lock(watched) => watched == name,
            Self::Engine(engine) => *engine == record.engine,
            Self::Next(engine) => *engine == record.next,
            Self::Sessions => name.is_session(),
            Self::All => true,
        }
    }
}

/// What a watch reports, in the order of the versions of each lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// All that matches now: the first sighting of a watch, and again whenever it had to start over. A lock that is not
    /// listed is a reason to read it, never a loss.
    Listed(Vec<(LockName, Snapshot)>),
    /// A lock that matches, made or changed.
    Changed(LockName, Snapshot),
    /// Within [`Scope::Lock`], [`Scope::Sessions`] and [`Scope::All`]: the lock was deleted, at this version. Within the
    /// other scopes: it no longer matches, because it was deleted or because of what it shows now.
    Gone(LockName, u64),
    /// Nothing new; the watch is alive.
    Alive,
}

/// A watch that never ends by itself: after an error it goes on when it is polled again.
pub type Watch = BoxStream<'static, Result<Sighting, Fault>>;

/// A store of records. Every future may be dropped at any time; the call may then still take effect.
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Reads the newest state (linearizable); `None` when there is no object.
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>>;

    /// Applies a change and returns the state it left.
    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>>;

    /// Deletes the object if it is still in the given state; [`Refused::Mismatch`] if it changed, [`Refused::Absent`]
    /// if there is none.
    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>>;

    /// Reads all locks. Those that are illegible are left out.
    fn list(&self) -> BoxFuture<'_, Result<Vec<(LockName, Snapshot)>, Fault>> {
        Box::pin(async { Err(Fault::Fatal(Fatal::Other(told("this store cannot list".to_owned())))) })
    }

    /// Opens a watch. Whoever polls it waits a little after an error.
    fn watch(&self, scope: Scope) -> Watch;
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    /// Writes an error as reporters do: itself, then its sources.
    fn reported(error: &Error) -> String {
        let (mut text, mut source) = (error.to_string(), error.source());
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        text
    }

    #[derive(Debug, thiserror::Error)]
    #[error("client error")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the certificate is not trusted")]
    struct Inner;

    #[test]
    fn a_store_error_says_each_of_its_causes_once() {
        let fault = Fault::Unknown(Arc::new(Outer(Inner)));
        let store = Error::from_fault("could not acquire lock x".to_owned(), &fault);
        let waited = Error::unavailable("x".to_owned(), Duration::from_secs(3), Some(&fault));
        for text in [reported(&store), reported(&waited)] {
            for part in ["client error", "the certificate is not trusted"] {
                assert_eq!(text.matches(part).count(), 1, "{text}");
            }
        }
    }

    #[test]
    fn a_wait_that_never_saw_a_holder_is_not_busy_and_a_missing_right_stays_one() {
        let fault = Fault::Fatal(Fatal::Forbidden("the rule is missing".to_owned()));
        let forbidden = Error::unavailable("x".to_owned(), Duration::from_secs(3), Some(&fault));
        assert!(matches!(&forbidden, Error::Forbidden(text) if text == "the rule is missing"), "{forbidden:?}");
        let silent = Error::unavailable("x".to_owned(), Duration::from_secs(3), None);
        assert!(!silent.is_busy() && silent.to_string().contains("no call was answered"), "{silent}");
    }
}
