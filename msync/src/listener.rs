//! Who is told what becomes of locks: metrics, Events, and whatever a program hangs on it.
//!
//! A listener is called on a thread of its own, one thing after the other as it happened, so it can hold nothing up: no
//! mutex of msync's is held, and no lock, renewal or deadline waits for it. Without one nothing is made to be told.

mod ears;
#[cfg(feature = "metrics")]
mod facade;
mod figures;
mod label;
#[cfg(any(test, feature = "metrics", feature = "prometheus-client"))]
mod names;
#[cfg(feature = "prometheus-client")]
mod prometheus;

use std::{fmt, sync::Arc, time::Duration};

pub(crate) use ears::{Ears, News, Open, What};
#[cfg(feature = "metrics")]
pub use facade::Facade;
#[doc(hidden)]
pub use figures::{FIGURES, Figure, LOSSES};
pub(crate) use label::Label;
#[cfg(feature = "prometheus-client")]
pub use prometheus::Prometheus;

#[doc(inline)]
pub use crate::protocol::{Renewal, Wait};
use crate::{FencingToken, LockName, LossReason};

/// Is told what becomes of the locks and elections of a client: [`ClientBuilder::listener`](crate::ClientBuilder::listener).
///
/// Every method does nothing unless it is written. They are called one after the other, in the order in which things
/// happened to each lock, on a thread that does nothing else, moments after they happened. One that takes long delays what
/// is told after it and nothing else; when 8,192 things wait to be told, later ones are dropped, and a warning says how many.
///
/// ```
/// use std::{sync::{Arc, atomic::{AtomicU64, Ordering}}, time::Duration};
/// use msync::listener::{Listener, Subject, Wait};
///
/// #[derive(Default)]
/// struct Patience(AtomicU64);
///
/// impl Listener for Patience {
///     fn waited(&self, _: &Subject<'_>, _: Wait, after: Duration) {
///         self.0.fetch_max(after.as_millis() as u64, Ordering::Relaxed);
///     }
/// }
///
/// let longest = Arc::new(Patience::default());
/// let client = msync::Client::builder().listener(Arc::clone(&longest)).memory(&msync::MemoryStore::new()).build();
/// ```
#[allow(unused_variables, reason = "what a listener is told has names, and does nothing by itself")]
pub trait Listener: Send + Sync + 'static {
    /// An acquisition begins to wait, or a campaign.
    fn waiting(&self, subject: &Subject<'_>) {}

    /// A wait has ended, one way or another.
    fn waited(&self, subject: &Subject<'_>, end: Wait, after: Duration) {}

    /// This process has the lock.
    fn acquired(&self, subject: &Subject<'_>, token: FencingToken) {}

    /// This process has given the lock back, after it was `held` for so long.
    fn released(&self, subject: &Subject<'_>, token: FencingToken, held: Duration) {}

    /// This process has lost the lock. `fault` is what the last call to the store met that did not succeed.
    fn lost(&self, subject: &Subject<'_>, loss: &Loss<'_>) {}

    /// A renewal of a lock that this process holds has ended.
    fn renewed(&self, subject: &Subject<'_>, end: Renewal) {}

    /// The store has refused an acquisition for good: a right that is missing, a policy, an admission webhook.
    fn refused(&self, subject: &Subject<'_>, fault: &str) {}

    /// This process leads, or leads no longer. After `acquired`, or `released` and `lost`, of an election.
    fn leading(&self, subject: &Subject<'_>, leads: bool) {}

    /// A call to the store about a single lock has ended. Watches and lists are not told.
    fn called(&self, verb: Verb, answer: Answer, took: Duration) {}
}

/// What something is told of: a lock or an election.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    name: &'a LockName,
    label: Option<&'a str>,
    election: bool,
    uid: Option<&'a str>,
}

/// How a lock was lost.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Loss<'a> {
    /// The fencing token of the hold.
    pub token: FencingToken,
    /// For how long it was held.
    pub held: Duration,
    /// Why it was lost.
    pub reason: LossReason,
    /// What the last call to the store met that did not succeed, if one did not since all was well.
    pub fault: Option<&'a str>,
}

/// A call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// A read of one object.
    Get,
    /// An object is made.
    Create,
    /// An object is changed.
    Patch,
    /// An object is removed.
    Delete,
}

/// How a call to the store has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It did what it was for.
    Done,
    /// A condition did not hold: part of every race.
    Refused,
    /// The server is busy, and did nothing.
    Busy,
    /// There was no answer in time, or none that could be read.
    Unknown,
    /// Rights, a policy or the resource forbid it.
    Denied,
}

// === impl Subject ===

impl<'a> Subject<'a> {
    #[cfg(all(test, feature = "kube"))]
    pub(crate) fn of_election(name: &'a LockName) -> Self {
        Self { name, label: None, election: true, uid: None }
    }

    /// Returns the name of the lock or election.
    pub fn name(&self) -> &'a LockName {
        self.name
    }

    /// Returns what stands for it in figures: the template of an annotated function, as `invoices-{customer}`, or what
    /// [`Lock::label`](crate::Lock::label) says. `None` where nobody has said: names are many, so they make poor labels.
    pub fn label(&self) -> Option<&'a str> {
        self.label
    }

    /// Says whether it is an election.
    pub fn is_election(&self) -> bool {
        self.election
    }

    /// Returns the uid of its object, where it is known.
    pub fn uid(&self) -> Option<&'a str> {
        self.uid
    }
}

// === impl words ===

/// The words that stand for values in figures and logs: they do not change.
macro_rules! words {
    ($type:ty: $($variant:pat => $word:literal),+ $(,)?) => {
        impl $type {
            /// Returns the word that stands for it in figures.
            pub fn as_str(self) -> &'static str {
                match self { $($variant => $word),+ }
            }
        }
    };
}

words!(Verb: Self::Get => "get", Self::Create => "create", Self::Patch => "patch", Self::Delete => "delete");
words!(
    Answer: Self::Done => "done", Self::Refused => "refused", Self::Busy => "busy", Self::Unknown => "unknown",
    Self::Denied => "denied",
);
words!(
    Wait: Self::Acquired => "acquired", Self::Busy => "busy", Self::GivenUp => "given_up", Self::Failed => "failed",
    Self::ShutDown => "shut_down",
);
words!(
    Renewal: Self::Done => "done", Self::Refused => "refused", Self::Denied => "denied", Self::Failed => "failed",
);
words!(
    LossReason: Self::Deadline => "deadline", Self::Refused => "refused", Self::TakenOver => "taken_over",
    Self::Deleted => "deleted", Self::MaxHold => "max_hold", Self::Released => "released", Self::ShutDown => "shut_down",
    Self::RuntimeEnded => "runtime_ended",
);

impl<L: Listener + ?Sized> Listener for Arc<L> {
    fn waiting(&self, subject: &Subject<'_>) {
        (**self).waiting(subject);
    }

    fn waited(&self, subject: &Subject<'_>, end: Wait, after: Duration) {
        (**self).waited(subject, end, after);
    }

    fn acquired(&self, subject: &Subject<'_>, token: FencingToken) {
        (**self).acquired(subject, token);
    }

    fn released(&self, subject: &Subject<'_>, token: FencingToken, held: Duration) {
        (**self).released(subject, token, held);
    }

    fn lost(&self, subject: &Subject<'_>, loss: &Loss<'_>) {
        (**self).lost(subject, loss);
    }

    fn renewed(&self, subject: &Subject<'_>, end: Renewal) {
        (**self).renewed(subject, end);
    }

    fn refused(&self, subject: &Subject<'_>, fault: &str) {
        (**self).refused(subject, fault);
    }

    fn leading(&self, subject: &Subject<'_>, leads: bool) {
        (**self).leading(subject, leads);
    }

    fn called(&self, verb: Verb, answer: Answer, took: Duration) {
        (**self).called(verb, answer, took);
    }
}

impl fmt::Debug for dyn Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
