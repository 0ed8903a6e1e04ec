//! What a client's requests mean over the engine: who is told 200, and until when a lock is kept for a client.
//!
//! The sidecar holds locks in the engine's records and answers beats from memory. A client that stops beating loses
//! its lock when its lease ends; it is released then, so that others need not wait for a TTL. An answer is 200 only
//! while our own deadline leaves the client time to learn of a loss at its next beat. It never passes the API
//! server's errors on to a client that holds a lock, and never answers later than in [`ANSWER`], unless the client
//! asked to wait.
#![allow(clippy::disallowed_methods, reason = "time-outs of answers are real time; leases are judged by `Moment`s")]

mod backend;
mod beat;
mod changes;
mod desk;
mod election;
mod lease;
mod listing;
mod picture;
mod queue;
mod recent;
mod release;
mod watch;

pub use backend::{Attempt, Backend, Hold, Mode, Record, Trouble};
pub use lease::{Beat, Lease, SAFE, TTL};
pub use recent::Recent;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Call, Name, Outcome, Raw, Request, Verb};
use crate::clock::Moment;
use crate::metrics::{Answered, Metrics};
use crate::server::Locks;

use changes::Changes;
use desk::Desk;
use election::{Election, Elections};

/// The longest a client waits for an answer that it wants at once; old clients give up after 10 s.
pub const ANSWER: Duration = Duration::from_secs(7);
/// How long the API server may take to say that it is there.
const READY: Duration = Duration::from_secs(3);
/// What such an answer is good for.
const READY_FOR: Duration = Duration::from_secs(1);
/// How many names are remembered, so that a GET of them stays 200.
pub const SEEN: usize = 10_000;
/// The longest nap between two looks at the leases: timers stop in suspend, leases do not.
const NAP: Duration = Duration::from_secs(1);

/// The shortest one: leases that end one after another are not worth a look at all of them each.
const BREATH: Duration = Duration::from_millis(20);

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

/// What a sidecar takes part in, and how much it takes upon itself.
#[derive(Debug, Clone)]
pub struct Part {
    /// The elections.
    pub elections: Vec<Name>,
    /// Locks held at once, at most.
    pub most: usize,
}

impl Default for Part {
    fn default() -> Self {
        Self { elections: Vec::new(), most: usize::MAX }
    }
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
    /// Locked after the desk, never before.
    changes: Mutex<Changes>,
    draining: CancellationToken,
    elections: Elections<B::Hold>,
    /// Which run of the sidecar this is, for the versions that it gives out.
    run: u32,
    most: usize,
    metrics: Metrics,
    /// The last answer to whether the API server is there, and when it was given.
    ready: tokio::sync::Mutex<Option<(Duration, Result<(), Trouble>)>>,
}

impl<B: Backend> Locks for Sessions<B> {
    fn call(&self, request: Request) -> impl Future<Output = Outcome> + Send + 'static {
        let sessions = self.clone();
        async move {
            // Boxed is all but what memory can answer: a beat needs no room for the longest way that a call may take.
            match request {
                Request::Lock(call) => sessions.answer(&call).await,
                Request::Election(inquiry) => Box::pin(sessions.leader(&inquiry)).await,
                Request::List => Outcome::Listed(Box::pin(sessions.list()).await),
                Request::Ready => Box::pin(sessions.ready()).await,
                Request::Metrics => Outcome::Metrics(sessions.metrics()),
            }
        }
    }

    fn beats_for(&self, request: Raw<'_>) -> Option<Name> {
        match api::read(request) {
            Ok(Request::Lock(call)) => self.desk().is_held_for(&call).then_some(call.name),
            Ok(Request::Election(inquiry)) => self.leads(&inquiry.name).then_some(inquiry.name),
            _ => None,
        }
    }

    fn answered(&self, answered: &Answered, took: Duration) {
        self.0.metrics.answered(answered, took);
    }
}

impl<B: Backend> Sessions<B> {
    /// Sessions that begin with no lock held.
    pub fn new(backend: B, identity: Identity, now: Now) -> Self {
        Self::with(backend, identity, now, Part::default())
    }

    /// As [`Sessions::new`], with elections and a limit.
    pub fn with(backend: B, identity: Identity, now: Now, part: Part) -> Self {
        // Without randomness versions may be mistaken for those of an earlier run: then a change is told late.
        let run = getrandom::u32().unwrap_or_default();
        let start = now();
        let election = |name: Name| (name.clone(), Arc::new(Election::new(name, start)));
        Self(Arc::new(Inner {
            elections: part.elections.into_iter().map(election).collect(),
            most: part.most,
            run,
            backend,
            identity,
            now,
            desk: Mutex::new(Desk::new(SEEN)),
            changes: Mutex::new(Changes::new(run, SEEN)),
            draining: CancellationToken::new(),
            metrics: Metrics::new(),
            ready: tokio::sync::Mutex::default(),
        }))
    }

    /// Ends leases in time and takes part in elections; runs as long as the sidecar.
    ///
    /// # Cancel safety
    /// Dropping the future ends no session, and leases no longer end either; candidacies end.
    pub async fn run(self) {
        tokio::join!(self.clone().end_leases(), self.elect());
    }

    async fn end_leases(self) {
        loop {
            let nap = self.sweep().unwrap_or(NAP).clamp(BREATH, NAP);
            // No lease is shorter than a nap, so none that begins or is shortened meanwhile ends before the next look.
            sleep(nap).await;
        }
    }

    /// Refuses new locks from now on, ends every long wait, and returns when the last client has lost or given up its
    /// lock.
    ///
    /// # Cancel safety
    /// May be dropped and called again; new locks stay refused.
    pub async fn drain(&self) {
        self.0.draining.cancel();
        self.0.elections.values().for_each(|election| election.wake());
        while self.held() > 0 || self.leads_any() {
            // Looking again is cheap, and no wake-up can be missed.
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// How many locks are held for clients.
    pub fn held(&self) -> usize {
        self.desk().held.len()
    }

    /// How many requests wait for a lock.
    pub fn waiting(&self) -> usize {
        self.desk().waiting.len()
    }

    async fn answer(&self, call: &Call) -> Outcome {
        match call.verb {
            Verb::Watch { version, wait } => Box::pin(self.watch(call, version, wait)).await,
            Verb::Put { wait, .. } if !wait.is_zero() => Box::pin(self.queue(call, wait)).await,
            _ => match self.at_once(call) {
                Some(outcome) => outcome,
                None => Box::pin(self.in_time(call, self.slowly(call))).await,
            },
        }
    }

    /// The outcome, or what is known without the API server.
    async fn in_time(&self, call: &Call, outcome: impl Future<Output = Outcome>) -> Outcome {
        match timeout(ANSWER, outcome).await {
            Ok(outcome) => outcome,
            Err(_) => self.without_api(call, &Trouble("the API server does not answer".into())),
        }
    }

    async fn slowly(&self, call: &Call) -> Outcome {
        match call.verb {
            Verb::Get | Verb::Watch { .. } => return self.look(call).await,
            Verb::Delete => return self.release(call).await,
            Verb::Put { .. } | Verb::Post { .. } => {}
        }
        // Whoever holds is served before any question of queues, and waits for nobody's turn.
        if let Some(outcome) = self.keep(call).await {
            return outcome;
        }
        if self.desk().is_awaited(&call.name) {
            return self.behind_the_queue(call).await;
        }
        let _turn = self.turn(&call.name).await;
        // Whoever had the turn before may have taken the lock.
        if let Some(outcome) = self.keep(call).await {
            return outcome;
        }
        if self.0.draining.is_cancelled() {
            return self.not_taken(call, "this sidecar is about to end and takes no new locks".into());
        }
        if self.held() >= self.0.most {
            return Outcome::Unavailable(format!("this sidecar holds as many locks as it may: {}", self.0.most));
        }
        self.take(call).await
    }

    async fn take(&self, call: &Call) -> Outcome {
        let post = matches!(call.verb, Verb::Post { .. });
        let mode = if post { Mode::Create } else { Mode::Take };
        match self.0.backend.attempt(&call.name, call.client.as_ref(), mode).await {
            Ok(Attempt::Held(hold)) => self.begin(call, hold).await,
            Ok(Attempt::Busy(record)) => {
                let lock = self.picture(&call.name, record);
                if post { Outcome::Exists } else { Outcome::Taken(lock) }
            }
            Err(trouble) => self.without_api(call, &trouble),
        }
    }

    /// Asks the API server at most once a second, however many ask.
    async fn ready(&self) -> Outcome {
        if self.0.draining.is_cancelled() {
            return Outcome::Ending;
        }
        let mut last = self.0.ready.lock().await;
        let fresh = last.as_ref().filter(|(at, _)| self.now().since_boot.saturating_sub(*at) < READY_FOR);
        let answer = if let Some((_, answer)) = fresh {
            answer.clone()
        } else {
            let asked = timeout(READY, self.0.backend.ready()).await;
            let answer = asked.unwrap_or_else(|_| Err(Trouble("the API server does not answer".into())));
            *last = Some((self.now().since_boot, answer.clone()));
            answer
        };
        match answer {
            Ok(()) => Outcome::Well,
            Err(trouble) => Outcome::Unavailable(trouble.0),
        }
    }

    fn metrics(&self) -> String {
        let (held, waiting) = (self.held(), self.waiting());
        self.0.metrics.text(held, waiting, &self.0.backend.figures())
    }

    fn desk(&self) -> MutexGuard<'_, Desk<B::Hold>> {
        self.0.desk.lock().expect("no thread panics while it holds this lock")
    }

    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.0.changes.lock().expect("no thread panics while it holds this lock")
    }

    fn now(&self) -> Moment {
        (self.0.now)()
    }
}
