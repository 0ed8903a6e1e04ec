//! Leases, leaderships and candidacies without a store: a test says what becomes of them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    Candidate, Client, Error, FencingToken, Leadership, Lease, LockGuard, LockName, LossReason, MemoryStore,
    clock::{self, Clock, Moment},
    election::{Term, candidate},
    engine::{Message, Turn},
    held::lease::Bounds,
    protocol::{Standing, Ticket},
    runtime,
};

/// What becomes of a staged [`Lease`] or [`Leadership`]. Dropping it changes nothing: the hold lasts.
#[derive(Clone)]
pub struct Hold {
    standing: watch::Sender<Standing>,
    clock: Arc<dyn Clock>,
    released: CancellationToken,
}

/// What becomes of a staged [`Candidate`].
#[derive(Clone)]
pub struct Stage {
    name: LockName,
    /// None when the candidate has resigned or is gone.
    standing: Arc<Mutex<Option<watch::Sender<candidate::Standing>>>>,
    /// The running term.
    term: Arc<Mutex<Option<Hold>>>,
}

/// Makes a lease that is held until its [`Hold`] says otherwise.
///
/// # Panics
/// When the name is empty.
///
/// # Examples
/// ```
/// use msync::{Error, Lease, LossReason, testing};
///
/// fn write(lease: &Lease) -> Result<u64, Error> {
///     lease.check()?;
///     Ok(lease.token().get())
/// }
///
/// let (lease, hold) = testing::lease("ledger", 7);
/// assert_eq!(write(&lease).unwrap(), 7);
/// hold.lose(LossReason::TakenOver);
/// assert!(write(&lease).unwrap_err().is_lost());
/// ```
pub fn lease(name: &str, token: impl Into<FencingToken>) -> (Lease, Hold) {
    let staged = Staged::new(name, token.into());
    (staged.lease, staged.hold)
}

/// Makes a leadership that lasts until its [`Hold`] says otherwise, or until it is resigned.
///
/// # Panics
/// When the name is empty.
///
/// # Examples
/// ```
/// use msync::{Leadership, LossReason, testing};
///
/// async fn schedule(term: Leadership) -> &'static str {
///     match term.run(std::future::pending::<()>()).await {
///         Err(error) if error.is_lost() => "stopped",
///         _ => "went on",
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (term, hold) = testing::leadership("scheduler", 7);
/// let (said, ()) = tokio::join!(schedule(term), async { hold.lose(LossReason::Deadline) });
/// assert_eq!(said, "stopped");
/// # }
/// ```
pub fn leadership(name: &str, token: impl Into<FencingToken>) -> (Leadership, Hold) {
    let Staged { lease, hold, ticket, client } = Staged::new(name, token.into());
    let (messages, mut letters) = Message::channel();
    let released = hold.clone();
    runtime::spawn(lease.home(), async move {
        while let Some(message) = letters.next().await {
            if let Message::Release(_, _, acknowledge) = *message {
                released.released.cancel();
                if let Some(acknowledge) = acknowledge {
                    let _ = acknowledge.send(Ok(false)); // whoever has stopped waiting need not know
                }
            }
        }
    });
    let turn = Turn::staged(ticket, lease, messages, client.engine().clone());
    (Leadership::staged(LockGuard::new(turn)), hold)
}

/// Makes a candidate that follows until its [`Stage`] says otherwise.
///
/// # Panics
/// When the name is empty.
///
/// # Examples
/// ```
/// use msync::{Candidate, LossReason, testing};
///
/// /// Only the leader writes.
/// fn write(candidate: &Candidate) -> Option<u64> {
///     candidate.term().map(|term| term.token().get())
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let (candidate, stage) = testing::candidate("writer");
/// assert_eq!(write(&candidate), None);
/// stage.lead(7);
/// assert_eq!(write(&candidate), Some(7));
/// stage.lose(LossReason::TakenOver);
/// assert_eq!(write(&candidate), None);
/// # }
/// ```
pub fn candidate(name: &str) -> (Candidate, Stage) {
    let name = LockName::of(name).expect("an election has a name");
    let (publish, standing) = watch::channel(candidate::Standing::Following);
    let end = CancellationToken::new();
    let stage = Stage { name: name.clone(), standing: Arc::new(Mutex::new(Some(publish))), term: Arc::default() };
    let (ending, resigned) = (end.clone(), stage.clone());
    runtime::spawn(clock::of_caller().home(), async move {
        ending.cancelled().await;
        resigned.resign();
    });
    (Candidate::new(name, None, standing, end), stage)
}

/// What all of them are made of.
struct Staged {
    lease: Lease,
    hold: Hold,
    ticket: Ticket,
    client: Client,
}

// === impl Staged ===

impl Staged {
    fn new(name: &str, token: FencingToken) -> Self {
        static TICKETS: AtomicU64 = AtomicU64::new(1);
        let (ticket, name) =
            (Ticket(TICKETS.fetch_add(1, Ordering::Relaxed)), LockName::of(name).expect("a lock has a name"));
        let client = MemoryStore::new().client("test");
        let until = Moment::from_nanos(u64::MAX);
        let (sender, standing) = watch::channel(Standing { ticket: Some(ticket), until, ..Standing::default() });
        let engine = client.engine();
        let hold = Hold { standing: sender, clock: Arc::clone(&engine.clock), released: CancellationToken::new() };
        let lease =
            Lease::new(engine.id.clone(), name, token, ticket, Bounds::default(), Arc::clone(&engine.clock), standing);
        Self { lease, hold, ticket, client }
    }
}

// === impl Hold ===

impl Hold {
    /// Ends it, for that reason. What has ended stays so: a later reason changes nothing that was seen.
    pub fn lose(&self, reason: LossReason) {
        self.standing.send_modify(|standing| standing.ended = Some(reason));
    }

    /// Leaves it that much time from now on, as if no renewal succeeded any more: it is then lost, for
    /// [`LossReason::Deadline`]. [`ensure`](Lease::ensure) and [`remaining`](Lease::remaining) go by it.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// let (lease, hold) = msync::testing::lease("ledger", 7);
    /// assert!(lease.ensure(Duration::from_secs(60)).is_ok());
    /// hold.remaining(Duration::from_secs(5));
    /// assert!(lease.check().is_ok() && lease.ensure(Duration::from_secs(60)).is_err());
    /// ```
    pub fn remaining(&self, duration: Duration) {
        let until = self.clock.now() + duration;
        self.standing.send_modify(|standing| standing.until = until);
    }

    /// Says whether the leadership was resigned or dropped. A lease alone is never released.
    pub fn is_released(&self) -> bool {
        self.released.is_cancelled()
    }

    /// Completes when the leadership is resigned or dropped.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn released(&self) {
        self.released.cancelled().await;
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("is_released", &self.is_released()).finish_non_exhaustive()
    }
}

// === impl Stage ===

impl Stage {
    /// Lets the candidate lead under a new term, until its [`Hold`] or the stage ends it. A term that runs is taken over by it.
    /// Does nothing to one that has resigned.
    pub fn lead(&self, token: impl Into<FencingToken>) -> Hold {
        let Staged { lease, hold, .. } = Staged::new(self.name.as_str(), token.into());
        let (running, _) = mpsc::channel(1);
        if let Some(before) = self.replace(Some(hold.clone())) {
            before.lose(LossReason::TakenOver);
        }
        self.publish(candidate::Standing::Leading(Term::new(lease, running)));
        hold
    }

    /// Ends the term that runs, if any, for that reason: the candidate follows.
    pub fn lose(&self, reason: LossReason) {
        if let Some(term) = self.replace(None) {
            term.lose(reason);
        }
        self.publish(candidate::Standing::Following);
    }

    /// Lets the campaign fail: [`Candidate::fault`] says why.
    pub fn fail(&self, error: Error) {
        self.lose(LossReason::Deadline);
        self.publish(candidate::Standing::Failed(error));
    }

    /// Says whether the candidate has resigned, or its last clone was dropped.
    pub fn has_resigned(&self) -> bool {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn resign(&self) {
        self.lose(LossReason::Released);
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn replace(&self, term: Option<Hold>) -> Option<Hold> {
        std::mem::replace(&mut *self.term.lock().unwrap_or_else(PoisonError::into_inner), term)
    }

    fn publish(&self, standing: candidate::Standing) {
        if let Some(publish) = &*self.standing.lock().unwrap_or_else(PoisonError::into_inner) {
            publish.send_replace(standing);
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("name", &self.name)
            .field("has_resigned", &self.has_resigned())
            .finish_non_exhaustive()
    }
}
