//! Where records live: what the engine asks of a store, on Kubernetes or in memory.
//!
//! A store decides nothing. It applies changes atomically, says what became of them, and reports what it saw.

use std::{fmt, sync::Arc, time::Duration};

use futures::{future::BoxFuture, stream::BoxStream};

use crate::{
    LockName,
    record::{Change, EngineId, Record, Refused},
};

#[cfg(feature = "kube")]
mod kube;
mod memory;
mod rewatched;

#[cfg(feature = "kube")]
pub use kube::KubeStore;
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
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Refused(refused) => format!("the API server refuses the write again and again ({refused:?})"),
            Self::Busy(_) => "the API server is overloaded".to_owned(),
            Self::Unknown(why) | Self::Fatal(Fatal::Other(why)) => chain(&**why),
            Self::Fatal(fatal) => fatal.to_string(),
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

/// What a watch looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One lock, whoever holds it.
    Lock(LockName),
    /// Every lock that one engine holds: its inbox.
    Engine(EngineId),
    /// Every lock whose queue one engine came to be the first of by a hand-off.
    Next(EngineId),
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
    /// Within [`Scope::Lock`] and [`Scope::All`]: the lock was deleted, at this version. Within the other
    /// scopes: it no longer matches, because it was deleted or because of what it shows now.
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
