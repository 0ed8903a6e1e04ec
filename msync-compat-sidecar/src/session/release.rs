//! DELETE: a client gives its lock back.

use super::desk::Session;
use super::lease::Beat;
use super::{Attempt, Backend, Hold, Mode, Sessions};
use crate::api::{Call, Lock, Outcome};
use crate::metrics::Ended;

/// What a client may release of a lock.
enum Given<H> {
    /// It was its own, and is no longer kept for it.
    Up(Session<H>),
    /// Another client of this sidecar has it.
    Not(String),
    /// Nobody here has it.
    Nothing,
}

impl<B: Backend> Sessions<B> {
    /// Releases, and answers once the release is known to others.
    ///
    /// # Cancel safety
    /// What was given up is released all the same.
    pub(super) async fn release(&self, call: &Call) -> Outcome {
        let _turn = self.turn(&call.name).await;
        match self.give_up(call) {
            Given::Up(session) => match session.hold.release().await {
                Ok(()) => Outcome::Released,
                Err(trouble) => Outcome::Unavailable(trouble.0),
            },
            Given::Not(holder) => Outcome::Foreign(holder),
            Given::Nothing => self.not_here(call).await,
        }
    }

    fn give_up(&self, call: &Call) -> Given<B::Hold> {
        let now = self.now();
        let mut desk = self.desk();
        let Some(session) = desk.held.get(&call.name) else { return Given::Nothing };
        if session.judge() == Beat::Lost {
            self.end(&mut desk, &call.name, now, Ended::Lost);
            return Given::Nothing;
        }
        if session.client != call.client {
            let holder = session.client.as_ref().map(|client| format!("the client {client}"));
            return Given::Not(holder.unwrap_or_else(|| "a client without an id".into()));
        }
        let last = self.own(session, &call.name, now, false);
        let last = Lock { expiry: last.expiry.min(Some(now.wall)), ..last };
        desk.seen.remember(&call.name, Box::new(last));
        self.0.metrics.ended(Ended::Released);
        desk.held.remove(&call.name).map_or(Given::Nothing, Given::Up)
    }

    /// The record decides; one that an earlier start of this sidecar has left is taken back, and freed.
    async fn not_here(&self, call: &Call) -> Outcome {
        let record = match self.0.backend.read(&call.name).await {
            Ok(record) => record.filter(|record| !record.owner.is_empty()),
            Err(trouble) => return Outcome::Unavailable(trouble.0),
        };
        let Some(record) = record else { return Outcome::NotHeld };
        if call.client.is_some() || record.owner != self.0.identity.owner {
            return Outcome::Foreign(record.owner);
        }
        match self.0.backend.attempt(&call.name, None, Mode::Take).await {
            Ok(Attempt::Held(hold)) => match hold.release().await {
                Ok(()) => Outcome::Released,
                Err(trouble) => Outcome::Unavailable(trouble.0),
            },
            Ok(Attempt::Busy(record)) => Outcome::Foreign(record.owner),
            Err(trouble) => Outcome::Unavailable(trouble.0),
        }
    }
}
