//! A GET that waits for a lock to change hands.
//!
//! All that wait for one lock share one watch of its record, which lives no longer than they do.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::sleep;

use super::changes::Holding;
use super::{Backend, Hold, Record, Sessions};
use crate::api::{Call, Name, Outcome, Version};

/// One of those who wait; dropping it ends its part in the watch.
struct Subscription<'a, B: Backend> {
    sessions: &'a Sessions<B>,
    name: &'a Name,
    newest: watch::Receiver<u64>,
}

impl<B: Backend> Drop for Subscription<'_, B> {
    fn drop(&mut self) {
        self.sessions.changes().unsubscribe(self.name);
    }
}

impl<B: Backend> Sessions<B> {
    /// The lock once it is no longer as `version` showed it, or after the wait.
    pub(super) async fn watch(&self, call: &Call, version: Version, wait: Duration) -> Outcome {
        if !self.changes().knows(&call.name, version) {
            return Outcome::Stale;
        }
        let mut over = pin!(sleep(wait));
        let mut subscription = self.subscribe(&call.name);
        loop {
            subscription.newest.mark_unchanged();
            let seen = self.now_shown(call).await;
            let shown = match &seen {
                Outcome::Good(lock) => lock.watch,
                Outcome::Absent(shown) => *shown,
                _ => None,
            };
            if shown != Some(version) {
                return seen;
            }
            tokio::select! {
                biased;
                () = self.0.draining.cancelled() => return Outcome::Ending,
                _ = subscription.newest.changed() => {}
                () = &mut over => return self.now_shown(call).await,
            }
        }
    }

    async fn now_shown(&self, call: &Call) -> Outcome {
        match self.at_once(call) {
            Some(outcome) => outcome,
            None => self.in_time(call, self.look(call)).await,
        }
    }

    fn subscribe<'a>(&'a self, name: &'a Name) -> Subscription<'a, B> {
        let (newest, first) = self.changes().subscribe(name);
        let subscription = Subscription { sessions: self, name, newest };
        if first {
            let sightings: Pin<Box<dyn Stream<Item = Option<Record>> + Send>> =
                Box::pin(self.0.backend.sightings(name));
            let task = tokio::spawn(self.clone().follow(name.clone(), sightings)).abort_handle();
            self.changes().started(name, task);
        }
        subscription
    }

    async fn follow(self, name: Name, mut sightings: Pin<Box<dyn Stream<Item = Option<Record>> + Send>>) {
        while let Some(seen) = sightings.next().await {
            let Some(record) = seen else {
                let own = self.desk().held.get(&name).map(|session| Holding::Own(session.hold.token()));
                self.changes().note(&name, own.unwrap_or(Holding::Absent));
                continue;
            };
            self.picture(&name, record);
        }
    }
}
