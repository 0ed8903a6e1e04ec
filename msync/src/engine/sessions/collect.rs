//! What crashed processes have left of sessions is removed, where nobody asks for it: who wants a lock under one removes
//! that session at once. Now and then a process that has a session itself looks at all of them.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;

use super::Engine;
use crate::{
    LockName,
    clock::Moment,
    protocol::leftover::{Sights, judge, pause},
    store::{Fault, Scope, Sighting, Snapshot},
};

/// How old one must be by its date, so that most living ones need no second look.
const OLD: Duration = Duration::from_secs(3600);
/// The longest that one request may take.
const CALL: Duration = Duration::from_secs(30);

/// A look at all sessions failed.
#[derive(Debug)]
enum Failed {
    Late,
    Fault(Fault),
}

// === impl Engine: what is left of sessions ===

impl Engine {
    /// Looks after sessions of others, until the end.
    pub(super) async fn collect_sessions(self: Arc<Self>) {
        let (mut sights, mut ended) = (Sights::new(), std::pin::pin!(self.ended()));
        let (mut next, mut second) = (self.clock.now() + pause(0, (self.random)()), false);
        loop {
            tokio::select! {
                biased;
                () = &mut ended => return,
                () = self.clock.sleep_until(next) => {}
            }
            let looked = tokio::select! {
                biased;
                () = &mut ended => return,
                looked = self.look_at_sessions(&mut sights) => looked,
            };
            let (found, due) = looked.unwrap_or_else(|failed| {
                tracing::debug!(?failed, "what is left of sessions was not looked after");
                (0, None)
            });
            // No third: what lives on with a date that is wrong would be looked at for ever.
            let due = due.filter(|_| !second);
            second = due.is_some();
            next = due.unwrap_or_else(|| self.clock.now() + pause(found, (self.random)()));
        }
    }

    /// Looks once and removes those that are known to be dead; says how many there are, and when the next would be known.
    async fn look_at_sessions(&self, sights: &mut Sights) -> Result<(usize, Option<Moment>), Failed> {
        let found = self.in_time(self.all_sessions()).await?;
        let judged = judge(sights, &found, OLD, self.clock.read());
        for (name, version) in judged.unwanted {
            match self.in_time(self.store.delete(&name, &version)).await {
                Ok(()) => tracing::debug!(%name, "the session of a process that is no more was removed"),
                Err(Failed::Fault(Fault::Refused(_))) => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok((found.len(), judged.undecided.into_iter().map(|(_, due)| due).min()))
    }

    async fn all_sessions(&self) -> Result<Vec<(LockName, Snapshot)>, Fault> {
        match self.store.watch(Scope::Sessions).next().await {
            Some(Ok(Sighting::Listed(found))) => Ok(found),
            Some(Err(fault)) => Err(fault),
            Some(Ok(_)) | None => Ok(Vec::new()),
        }
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Failed> {
        tokio::select! {
            biased;
            answer = call => answer.map_err(Failed::Fault),
            () = self.clock.sleep_until(self.clock.now() + CALL) => Err(Failed::Late),
        }
    }
}
