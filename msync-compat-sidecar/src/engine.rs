//! The msync engine behind the sessions: attempts, looks and holds of one client of the library.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use msync::{
    Client, Error, Lock, LockGuard, Timing,
    store::{Snapshot, Store},
};

use crate::{
    api::Name,
    config::Config,
    session::{Attempt, Backend, Hold, Mode, Record, TTL, Trouble},
};

/// Holds locks for the clients of one sidecar.
#[derive(Debug, Clone)]
pub struct Engine {
    client: Client,
}

/// A lock that the engine holds, until it is released.
#[derive(Debug)]
pub struct Held {
    /// Behind a mutex because a release takes it out; nothing waits while it is locked.
    guard: Mutex<Option<LockGuard>>,
}

/// One second more than clients are granted: with the margin of one second our deadline is 30 s after the send, and so a
/// new lock can show clients the 30 s of the contract without passing it. (The design says 30 s for the record.)
const RECORD_TTL: Duration = TTL.saturating_add(MARGIN);
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

/// Makes the client that the configuration describes.
///
/// # Errors
/// As [`timing`].
pub fn client(config: &Config, store: &Arc<dyn Store>) -> Result<Client, Error> {
    let mut builder = Client::builder().owner(config.owner()).timing(timing()?);
    if let Some(uid) = config.pod_uid.as_deref().filter(|uid| !uid.is_empty()) {
        builder = builder.pod_uid(uid);
    }
    Ok(builder.store(Arc::clone(store)).build())
}

impl Engine {
    /// Holds locks by this client, whose owner is shown as theirs.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Locks are freed, not deleted, so that a GET of them stays 200; an earlier start of this pod gives way at once.
    fn lock(&self, name: &Name) -> Result<Lock, Trouble> {
        Ok(self.client.lock(name.as_str()).map_err(trouble)?.retained().adopt())
    }
}

impl Backend for Engine {
    type Hold = Held;

    async fn read(&self, name: &Name) -> Result<Option<Record>, Trouble> {
        let found = self.lock(name)?.look().await.map_err(trouble)?;
        Ok(found.as_ref().map(record))
    }

    async fn attempt(&self, name: &Name, mode: Mode) -> Result<Attempt<Held>, Trouble> {
        let lock = self.lock(name)?;
        if let Some(guard) = lock.attempt(mode == Mode::Create).await.map_err(trouble)? {
            return Ok(Attempt::Held(Held { guard: Mutex::new(Some(guard)) }));
        }
        let seen = match lock.last_seen() {
            Some(seen) => Some(seen),
            None => lock.look().await.map_err(trouble)?,
        };
        let holder = seen.ok_or_else(|| Trouble("the lock is changing hands just now".into()))?;
        Ok(Attempt::Busy(record(&holder)))
    }
}

impl Held {
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

    async fn release(&self) {
        let Some(guard) = self.guard().take() else { return };
        let name = guard.name().clone();
        if let Err(error) = guard.release().await {
            tracing::warn!(lock = %name, %error, "not released in order");
        }
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
    Record { version, created: None, owner: record.engine.owner().to_owned(), expiry }
}
