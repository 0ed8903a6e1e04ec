//! The msync engine behind the sessions: attempts, looks and holds of one client of the library.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use msync::{
    Client, Error, Lock, LockGuard, Timing,
    record::Role,
    store::{Snapshot, Store},
};

use crate::{
    api::{self, Name},
    config::Config,
    session::{Attempt, Backend, Hold, Mode, Record, TTL, Trouble},
};

/// Holds locks for the clients of one sidecar.
///
/// A restarted sidecar takes its predecessor's locks back. It cannot know which client had them, so that is for the one
/// client without an id only: what clients with an id hold, is held by an engine that no later start is akin to.
#[derive(Debug, Clone)]
pub struct Engine {
    nameless: Client,
    named: Client,
}

/// A lock that the engine holds, until it is released.
#[derive(Debug)]
pub struct Held {
    token: u64,
    /// Behind a mutex because a release takes it out; nothing waits while it is locked.
    guard: Mutex<Option<LockGuard>>,
}

/// One second more than clients are granted: with the margin of one second our deadline is 30 s after the send, and so a
/// new lock can show clients the 30 s of the contract without passing it. (The design says 30 s for the record.)
const RECORD_TTL: Duration = TTL.saturating_add(MARGIN);
/// A lock that nobody has: reading it needs the resource and a right, as every later call does.
const PROBE: &str = "msync-probe";
const MARGIN: Duration = Duration::from_secs(1);
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
    let builder = Client::builder().owner(config.owner()).timing(timing()?);
    let named = builder.clone().store(Arc::clone(store)).build();
    let nameless = match config.pod_uid.as_deref().filter(|uid| !uid.is_empty()) {
        Some(uid) => builder.pod(Role::Sidecar, uid).store(Arc::clone(store)).build(),
        None => builder.store(Arc::clone(store)).build(),
    };
    Ok(Engine::new(nameless, named))
}

impl Engine {
    /// Holds locks by two clients of one owner: one for requests without a client's id, one for those with.
    pub fn new(nameless: Client, named: Client) -> Self {
        Self { nameless, named }
    }

    /// The name under which locks are held.
    pub fn owner(&self) -> &str {
        self.nameless.owner()
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

    async fn read(&self, name: &Name) -> Result<Option<Record>, Trouble> {
        let found = self.lock(name, None)?.look().await.map_err(trouble)?;
        Ok(found.as_ref().map(record))
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
        Ok(Attempt::Busy(record(&holder)))
    }

    async fn acquire(&self, name: &Name, client: Option<&api::Client>) -> Result<Held, Trouble> {
        self.lock(name, client)?.acquire().await.map(Held::new).map_err(trouble)
    }

    async fn newest(&self, name: &Name, client: Option<&api::Client>) -> Option<Record> {
        self.lock(name, client).ok()?.newest().await.as_ref().map(record)
    }

    fn sightings(&self, name: &Name) -> impl Stream<Item = Option<Record>> + Send + 'static {
        let lock = self.lock(name, None).expect("names of the API are names of locks");
        lock.sightings().map(|seen| seen.as_ref().map(record))
    }

    async fn ready(&self) -> Result<(), Trouble> {
        let probe = Name::new(PROBE).expect("the name is valid");
        self.read(&probe).await.map(drop)
    }
}

impl Held {
    fn new(guard: LockGuard) -> Self {
        Self { token: guard.token().get(), guard: Mutex::new(Some(guard)) }
    }

    fn guard(&self) -> MutexGuard<'_, Option<LockGuard>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold for Held {
    fn remaining(&self) -> Duration {
        self.guard().as_ref().map_or(Duration::ZERO, LockGuard::remaining)
    }

    fn version(&self) -> String {
        self.guard().as_ref().map_or(0, LockGuard::version).to_string()
    }

    fn token(&self) -> u64 {
        self.token
    }

    fn created(&self) -> Option<Timestamp> {
        None
    }

    async fn fresh(&self, remaining: Duration) {
        let renewed = self.guard().as_ref().map(|guard| guard.renewed(remaining));
        let Some(renewed) = renewed else { return };
        if let Err(error) = renewed.await {
            tracing::debug!(%error, "a renewal did not bring enough");
        }
    }

    async fn release(&self) -> Result<(), Trouble> {
        let Some(guard) = self.guard().take() else { return Ok(()) };
        let name = guard.name().clone();
        let released = guard.release().await;
        released.map_err(|error| {
            tracing::warn!(lock = %name, %error, "not released in order");
            trouble(error)
        })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn trouble(error: Error) -> Trouble {
    Trouble(error.to_string())
}

fn record(snapshot: &Snapshot) -> Record {
    let (version, record) = (snapshot.version.number.to_string(), &snapshot.record);
    let written = record.expiry.and_then(|expiry| Timestamp::from_millisecond(expiry.as_millis()).ok());
    // The records of sidecars live a second longer than what clients are granted.
    let padding = if record.is_free() || record.ttl != RECORD_TTL { Duration::ZERO } else { MARGIN };
    let expiry = written.and_then(|expiry| expiry.checked_sub(padding).ok());
    let owners = record.waiters.iter().filter_map(|entry| Some(entry.claim()?.engine.owner().to_owned()));
    let (owner, queue) = (record.engine.owner().to_owned(), owners.collect());
    Record { version, created: None, owner, expiry, term: record.term.0, queue }
}
