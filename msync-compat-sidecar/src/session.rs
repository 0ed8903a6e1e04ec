//! What a client's requests mean over the engine: who is told 200, and until when a lock is kept for a client.
//!
//! The sidecar holds locks in the engine's records and answers beats from memory. A client that stops beating loses
//! its lock when its lease ends; it is released then, so that others need not wait for a TTL. An answer is 200 only
//! while our own deadline leaves the client time to learn of a loss at its next beat. It never passes the API
//! server's errors on to a client that holds a lock, and never answers later than in [`ANSWER`].
#![allow(clippy::disallowed_methods, reason = "time-outs of answers are real time; leases are judged by `Moment`s")]

mod backend;
mod lease;
mod seen;

pub use backend::{Attempt, Backend, Hold, Mode, Record, Trouble};
pub use lease::{Beat, Lease, SAFE, TTL};
pub use seen::Seen;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::{sleep, timeout};

use crate::api::{Call, Lock, Name, Outcome, Verb};
use crate::clock::Moment;
use crate::server::Locks;

/// The longest a client waits for an answer; old clients give up after 10 s.
pub const ANSWER: Duration = Duration::from_secs(7);
/// How long a beat that must not be answered yet waits for a renewal.
const FRESHEN: Duration = Duration::from_millis(4_900);
/// How long a beat that could be answered waits for a renewal, so that its expiry is the whole TTL.
const PROLONG: Duration = Duration::from_secs(1);
/// What is left of our own deadline just after a renewal, at least.
const PROLONGED: Duration = Duration::from_millis(29_500);
/// How many names are remembered, so that a GET of them stays 200.
pub const SEEN: usize = 10_000;
/// The longest nap between two looks at the leases: timers stop in suspend, leases do not.
const NAP: Duration = Duration::from_secs(1);

/// Where the sessions take the time from.
pub type Now = Arc<dyn Fn() -> Moment + Send + Sync>;

/// Who this sidecar is, as its answers say.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The owner's name: the host name of the pod.
    pub owner: String,
    /// The namespace of the locks.
    pub namespace: String,
}

/// The sessions of all clients of one sidecar. Cheap to clone.
pub struct Sessions<B: Backend>(Arc<Inner<B>>);

impl<B: Backend> Clone for Sessions<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<B: Backend> {
    backend: B,
    identity: Identity,
    now: Now,
    desk: Mutex<Desk<B::Hold>>,
    draining: AtomicBool,
    changed: Notify,
}

struct Desk<H> {
    held: HashMap<Name, Session<H>>,
    seen: Seen,
    turns: HashMap<Name, Arc<tokio::sync::Mutex<()>>>,
}

struct Session<H> {
    hold: Arc<H>,
    lease: Lease,
}

impl<B: Backend> Locks for Sessions<B> {
    fn call(&self, call: Call) -> impl Future<Output = Outcome> + Send + 'static {
        let sessions = self.clone();
        async move { sessions.answer(call.verb, &call.name).await }
    }
}

impl<B: Backend> Sessions<B> {
    /// Sessions that begin with no lock held.
    pub fn new(backend: B, identity: Identity, now: Now) -> Self {
        let desk = Desk { held: HashMap::new(), seen: Seen::new(SEEN), turns: HashMap::new() };
        let (draining, changed) = (AtomicBool::new(false), Notify::new());
        Self(Arc::new(Inner { backend, identity, now, desk: Mutex::new(desk), draining, changed }))
    }

    /// Ends leases in time; runs as long as the sidecar.
    ///
    /// # Cancel safety
    /// Dropping the future ends no session, and leases no longer end either.
    pub async fn run(self) {
        loop {
            let nap = self.sweep().unwrap_or(NAP).min(NAP);
            tokio::select! {
                () = sleep(nap) => {}
                () = self.0.changed.notified() => {}
            }
        }
    }

    /// Refuses new locks from now on and waits until the last client has lost or given up its lock.
    ///
    /// # Cancel safety
    /// May be dropped and called again; new locks stay refused.
    pub async fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
        while !self.desk().held.is_empty() {
            // Looking again is cheap, and no wake-up can be missed.
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many locks are held for clients.
    pub fn held(&self) -> usize {
        self.desk().held.len()
    }

    /// Releases what no client wants any more and forgets what was lost; the time until the next lease ends.
    ///
    /// Must be called within a tokio runtime, which releases in the background.
    pub fn sweep(&self) -> Option<Duration> {
        let now = self.now();
        let mut desk = self.desk();
        let over: Vec<Name> =
            desk.held.iter().filter(|(_, session)| session.is_over(now)).map(|(name, _)| name.clone()).collect();
        for name in &over {
            self.end(&mut desk, name, now);
        }
        desk.held.values().map(|session| session.lease.left(now)).min()
    }

    async fn answer(&self, verb: Verb, name: &Name) -> Outcome {
        if let Some(outcome) = self.at_once(verb, name) {
            return outcome;
        }
        match timeout(ANSWER, self.slowly(verb, name)).await {
            Ok(outcome) => outcome,
            Err(_) => self.without_api(verb, name, &Trouble("the API server does not answer".into())),
        }
    }

    /// What memory alone can answer.
    fn at_once(&self, verb: Verb, name: &Name) -> Option<Outcome> {
        let now = self.now();
        let mut desk = self.desk();
        let Desk { held, .. } = &mut *desk;
        let session = held.get_mut(name)?;
        match (verb, session.judge()) {
            (_, Beat::Lost) => {
                self.end(&mut desk, name, now);
                None
            }
            (Verb::Put, Beat::Stale) => None,
            (Verb::Put, Beat::Good) if session.is_due(now) => None,
            (Verb::Put, Beat::Good) => {
                session.lease.beat(now, || session.hold.version());
                Some(Outcome::Good(self.own(session, name, now)))
            }
            (Verb::Get, _) => Some(Outcome::Good(self.own(session, name, now))),
            (Verb::Post, _) => Some(Outcome::Exists),
        }
    }

    async fn slowly(&self, verb: Verb, name: &Name) -> Outcome {
        if verb == Verb::Get {
            return self.look(name).await;
        }
        let _turn = self.turn(name).await;
        // Whoever had the turn before may have taken or freshened the lock.
        if let Some(outcome) = self.at_once(verb, name) {
            return outcome;
        }
        if let Some(outcome) = self.freshen(name).await {
            return outcome;
        }
        if self.0.draining.load(Ordering::Acquire) {
            return self.not_taken(verb, name, "this sidecar is about to end and takes no new locks".into());
        }
        self.take(verb, name).await
    }

    /// A beat that needs a renewal first: because the hold leaves too little time to say 200, or because the client
    /// is due for a new expiry, which may not be past our own deadline.
    async fn freshen(&self, name: &Name) -> Option<Outcome> {
        let (hold, judged) = self.desk().held.get(name).map(|session| (Arc::clone(&session.hold), session.judge()))?;
        let (wanted, patience) = match judged {
            Beat::Good => (PROLONGED, PROLONG),
            Beat::Stale | Beat::Lost => (SAFE, FRESHEN),
        };
        // Settling looks at what the renewal has brought, in time or not.
        let _ = timeout(patience, hold.fresh(wanted)).await;
        self.settle(name)
    }

    fn settle(&self, name: &Name) -> Option<Outcome> {
        let now = self.now();
        let mut desk = self.desk();
        let session = desk.held.get_mut(name)?;
        if session.judge() == Beat::Good {
            session.lease.beat(now, || session.hold.version());
            return Some(Outcome::Good(self.own(session, name, now)));
        }
        let picture = self.own(session, name, now);
        self.end(&mut desk, name, now);
        Some(Outcome::Taken(picture))
    }

    async fn take(&self, verb: Verb, name: &Name) -> Outcome {
        let mode = if verb == Verb::Post { Mode::Create } else { Mode::Take };
        match self.0.backend.attempt(name, mode).await {
            Ok(Attempt::Held(hold)) => self.begin(verb, name, hold).await,
            Ok(Attempt::Busy(record)) => {
                let lock = self.picture(name, record);
                if verb == Verb::Post { Outcome::Exists } else { Outcome::Taken(lock) }
            }
            Err(trouble) => self.without_api(verb, name, &trouble),
        }
    }

    async fn begin(&self, verb: Verb, name: &Name, hold: B::Hold) -> Outcome {
        let now = self.now();
        let session = Session { lease: Lease::begin(now, hold.version()), hold: Arc::new(hold) };
        let picture = self.own(&session, name, now);
        let judged = session.judge();
        self.desk().held.insert(name.clone(), session);
        self.0.changed.notify_one();
        match judged {
            Beat::Good => Outcome::Good(picture),
            Beat::Stale | Beat::Lost => self.freshen(name).await.unwrap_or(match verb {
                Verb::Post => Outcome::Exists,
                Verb::Get | Verb::Put => Outcome::Taken(picture),
            }),
        }
    }

    async fn look(&self, name: &Name) -> Outcome {
        match self.0.backend.read(name).await {
            Ok(Some(record)) => Outcome::Good(self.picture(name, record)),
            Ok(None) => self.remembered(name).map_or(Outcome::Absent, Outcome::Good),
            Err(trouble) => self.without_api(Verb::Get, name, &trouble),
        }
    }

    /// The answer while the API server gives none: what is known, or 503 for a name that nobody here ever saw.
    fn without_api(&self, verb: Verb, name: &Name, trouble: &Trouble) -> Outcome {
        tracing::warn!(lock = %name, error = %trouble.0, "answered from memory");
        match (verb, self.remembered(name)) {
            (_, None) => Outcome::Unavailable(trouble.0.clone()),
            (Verb::Get, Some(lock)) => Outcome::Good(lock),
            (Verb::Put, Some(lock)) => Outcome::Taken(lock),
            (Verb::Post, Some(_)) => Outcome::Exists,
        }
    }

    fn not_taken(&self, verb: Verb, name: &Name, why: String) -> Outcome {
        match self.remembered(name) {
            Some(lock) if verb == Verb::Put => Outcome::Taken(lock),
            _ => Outcome::Refused(why),
        }
    }

    /// Ends a session: the lock is remembered as it was last shown, and released while its name is locked here.
    fn end(&self, desk: &mut Desk<B::Hold>, name: &Name, now: Moment) {
        let Some(session) = desk.held.remove(name) else { return };
        desk.seen.remember(self.own(&session, name, now));
        let turn = Arc::clone(desk.turns.entry(name.clone()).or_default()).try_lock_owned();
        let (sessions, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            session.hold.release().await;
            drop(turn);
            sessions.forget_turn(&name);
        });
    }

    async fn turn(&self, name: &Name) -> Turn<'_, B> {
        let turn = Arc::clone(self.desk().turns.entry(name.clone()).or_default());
        Turn { guard: Some(turn.lock_owned().await), sessions: self, name: name.clone() }
    }

    /// Drops the entry of a name that nobody waits for.
    fn forget_turn(&self, name: &Name) {
        let mut desk = self.desk();
        if desk.turns.get(name).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            desk.turns.remove(name);
        }
    }

    fn own(&self, session: &Session<B::Hold>, name: &Name, now: Moment) -> Lock {
        Lock {
            name: name.clone(),
            namespace: self.0.identity.namespace.clone(),
            version: session.lease.version().to_owned(),
            created: session.hold.created(),
            owner: self.0.identity.owner.clone(),
            expiry: Some(session.lease.expiry(now, session.hold.remaining())),
        }
    }

    /// A record as clients shall see it, and remembers it. A freed lock is shown as its last holder left it.
    fn picture(&self, name: &Name, record: Record) -> Lock {
        let mut desk = self.desk();
        let last = desk.seen.recall(name).filter(|last| record.owner.is_empty() && !last.owner.is_empty());
        let lock = match last {
            Some(last) => Lock { expiry: last.expiry.min(record.expiry).or(record.expiry), ..last.clone() },
            None => Lock {
                name: name.clone(),
                namespace: self.0.identity.namespace.clone(),
                version: record.version,
                created: record.created,
                owner: record.owner,
                expiry: record.expiry,
            },
        };
        desk.seen.remember(lock.clone());
        lock
    }

    /// A lock as it was last seen.
    fn remembered(&self, name: &Name) -> Option<Lock> {
        self.desk().seen.recall(name).cloned()
    }

    fn desk(&self) -> MutexGuard<'_, Desk<B::Hold>> {
        self.0.desk.lock().expect("no thread panics while it holds this lock")
    }

    fn now(&self) -> Moment {
        (self.0.now)()
    }
}

impl<H: Hold> Session<H> {
    fn judge(&self) -> Beat {
        Beat::judge(self.hold.remaining())
    }

    /// The client is to be shown a new expiry that our own deadline does not reach yet.
    fn is_due(&self, now: Moment) -> bool {
        self.lease.is_due(now) && self.hold.remaining() < PROLONGED
    }

    fn is_over(&self, now: Moment) -> bool {
        self.lease.is_over(now) || self.judge() == Beat::Lost
    }
}

/// The right to change what this sidecar holds of one name.
struct Turn<'a, B: Backend> {
    guard: Option<OwnedMutexGuard<()>>,
    sessions: &'a Sessions<B>,
    name: Name,
}

impl<B: Backend> Drop for Turn<'_, B> {
    fn drop(&mut self) {
        self.guard = None;
        self.sessions.forget_turn(&self.name);
    }
}
