//! Requests that wait for a lock: first come, first served, here and cluster-wide.
//!
//! A request that waits is a future and an entry of the desk, no thread. Dropping the future, as the server does when
//! the client hangs up, leaves the queue.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::desk::Waiter;
use super::{Backend, Sessions};
use crate::api::{Call, Outcome, Verb};

/// A place among those who wait; dropping it leaves.
struct Place<'a, B: Backend> {
    sessions: &'a Sessions<B>,
    id: u64,
    told: Arc<Notify>,
}

impl<B: Backend> Drop for Place<'_, B> {
    fn drop(&mut self) {
        self.sessions.desk().waiting.remove(&self.id);
    }
}

impl<B: Backend> Sessions<B> {
    /// A PUT that waits.
    pub(super) async fn queue(&self, call: &Call, wait: Duration) -> Outcome {
        let mut over = pin!(sleep(wait));
        loop {
            // Boxed is what comes before and after the wait: those who wait are many, and wait for minutes.
            if let Some(outcome) = Box::pin(self.keep(call)).await {
                return outcome;
            }
            if self.held() >= self.0.most {
                return Outcome::Unavailable(format!("this sidecar holds as many locks as it may: {}", self.0.most));
            }
            let place = self.place(call, wait);
            tokio::select! {
                biased;
                () = self.0.draining.cancelled() => return Outcome::Ending,
                acquired = self.0.backend.acquire(&call.name, call.client.as_ref()) => match acquired {
                    Ok(hold) => {
                        drop(place);
                        return Box::pin(self.begin(call, hold)).await;
                    }
                    Err(trouble) => return Outcome::Unavailable(trouble.0),
                },
                () = place.told.notified() => {}
                () = &mut over => break,
            }
        }
        Box::pin(self.in_time(call, self.behind_the_queue(call))).await
    }

    /// The beat of a client that has the lock already, perhaps by another request.
    pub(super) async fn keep(&self, call: &Call) -> Option<Outcome> {
        match self.at_once(call) {
            None => self.freshen(call).await,
            outcome => outcome,
        }
    }

    fn place(&self, call: &Call, wait: Duration) -> Place<'_, B> {
        let told = Arc::new(Notify::new());
        let (name, client) = (call.name.clone(), call.client.clone());
        let waiter = Waiter { name, client, since: self.now(), wait, told: Arc::clone(&told) };
        let id = self.desk().join(waiter);
        Place { sessions: self, id, told }
    }

    /// The lock as others have it, or are about to: whoever waits goes first.
    pub(super) async fn behind_the_queue(&self, call: &Call) -> Outcome {
        if matches!(call.verb, Verb::Post { .. }) {
            return Outcome::Exists;
        }
        let other = Call { verb: Verb::PUT, ..call.clone() };
        let held = self.desk().held.get(&call.name).is_some_and(|session| session.client != call.client);
        if let Some(outcome) = held.then(|| self.at_once(&other)).flatten() {
            return outcome;
        }
        let known = self.0.backend.newest(&call.name, call.client.as_ref()).await;
        let known = match known {
            Some(record) => Ok(Some(record)),
            None => self.0.backend.read(&call.name).await,
        };
        match known {
            Ok(Some(record)) => Outcome::Taken(self.picture(&call.name, record)),
            Ok(None) => self.not_taken(call, "others wait for it".into()),
            Err(trouble) => self.without_api(call, &trouble),
        }
    }
}
