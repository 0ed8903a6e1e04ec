//! GET /locks: what is held and awaited here, from memory.

use std::collections::BTreeMap;

use super::desk::{Session, Waiter};
use super::{Backend, Hold, Record, Sessions};
use crate::api::{Client, Listed, Listing, Name, Waiting, seconds};
use crate::clock::Moment;

impl<B: Backend> Sessions<B> {
    pub(super) async fn list(&self) -> Listing {
        let (mut locks, askers) = self.known();
        for (name, client) in askers {
            // In the time between, another may have got it: the next listing says so.
            let newest = self.0.backend.newest(&name, client.as_ref()).await;
            if let Some((lock, record)) = locks.get_mut(&name).zip(newest) {
                lock.complete(record, &self.0.identity.owner, self.now());
            }
        }
        let owner = self.0.identity.owner.clone();
        let (draining, elections) = (self.0.draining.is_cancelled(), self.listed_elections());
        Listing { owner, draining, locks: locks.into_values().collect(), elections }
    }

    /// What the desk knows, and whose view of the record to ask for.
    fn known(&self) -> (BTreeMap<Name, Listed>, BTreeMap<Name, Option<Client>>) {
        let (now, owner) = (self.now(), &self.0.identity.owner);
        let desk = self.desk();
        let mut askers = BTreeMap::new();
        let mut locks = BTreeMap::new();
        for (name, session) in &desk.held {
            locks.insert(name.clone(), Listed::held(name, session, owner, now));
            askers.insert(name.clone(), session.client.clone());
        }
        for waiter in desk.waiting.values() {
            let name = &waiter.name;
            let lock = locks.entry(name.clone()).or_insert_with(|| Listed::awaited(name));
            lock.waiting.push(waiter.listed(now));
            askers.entry(name.clone()).or_insert_with(|| waiter.client.clone());
        }
        (locks, askers)
    }
}

impl Listed {
    fn awaited(name: &Name) -> Self {
        Self {
            name: name.clone(),
            held: false,
            owner: String::new(),
            client: None,
            token: None,
            ttl_seconds: None,
            remaining_seconds: None,
            queue: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn held<H: Hold>(name: &Name, session: &Session<H>, owner: &str, now: Moment) -> Self {
        Self {
            held: true,
            owner: owner.to_owned(),
            client: session.client.clone(),
            token: Some(session.hold.token().to_string()),
            ttl_seconds: Some(session.lease.ttl().as_secs()),
            remaining_seconds: Some(seconds(session.remaining(now))),
            ..Self::awaited(name)
        }
    }

    fn complete(&mut self, record: Record, owner: &str, now: Moment) {
        // This sidecar queues for one of its requests at a time; the others come up behind it. What it holds itself it hands
        // on to its own first, which need no place in the cluster's queue for that.
        let ahead = record.queue.iter().position(|queued| queued == owner).or(self.held.then_some(0));
        for (behind, waiting) in self.waiting.iter_mut().enumerate() {
            waiting.place = ahead.map(|ahead| ahead + 1 + behind);
        }
        self.queue = record.queue;
        if self.held {
            return;
        }
        let left = record.expiry.map(|expiry| expiry.duration_since(now.wall)).and_then(|left| left.try_into().ok());
        self.remaining_seconds = left.filter(|_| !record.owner.is_empty()).map(seconds);
        self.owner = record.owner;
    }
}

impl Waiter {
    fn listed(&self, now: Moment) -> Waiting {
        let waited = now.since_boot.saturating_sub(self.since.since_boot);
        Waiting {
            client: self.client.clone(),
            waited_seconds: seconds(waited),
            left_seconds: seconds(self.wait.saturating_sub(waited)),
            place: None,
        }
    }
}
