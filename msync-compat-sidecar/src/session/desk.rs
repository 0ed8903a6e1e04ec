//! What a sidecar knows at one instant: the locks it holds for clients, the requests that wait, and the turns.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard};

use super::lease::{Beat, Lease};
use super::{Backend, Hold, Recent, Sessions};
use crate::api::{Call, Client, Lock, Name};
use crate::clock::Moment;

/// What is left of our own deadline just after a renewal, at least.
pub(super) const PROLONGED: Duration = Duration::from_millis(29_500);

pub(super) struct Desk<H> {
    pub(super) held: HashMap<Name, Session<H>>,
    /// Boxed: a table has up to twice as many places as entries, and twice as many again while it grows.
    pub(super) seen: Recent<Box<Lock>>,
    pub(super) turns: HashMap<Name, Arc<tokio::sync::Mutex<()>>>,
    /// By the order in which they came.
    pub(super) waiting: BTreeMap<u64, Waiter>,
    arrivals: u64,
}

/// A lock that is held for a client.
pub(super) struct Session<H> {
    pub(super) hold: Arc<H>,
    pub(super) lease: Lease,
    pub(super) client: Option<Client>,
}

/// A request that waits for a lock.
pub(super) struct Waiter {
    pub(super) name: Name,
    pub(super) client: Option<Client>,
    pub(super) since: Moment,
    pub(super) wait: Duration,
    /// Another request of the same client has got the lock.
    pub(super) told: Arc<Notify>,
}

impl<H> Desk<H> {
    pub(super) fn new(seen: usize) -> Self {
        Self {
            held: HashMap::new(),
            seen: Recent::new(seen),
            turns: HashMap::new(),
            waiting: BTreeMap::new(),
            arrivals: 0,
        }
    }

    pub(super) fn join(&mut self, waiter: Waiter) -> u64 {
        self.arrivals += 1;
        self.waiting.insert(self.arrivals, waiter);
        self.arrivals
    }

    pub(super) fn is_awaited(&self, name: &Name) -> bool {
        self.waiting.values().any(|waiter| waiter.name == *name)
    }

    /// Says whether it is the client that asks for whom the lock is held.
    pub(super) fn is_held_for(&self, call: &Call) -> bool {
        self.held.get(&call.name).is_some_and(|session| session.client == call.client)
    }

    /// Tells the other requests of a client that it has the lock now.
    pub(super) fn tell(&self, name: &Name, client: Option<&Client>) {
        let same = |waiter: &&Waiter| waiter.name == *name && waiter.client.as_ref() == client;
        for waiter in self.waiting.values().filter(same) {
            waiter.told.notify_one();
        }
    }
}

impl<H: Hold> Session<H> {
    pub(super) fn judge(&self) -> Beat {
        Beat::judge(self.hold.remaining())
    }

    /// For how long the client is safe without another request.
    pub(super) fn remaining(&self, now: Moment) -> Duration {
        self.lease.left(now).min(self.hold.remaining())
    }

    /// What is left of our own deadline once it is prolonged for this client.
    pub(super) fn prolonged(&self) -> Duration {
        PROLONGED.min(self.lease.ttl())
    }

    /// The client is to be shown a new expiry that our own deadline does not reach yet.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.lease.is_due(now) && self.hold.remaining() < self.prolonged()
    }

    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.lease.is_over(now) || self.judge() == Beat::Lost
    }
}

/// The right to change what this sidecar holds of one name.
pub(super) struct Turn<'a, B: Backend> {
    guard: Option<OwnedMutexGuard<()>>,
    sessions: &'a Sessions<B>,
    name: Name,
}

impl<B: Backend> Sessions<B> {
    pub(super) async fn turn(&self, name: &Name) -> Turn<'_, B> {
        let turn = Arc::clone(self.desk().turns.entry(name.clone()).or_default());
        Turn { guard: Some(turn.lock_owned().await), sessions: self, name: name.clone() }
    }

    /// Drops the entry of a name that nobody waits for.
    pub(super) fn forget_turn(&self, name: &Name) {
        let mut desk = self.desk();
        if desk.turns.get(name).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            desk.turns.remove(name);
        }
    }
}

impl<B: Backend> Drop for Turn<'_, B> {
    fn drop(&mut self) {
        self.guard = None;
        self.sessions.forget_turn(&self.name);
    }
}
