//! What the sessions need of the engine, and nothing more.
//!
//! The engine holds, renews and watches; the sessions decide for whom. A test can stand in for it.

use std::future::Future;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;

use crate::api::{Client, Name};

/// A record of the store, as far as answers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The resource version.
    pub version: String,
    /// When the object was created.
    pub created: Option<Timestamp>,
    /// The holder's name; empty when the lock is free.
    pub owner: String,
    /// The wall clock's date up to which the holder claims it; when free, when it became so.
    pub expiry: Option<Timestamp>,
    /// Which acquisition holds it, 0 when free. Renewals leave it as it is.
    pub term: u64,
    /// The owners in its queue, the next one first.
    pub queue: Vec<String>,
}

/// Why the engine could not say anything about a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble(pub String);

/// Which states of the record an attempt may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Take it when it is absent, free, dead by our own observation, or our own from before a restart.
    Take,
    /// Only when it is absent.
    Create,
}

/// How an attempt ended.
#[derive(Debug)]
pub enum Attempt<H> {
    /// The lock is held, and kept renewed until released.
    Held(H),
    /// Somebody has it, or has just changed it.
    Busy(Record),
}

/// The engine, for one owner.
pub trait Backend: Send + Sync + 'static {
    /// A lock that is held.
    type Hold: Hold;

    /// Returns its own figures, in the text format of Prometheus; nothing if it has none.
    fn figures(&self) -> String {
        String::new()
    }

    /// Reads the record; `None` when there is none. One request, which answers or fails within a few seconds.
    ///
    /// What it saw counts as an observation of the holder for later attempts.
    fn read(&self, name: &Name) -> impl Future<Output = Result<Option<Record>, Trouble>> + Send;

    /// Tries once: does not queue, does not wait for a holder.
    ///
    /// # Cancel safety
    /// A dropped attempt leaves nothing that anybody renews.
    fn attempt(
        &self,
        name: &Name,
        client: Option<&Client>,
        mode: Mode,
    ) -> impl Future<Output = Result<Attempt<Self::Hold>, Trouble>> + Send;

    /// Waits in the queue, behind whoever waits already, here or elsewhere, for as long as it takes.
    ///
    /// # Cancel safety
    /// A dropped acquisition leaves the queue, and nothing that anybody renews.
    fn acquire(&self, name: &Name, client: Option<&Client>)
    -> impl Future<Output = Result<Self::Hold, Trouble>> + Send;

    /// Waits until this sidecar leads an election, for as long as it takes.
    ///
    /// # Cancel safety
    /// As [`Backend::acquire`].
    fn campaign(&self, name: &Name) -> impl Future<Output = Result<Self::Hold, Trouble>> + Send {
        self.acquire(name, None)
    }

    /// Who leads an election, as far as can be seen, and again after each change; `None` while nobody does. Never ends.
    fn leaders(&self, name: &Name) -> impl Stream<Item = Option<String>> + Send + 'static {
        let owner = |record: Option<Record>| record.map(|record| record.owner).filter(|owner| !owner.is_empty());
        self.sightings(name).map(owner)
    }

    /// The record as it is known without a request: kept up to date for a lock that is held or awaited for this client.
    fn newest(&self, name: &Name, client: Option<&Client>) -> impl Future<Output = Option<Record>> + Send;

    /// The record as it is, and again after each change of it; `None` while it is absent. Never ends.
    fn sightings(&self, name: &Name) -> impl Stream<Item = Option<Record>> + Send + 'static;

    /// Says whether locks can be read. One request.
    fn ready(&self) -> impl Future<Output = Result<(), Trouble>> + Send;
}

/// A lock that the engine keeps renewing.
pub trait Hold: Send + Sync + 'static {
    /// What is left of our own deadline; zero once the lock is lost.
    fn remaining(&self) -> Duration;

    /// The newest version of the record that is known here.
    fn version(&self) -> String;

    /// The fencing token of this acquisition.
    fn token(&self) -> u64;

    /// When the object was created, if known.
    fn created(&self) -> Option<Timestamp>;

    /// Renews at once if less than `remaining` is left, and waits until that much is left or the lock is lost.
    ///
    /// # Cancel safety
    /// The renewal goes on.
    fn fresh(&self, remaining: Duration) -> impl Future<Output = ()> + Send;

    /// Frees the lock; later calls do nothing. Ends when it is freed or lost, or with why nothing more can be done.
    ///
    /// # Cancel safety
    /// The release goes on.
    fn release(&self) -> impl Future<Output = Result<(), Trouble>> + Send;
}
