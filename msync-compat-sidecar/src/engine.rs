//! The msync engine behind the sessions: attempts, looks and holds of one client of the library.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use msync::{
    Client, Error, Leadership, Lock, LockGuard, Timing,
    clock::Wall,
    listener::Prometheus,
    unstable::{
        record::Role,
        store::{Snapshot, Store},
    },
};
use prometheus_client::{encoding::text::encode, registry::Registry};

use crate::{
    api::{self, Name},
    config::Config,
    session::{Attempt, Backend, Hold, Mode, Record, TTL, Trouble},
    sparse::Sparse,
    witness::Witness,
};

/// Holds locks for the clients of one sidecar.
///
/// A restarted sidecar takes its predecessor's locks back, if that is provably over. It cannot know which client had them,
/// so that is for the one client without an id only: what clients with an id hold, is held by an engine that no later
/// start is akin to.
#[derive(Debug, Clone)]
pub struct Engine {
    nameless: Client,
    named: Client,
    /// The library's own figures, of both.
    figures: Arc<Registry>,
    /// Kept for the process's life: as long as it is held, no other start is akin to this one.
    _witness: Option<Arc<Witness>>,
}

/// A lock that the engine holds, until it is released.
#[derive(Debug)]
pub struct Held {
    token: u64,
    /// Behind a mutex because a release takes it out; nothing waits while it is locked.
    guard: Mutex<Option<Guard>>,
}

/// A lock, or the leadership of an election.
#[derive(Debug)]
enum Guard {
    Lock(LockGuard),
    Leader(Leadership),
}

static UNRELEASED: Sparse = Sparse::new();

/// One second more than clients are granted: with the margin of one second our deadline is 30 s after the send, and so a
/// new lock can show clients the 30 s of the contract without passing it. (The design says 30 s for the record.)
const RECORD_TTL: Duration = TTL.saturating_add(MARGIN);
/// A lock that nobody has: reading it needs the resource and a right, as every later call does.
const PROBE: &str = "msync-probe";
const MARGIN: Duration = Duration::from_secs(1);
/// What this process is in its pod.
const ROLE: &str = "sidecar";
const RENEW: Duration = Duration::from_secs(5);
/// Short enough for a read and a write within the time that an answer may take.
const CALL: Duration = Duration::from_secs(3);

/// How the locks of clients are timed.
///
/// # Errors
/// None: the values are safe.
pub fn timing() -> Result<Timing, Error> {
    Timing::with_ttl(RECORD_TTL)?.margin(MARGIN)?.renew_every(RENEW)?.attempt(CALL)
}

/// Makes the engine that the configuration describes.
///
/// # Errors
/// As [`timing`].
pub fn engine(config: &Config, store: &Arc<dyn Store>) -> Result<Engine, Error> {
    let mut figures = Registry::default();
    let listener = Arc::new(Prometheus::register(&mut figures));
    // A beat shows its client a new expiry, which a session that keeps many locks at once cannot bring for one of them.
    let builder = Client::builder().owner(config.owner()).timing(timing()?).listener(listener).sessions(false);
    let named = builder.clone().store(Arc::clone(store)).build();
    let pod = config.pod_uid.as_deref().filter(|uid| !uid.is_empty());
    let kin = pod.and_then(|uid| Some((uid, sole(named.owner(), uid)?)));
    let (nameless, witness) = match kin {
        Some((uid, witness)) => (builder.pod(Role::Sidecar, uid), Some(witness)),
        None => (builder, None),
    };
    let nameless = nameless.store(Arc::clone(store)).build();
    let figures = Arc::new(figures);
    Ok(Engine { figures, _witness: witness.map(Arc::new), ..Engine::new(nameless, named) })
}

/// The proof that no other sidecar of this pod lives. Without it this one is akin to none, and none adopts its locks.
fn sole(owner: &str, uid: &str) -> Option<Witness> {
    match Witness::take(owner, uid, ROLE) {
        Ok(witness) => Some(witness),
        Err(error) => {
            tracing::warn!(owner, %error, "another sidecar of this pod lives, or it cannot be told; locks are not adopted");
            None
        }
    }
}

impl Engine {
    /// Holds locks by two clients of one owner: one for requests without a client's id, one for those with.
    pub fn new(nameless: Client, named: Client) -> Self {
        Self { nameless, named, figures: Arc::default(), _witness: None }
    }

    /// The name under which locks are held.
    pub fn owner(&self) -> &str {
        self.nameless.owner()
    }

    /// Begins to look for records that nobody has wanted for a day.
    pub fn sweep(&self) -> msync::Sweep {
        self.nameless.sweep()
    }

    /// Releases what is held, in order.
    ///
    /// # Cancel safety
    /// Dropping the future stops nothing that has begun.
    pub async fn shutdown(&self) {
        futures::join!(self.nameless.shutdown(), self.named.shutdown());
    }

    /// Locks are freed, not deleted, so that a GET of them stays 200; an earlier start of this pod gives way at once.
    fn lock(&self, name: &Name, client: Option<&api::Client>) -> Result<Lock, Trouble> {
        let engine = if client.is_some() { &self.named } else { &self.nameless };
        Ok(engine.lock(name.as_str()).map_err(trouble)?.retained().adopt())
    }
}

impl Backend for Engine {
    type Hold = Held;

    fn figures(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.figures).expect("writing to a string never fails");
        text
    }

    async fn read(&self, name: &Name) -> Result<Option<Record>, Trouble> {
        let lock = self.lock(name, None)?;
        match lock.look().await.map_err(trouble)? {
            Some(found) => shown(&lock, &found).await.map(Some),
            None => Ok(None),
        }
    }

    async fn attempt(&self, name: &Name, client: Option<&api::Client>, mode: Mode) -> Result<Attempt<Held>, Trouble> {
        let lock = self.lock(name, client)?;
        if let Some(guard) = lock.attempt(mode == Mode::Create).await.map_err(trouble)? {
            return Ok(Attempt::Held(Held::new(guard)));
        }
        let seen = match lock.last_seen() {
            Some(seen) => Some(seen),
            None => lock.look().await.map_err(trouble)?,
        };
        let holder = seen.ok_or_else(|| Trouble("the lock is changing hands just now".into()))?;
        Ok(Attempt::Busy(shown(&lock, &holder).await?))
    }

    async fn acquire(&self, name: &Name, client: Option<&api::Client>) -> Result<Held, Trouble> {
        self.lock(name, client)?.acquire().await.map(Held::new).map_err(trouble)
    }

    async fn campaign(&self, name: &Name) -> Result<Held, Trouble> {
        let election = self.named.election(name.as_str()).map_err(trouble)?;
        let leadership = election.campaign().await.map_err(trouble)?;
        Ok(Held { token: leadership.token().get(), guard: Mutex::new(Some(Guard::Leader(leadership))) })
    }

    fn leaders(&self, name: &Name) -> impl Stream<Item = Option<String>> + Send + 'static {
        let election = self.named.election(name.as_str()).expect("names of the API are names of elections");
        election.observe().map(|leader| leader.map(|leader| leader.owner().to_owned()))
    }

    async fn newest(&self, name: &Name, client: Option<&api::Client>) -> Option<Record> {
        let lock = self.lock(name, client).ok()?;
        let seen = lock.newest().await?;
        Some(at_last(&lock, &seen).await)
    }

    fn sightings(&self, name: &Name) -> impl Stream<Item = Option<Record>> + Send + 'static {
        let lock = self.lock(name, None).expect("names of the API are names of locks");
        lock.sightings().then(move |seen| {
            let lock = lock.clone();
            async move { Some(at_last(&lock, seen.as_ref()?).await) }
        })
    }

    async fn ready(&self) -> Result<(), Trouble> {
        let probe = Name::new(PROBE).expect("the name is valid");
        self.read(&probe).await.map(drop)
    }
}

impl Held {
    fn new(guard: LockGuard) -> Self {
        Self { token: guard.token().get(), guard: Mutex::new(Some(Guard::Lock(guard))) }
    }

    fn guard(&self) -> MutexGuard<'_, Option<Guard>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    fn remaining(&self) -> Duration {
        match self {
            Self::Lock(guard) => guard.remaining(),
            Self::Leader(leadership) => leadership.remaining(),
        }
    }

    async fn release(self) -> Result<(), Trouble> {
        let (name, released) = match self {
            Self::Lock(guard) => (guard.name().clone(), guard.release().await),
            Self::Leader(leadership) => (leadership.name().clone(), leadership.resign().await),
        };
        released.map_err(|error| {
            if let Some(unsaid) = UNRELEASED.say() {
                tracing::warn!(lock = %name, %error, unsaid, "not released in order");
            }
            trouble(error)
        })
    }
}

impl Hold for Held {
    fn remaining(&self) -> Duration {
        self.guard().as_ref().map_or(Duration::ZERO, Guard::remaining)
    }

    fn version(&self) -> String {
        match &*self.guard() {
            Some(Guard::Lock(guard)) => guard.version().to_string(),
            Some(Guard::Leader(_)) | None => "0".into(),
        }
    }

    fn token(&self) -> u64 {
        self.token
    }

    fn created(&self) -> Option<Timestamp> {
        None
    }

    async fn fresh(&self, remaining: Duration) {
        let renewed = match &*self.guard() {
            Some(Guard::Lock(guard)) => guard.renewed(remaining),
            // Nobody asks for more of a leadership than its renewals bring.
            Some(Guard::Leader(_)) | None => return,
        };
        if let Err(error) = renewed.await {
            tracing::debug!(%error, "a renewal did not bring enough");
        }
    }

    async fn release(&self) -> Result<(), Trouble> {
        let Some(guard) = self.guard().take() else { return Ok(()) };
        guard.release().await
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn trouble(error: Error) -> Trouble {
    Trouble(error.to_string())
}

/// A record as clients see it, with the expiry of the session that it lives by.
async fn shown(lock: &Lock, snapshot: &Snapshot) -> Result<Record, Trouble> {
    Ok(record(snapshot, lock.expiry(snapshot).await.map_err(trouble)?))
}

/// The same where nobody waits for a refusal: a session that cannot be read leaves the expiry open.
async fn at_last(lock: &Lock, snapshot: &Snapshot) -> Record {
    shown(lock, snapshot).await.unwrap_or_else(|error| {
        tracing::debug!(lock = %lock.name(), error = %error.0, "the session that it lives by could not be read");
        record(snapshot, None)
    })
}

fn record(snapshot: &Snapshot, expiry: Option<Wall>) -> Record {
    let (version, record) = (snapshot.version.number.to_string(), &snapshot.record);
    let written = expiry.and_then(|expiry| Timestamp::from_millisecond(expiry.as_millis()).ok());
    // The records of sidecars live a second longer than what clients are granted.
    let padding = if record.is_free() || record.ttl != RECORD_TTL { Duration::ZERO } else { MARGIN };
    let expiry = written.and_then(|expiry| expiry.checked_sub(padding).ok());
    let owners = record.waiters.iter().filter_map(|entry| Some(entry.claim()?.engine.owner().to_owned()));
    let (owner, queue) = (record.engine.owner().to_owned(), owners.collect());
    Record { version, created: None, owner, expiry, term: record.term.0, queue }
}
