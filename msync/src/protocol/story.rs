//! What is to be told of one lock, for logs, listeners and Events: found by looking at what goes into a keeper and what
//! comes out of it.
//!
//! Pure, and beside the rules: a keeper does not know that it is told of, so nothing that is told can change what it does.

use std::time::Duration;

use super::{Action, Call, Event, Keeper, Notice, Outcome, Standing, Ticket};
use crate::{
    FencingToken, LossReason,
    clock::Moment,
    record::{Change, EngineId, Refused, Term},
};

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// It has the lock.
    Acquired,
    /// Somebody else has it, and it did not want to wait.
    Busy,
    /// It was given up: cancelled, or its time was over.
    GivenUp,
    /// The store failed.
    Failed,
    /// The client was shut down.
    ShutDown,
}

/// How a renewal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// It was written.
    Done,
    /// Its condition did not hold: somebody else has written.
    Refused,
    /// Rights, a policy or the resource forbid it.
    Denied,
    /// It was not answered, or the server could not serve it.
    Failed,
}

/// One who has the lock; `A` is what is known of its acquisition besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding<A> {
    /// Its acquisition.
    pub ticket: Ticket,
    /// Its token.
    pub token: FencingToken,
    /// Since when.
    pub since: Moment,
    /// What is known of its acquisition besides.
    pub asked: A,
}

/// What the end of a call tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A renewal of a hold has ended.
    Renewed(Renewal),
    /// The lock was handed to the first in the queue, or to who was named.
    HandedOver(EngineId),
    /// There is no room in the queue: told once for each acquisition that finds none.
    QueueFull,
}

/// What was on its way when an answer came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sent {
    #[default]
    Other,
    Renewal,
    Grant,
}

/// What was told so far, as far as it matters for what comes.
#[derive(Clone, Debug)]
pub struct Story<A> {
    holding: Option<Holding<A>>,
    sent: Sent,
    /// The entry of the queue that was told of, by a part of its term: there may be thousands of stories.
    queued: u32,
    /// That there is no room in the queue was told.
    full: bool,
}

// === impl Wait ===

impl Wait {
    /// Reads how a wait ended from what its acquisition is told; `None` if that is not about a wait.
    pub fn of(notice: &Notice) -> Option<(Ticket, Self)> {
        match *notice {
            Notice::Acquired(ticket, _) => Some((ticket, Self::Acquired)),
            Notice::Busy(ticket) => Some((ticket, Self::Busy)),
            Notice::Failed(ticket) => Some((ticket, Self::Failed)),
            Notice::ShutDown(ticket) => Some((ticket, Self::ShutDown)),
            Notice::Recall(_) | Notice::Released(_) | Notice::HandedOver(_) | Notice::Abandoned(_) => None,
        }
    }
}

// === impl Renewal ===

impl Renewal {
    fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Applied(_) => Some(Self::Done),
            Outcome::Refused(_) => Some(Self::Refused),
            Outcome::Denied | Outcome::Fatal => Some(Self::Denied),
            Outcome::Busy(_) | Outcome::Unknown => Some(Self::Failed),
            Outcome::Read(_) | Outcome::Deleted | Outcome::Unsent => None,
        }
    }
}

// === impl Holding ===

impl<A> Holding<A> {
    /// Returns how long it has had the lock.
    pub fn held(&self, now: Moment) -> Duration {
        now.since(self.since)
    }
}

// === impl Story ===

impl<A> Default for Story<A> {
    fn default() -> Self {
        Self { holding: None, sent: Sent::Other, queued: 0, full: false }
    }
}

impl<A> Story<A> {
    /// Returns who has the lock.
    pub fn holding(&self) -> Option<&Holding<A>> {
        self.holding.as_ref()
    }

    /// Takes that an acquisition has the lock.
    pub fn acquired(&mut self, holding: Holding<A>) {
        self.holding = Some(holding);
    }

    /// Takes what is about to happen; returns who gives the lock back by it. Who has lost it gives nothing back.
    pub fn gives_back(&mut self, event: &Event) -> Option<Holding<A>> {
        let (Event::Release(ticket, _) | Event::Cancel(ticket)) = event else { return None };
        self.holding.take_if(|holding| holding.ticket == *ticket)
    }

    /// Takes what a keeper's call has come to; returns what is to be told of it.
    pub fn answers(&mut self, event: &Event) -> Option<Answer> {
        let Event::Reply(outcome) = event else { return None };
        match (std::mem::take(&mut self.sent), outcome) {
            (Sent::Renewal, outcome) => Renewal::of(outcome).map(Answer::Renewed),
            (Sent::Grant, Outcome::Applied(snapshot)) => Some(Answer::HandedOver(snapshot.record.engine.clone())),
            (_, Outcome::Refused(Refused::Full)) => {
                (!std::mem::replace(&mut self.full, true)).then_some(Answer::QueueFull)
            }
            (Sent::Grant | Sent::Other, _) => None,
        }
    }

    /// Takes where a keeper stands; returns who has just lost the lock, and why. A shutdown is no loss: who has the lock goes
    /// on having it until its guard is gone.
    pub fn loses(
        &mut self,
        before: Option<LossReason>,
        standing: &Standing,
    ) -> Option<(Option<Holding<A>>, LossReason)> {
        let reason = standing.ended.filter(|reason| !reason.is_orderly())?;
        let news = before.is_none_or(LossReason::is_orderly);
        news.then(|| (self.holding.take(), reason))
    }

    /// Returns the place of this engine in the queue, counted from one, when it is first seen there, and who has the lock.
    pub fn queues(&mut self, keeper: &Keeper) -> Option<(usize, EngineId)> {
        let Some(term) = keeper.striving() else {
            self.full = false;
            return None;
        };
        if self.queued == short(term) {
            return None;
        }
        let record = keeper.view().record()?;
        let place = record.rank_of(term)?;
        self.queued = short(term);
        Some((place + 1, record.engine.clone()))
    }

    /// Takes what a keeper does next.
    pub fn sends(&mut self, action: &Action, holds: bool) {
        match &action.call {
            Some(Call::Apply(Change::Renew { .. })) if holds => self.sent = Sent::Renewal,
            Some(Call::Apply(Change::Grant { .. })) => self.sent = Sent::Grant,
            Some(_) => self.sent = Sent::Other,
            None => {}
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a part of it is enough, and never zero")]
fn short(term: Term) -> u32 {
    (term.0 as u32).max(1)
}
