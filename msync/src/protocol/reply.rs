//! What the outcome of a call means: for what is believed, for the pause before the next call, for those who wait.

use std::time::Duration;

use super::{
    Call, Context, Flight, Keeper, Notice, Outcome, State,
    trouble::{LONGEST_RETRY, Trip, Trouble},
};
use crate::{
    clock::Moment,
    record::{Change, Refused},
    store::Snapshot,
};

/// The least that a failed renewal is followed by, however near the deadline is; for a short ttl a thirtieth of it.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);

// === impl Keeper: replies ===

impl Keeper {
    pub(super) fn reply(&mut self, outcome: Outcome, cx: &mut Context<'_>) {
        let Some(flight) = self.flight.take() else { return };
        let now = cx.now.local;
        self.note_outcome(&flight, &outcome, now);
        match outcome {
            Outcome::Read(found) => {
                self.view.believe_read(found.as_ref(), flight.overtaken, now);
                self.unsettled = false;
            }
            Outcome::Applied(snapshot) => self.applied(&flight, &snapshot, now),
            // A record that was seen meanwhile is younger than the state that the deletion tested. That it is no longer
            // ours is no such news: the inbox shows our own deletion so, often before it is acknowledged.
            Outcome::Deleted if flight.overtaken && self.view.record().is_some() => {}
            Outcome::Deleted => self.view.deleted(now),
            Outcome::Refused(refused) => self.refused(&flight, refused, cx),
            Outcome::Busy(after) => self.back_off(after, cx),
            // Decided anew, with an anchor of its own; it says nothing about the server, so there is nothing to wait for.
            Outcome::Unsent => self.unsent(&flight),
            Outcome::Unknown => self.lost_sight(&flight, cx),
            Outcome::Denied if !self.is_denied(flight.call == Call::Read) => {
                self.back_off(None, cx);
            }
            // What was sent before anybody waited is no answer to who has come since: decided anew, for them.
            Outcome::Fatal if !flight.wanted && !self.tickets.is_empty() => self.back_off(None, cx),
            Outcome::Denied | Outcome::Fatal => self.fatal(cx),
        }
    }

    /// Notes what an outcome tells of the store, whatever it tells of the lock.
    fn note_outcome(&mut self, flight: &Flight, outcome: &Outcome, now: Moment) {
        let (timing, reads) = (self.current_timing(), flight.call == Call::Read);
        let trip = Trip { reads, sent: flight.sent, limit: flight.limit, now };
        match outcome {
            Outcome::Read(_) => self.note(&trip, &timing, Trouble::read),
            Outcome::Applied(_) | Outcome::Deleted => self.note(&trip, &timing, Trouble::wrote),
            // Comes once per ttl, and says that all is well.
            Outcome::Refused(Refused::Full) => {}
            Outcome::Unsent => self.note(&trip, &timing, |trouble, _, _| trouble.unsent()),
            Outcome::Refused(_) => self.note(&trip, &timing, Trouble::refused),
            Outcome::Busy(_) | Outcome::Unknown | Outcome::Fatal => {
                self.note(&trip, &timing, |trouble, trip, timing| trouble.failed(trip, false, timing));
            }
            Outcome::Denied => self.note(&trip, &timing, |trouble, trip, timing| trouble.failed(trip, true, timing)),
        }
        if let Some(hold) = &mut self.hold {
            hold.refused = match outcome {
                Outcome::Read(_) | Outcome::Unsent => hold.refused,
                Outcome::Refused(_) | Outcome::Denied | Outcome::Fatal => true,
                Outcome::Applied(_) | Outcome::Deleted | Outcome::Busy(_) | Outcome::Unknown => false,
            };
        }
    }

    fn applied(&mut self, flight: &Flight, snapshot: &Snapshot, now: Moment) {
        if let Call::Apply(Change::Enqueue { claim, .. }) = &flight.call
            && let Some(contest) = &mut self.contest
        {
            contest.joined(claim.term);
        }
        let rolled_back = !self.view.believe(snapshot, now) && !flight.overtaken;
        if rolled_back {
            self.view.doubt(State::Exists);
        }
    }

    /// A refusal says that the record is not what we thought, or that an earlier delivery of the same write was applied.
    fn refused(&mut self, flight: &Flight, refused: Refused, cx: &mut Context<'_>) {
        if !flight.overtaken {
            self.view.doubt(if refused == Refused::Absent { State::Absent } else { State::Exists });
        }
        let forsaken = self.tickets.is_empty() && self.hold.is_none();
        self.unsettled |= forsaken;
        if refused == Refused::Full
            && let Some(contest) = &mut self.contest
        {
            contest.queue_full(cx);
        }
        let (now, timing) = (cx.now.local, self.current_timing());
        if self.trouble.as_ref().is_some_and(|trouble| trouble.is_refused(now, &timing)) {
            self.fatal(cx);
        } else if self.trouble.as_ref().is_some_and(|trouble| trouble.is_refused_often()) {
            self.back_off(None, cx);
        }
    }

    fn unsent(&mut self, flight: &Flight) {
        if let Some(contest) = &mut self.contest {
            contest.unsent(flight.before);
        }
    }

    fn lost_sight(&mut self, flight: &Flight, cx: &mut Context<'_>) {
        if flight.call != Call::Read {
            self.unsettled = true;
            if self.hold.is_none() && !flight.overtaken {
                self.view.doubt(State::Unknown);
            }
        }
        self.back_off(None, cx);
    }

    /// Waits before the next call, longer after each failure.
    fn back_off(&mut self, after: Option<Duration>, cx: &mut Context<'_>) {
        let (now, timing) = (cx.now.local, self.current_timing());
        let wait = self.trouble.as_ref().map_or(SHORTEST_PAUSE, |trouble| trouble.pause(&timing, cx));
        self.pause = now + wait.max(after.unwrap_or_default().min(LONGEST_RETRY));
    }

    /// Ends a pause before it is longer than what is held, was granted or is given back can bear, whatever it was made for.
    pub(super) fn hurry(&mut self, now: Moment) {
        let Some(end) = self.must_act_by(now) else { return };
        let shortest = SHORTEST_PAUSE.min(self.current_timing().ttl() / 30);
        self.pause = self.pause.min(now + (end.since(now) / 3).max(shortest));
    }

    /// Returns until when something must be written, if anything of this engine's is in the record.
    fn must_act_by(&self, now: Moment) -> Option<Moment> {
        if let Some(hold) = &self.hold {
            return Some(hold.deadline);
        }
        if self.parting.is_some() || self.has_strays() {
            return Some(self.insist_until).filter(|end| *end > now);
        }
        let granted = self.view.record().filter(|record| record.engine == self.engine);
        granted.map(|record| self.view.arrived() + record.ttl).filter(|end| *end > now)
    }

    /// Nothing can be had. Who waits is told; a hold goes on to its deadline, and a release is tried until its ttl is over,
    /// for what the server does not allow now it may allow then.
    fn fatal(&mut self, cx: &mut Context<'_>) {
        if self.hold.is_some() {
            return self.back_off(None, cx);
        }
        cx.notices.extend(self.tickets.drain(..).map(|want| Notice::Failed(want.ticket)));
        if self.keeps_parting(cx) {
            self.drop_contest();
            return self.back_off(None, cx);
        }
        self.abandon(cx);
    }
}
