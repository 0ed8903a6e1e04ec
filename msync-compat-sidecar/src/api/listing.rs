//! What a sidecar holds and waits for, as `GET /locks` shows it.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Client, Led, Name};

/// Every lock that is held or awaited by a client of this sidecar.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Listing {
    /// The name under which this sidecar holds locks.
    pub owner: String,
    /// It is about to end and takes no new locks.
    pub draining: bool,
    /// Sorted by name.
    pub locks: Vec<Listed>,
    /// Those in which this sidecar takes part, sorted by name.
    pub elections: Vec<ListedElection>,
}

/// One election.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedElection {
    /// Its name.
    #[serde(serialize_with = "name")]
    pub name: Name,
    /// Who leads; empty while nobody is known to.
    pub leader: String,
    /// This sidecar does.
    pub leads: bool,
    /// It leads: the fencing token, as text.
    pub token: Option<String>,
    /// It leads: how long it is safe.
    pub remaining_seconds: Option<f64>,
    /// How long ago somebody here asked; it takes part while that is less than half a minute.
    pub asked_seconds: Option<f64>,
}

/// One lock.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Its name.
    #[serde(serialize_with = "name")]
    pub name: Name,
    /// A client of this sidecar has it.
    pub held: bool,
    /// Who has it; empty when it is free or not known yet.
    pub owner: String,
    /// Held here: the client's id.
    #[serde(serialize_with = "client")]
    pub client: Option<Client>,
    /// Held here: the fencing token, as text, since JavaScript's numbers are too short.
    pub token: Option<String>,
    /// Held here: what the client may be silent.
    pub ttl_seconds: Option<u64>,
    /// Held here: how long it is safe. Held elsewhere: up to the holder's date.
    pub remaining_seconds: Option<f64>,
    /// The owners in the queue, the next one first.
    pub queue: Vec<String>,
    /// The requests that wait here, the longest first.
    pub waiting: Vec<Waiting>,
}

/// One request that waits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Whose.
    #[serde(serialize_with = "client")]
    pub client: Option<Client>,
    /// Since when.
    pub waited_seconds: f64,
    /// For how much longer.
    pub left_seconds: f64,
    /// Its place in the lock's queue, from 1, as this sidecar last saw it.
    pub place: Option<usize>,
}

impl ListedElection {
    /// As it is told, and when somebody asked last.
    pub fn new(name: &Name, led: Led, asked: Option<Duration>) -> Self {
        Self {
            name: name.clone(),
            leader: led.leader,
            leads: led.grant.is_some(),
            token: led.grant.map(|grant| grant.token.to_string()),
            remaining_seconds: led.grant.map(|grant| seconds(grant.remaining)),
            asked_seconds: asked.map(seconds),
        }
    }
}

/// Seconds, to the millisecond.
pub fn seconds(time: Duration) -> f64 {
    let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    f64::from(millis) / 1000.0
}

impl Listing {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers always serialize")
    }
}

fn name<S: Serializer>(name: &Name, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn client<S: Serializer>(client: &Option<Client>, serializer: S) -> Result<S::Ok, S::Error> {
    client.as_ref().map(Client::as_str).serialize(serializer)
}
