//! What keeps users from having a lock: an outdated resource, which the inbox finds out; a holder, or calls that fail, which
//! the keeper knows.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{Engine, Message, Why};
use crate::{Error, LockName, clock::Moment};

/// What the inbox has found out about the resource: whether it can be selected by engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fitness {
    /// Nothing yet.
    Unknown,
    /// It can, or there is no telling.
    Fit,
    /// It cannot: it is outdated, and nobody may have a lock of it.
    Unfit(String),
}

// === impl Engine: obstacles ===

impl Engine {
    /// Waits, before the first lock is had, for what the inbox finds out about the resource; no longer than a call may take.
    pub(super) async fn examine(&self, patience: Moment) -> Result<(), Error> {
        let mut fitness = self.fitness.subscribe();
        let known = fitness.wait_for(|fitness| *fitness != Fitness::Unknown);
        let found = tokio::select! {
            biased;
            found = known => found.map_or(Fitness::Fit, |found| found.clone()),
            () = self.clock.sleep_until(patience) => Fitness::Fit,
        };
        match found {
            Fitness::Unfit(why) => Err(Error::CrdMissing(why)),
            Fitness::Unknown | Fitness::Fit => {
                self.fitness.send_if_modified(|fitness| {
                    let unknown = *fitness == Fitness::Unknown;
                    *fitness = if unknown { Fitness::Fit } else { fitness.clone() };
                    unknown
                });
                Ok(())
            }
        }
    }

    /// Completes when the resource is found to be outdated.
    pub(super) async fn unfit(&self) -> String {
        let mut fitness = self.fitness.subscribe();
        match fitness.wait_for(|fitness| matches!(fitness, Fitness::Unfit(_))).await.map(|found| found.clone()) {
            Ok(Fitness::Unfit(why)) => why,
            _ => std::future::pending().await,
        }
    }

    /// Says why somebody who wanted a lock, and has waited since then, does not have it. To be asked while it still waits.
    pub(crate) async fn why_not(&self, name: &LockName, since: Moment) -> Why {
        let (asker, answer) = oneshot::channel();
        let asked = self.keepers().get(name).is_some_and(|handle| {
            let why = Message::Why(since, asker);
            handle.messages.unbounded_send(Box::new(why)).is_ok()
        });
        if asked { answer.await.unwrap_or(Why::Unseen(None)) } else { Why::Unseen(None) }
    }

    /// Says what keeps those who wait for a lock from knowing who has it: nobody was seen to have it for so long, and calls
    /// have failed.
    pub(crate) async fn unavailable(&self, name: &LockName, lately: Duration) -> Option<Error> {
        let since = self.clock.now().before(lately);
        match self.why_not(name, since).await {
            Why::Unseen(Some(fault)) => Some(Error::unavailable(name.to_string(), lately, Some(&fault))),
            Why::Unseen(None) | Why::Held => None,
        }
    }
}
