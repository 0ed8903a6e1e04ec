//! How a place in the queue is had, and when: at once, unless that would be in somebody's way or the queue is full.

use std::time::Duration;

use super::{Call, Change, Contest, Context, MAX_WAITERS, Moment, Move, Patience, Record, State, Term, View, jitter};
use crate::config::ACCEPT_TIMEOUT;

/// How long whoever found the queue full waits before the first look for room; twice as long each time.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// The longest that a lock may lie idle before those see it who found no room in its queue.
const LONGEST_LOOK: Duration = Duration::from_secs(15);
/// How long whoever sees a grant that is yet to be accepted makes way for that: the server tries two writes that meet at one
/// object one after the other, so our place in the queue would cost the new holder a write's time.
const MAKES_WAY: Duration = Duration::from_millis(50);

// === impl Contest: joining ===

impl Contest {
    /// Notes that an entry of a term was appended.
    pub(in crate::protocol) fn joined(&mut self, term: Term) {
        self.joined |= term == self.claim.term;
    }

    /// Says whether an entry of this term may be in the queue.
    pub(super) fn may_have_joined(&self) -> bool {
        self.first_enqueue.is_some()
    }

    /// Says whether an Enqueue was sent of which nothing has been seen: it is repeated only after a read.
    pub(super) fn is_doubtful(&self, view: &View) -> bool {
        let seen = |record: &Record| record.term == self.claim.term || record.rank_of(self.claim.term).is_some();
        self.first_enqueue.is_some() && !self.joined && !view.record().is_some_and(seen)
    }

    /// Notes that the queue has no room: looks again after a while, since nobody tells those who are not in it of room or
    /// of the lock's end. A watch each would show every one of them every renewal.
    pub(in crate::protocol) fn queue_full(&mut self, cx: &mut Context<'_>) {
        let most = LONGEST_LOOK.min(FIRST_LOOK * 2_u32.pow(self.fulls.min(4))).min(self.want.timing.ttl());
        self.fulls += 1;
        self.full_until = cx.now.local + jitter(most, cx);
    }

    /// Notes whether the lock is held, as a guess: it was granted to somebody a moment ago, or what this engine wants mostly is.
    pub(super) fn guess(&mut self, crowded: bool, view: &View, now: Moment) {
        let granted = view.granted_since().is_some_and(|since| now < since + ACCEPT_TIMEOUT);
        let held = granted || (crowded && !self.want.retained);
        self.joins_first = held && self.want.patience == Patience::Wait;
    }

    /// Says whether its first call is to join, though nothing is known of the lock.
    pub(super) fn joins_unseen(&self, view: &View) -> bool {
        self.fresh && self.joins_first && *view.state() == State::Unknown
    }

    /// Joins a queue that it has not seen, when it may.
    pub(super) fn join_unseen(&mut self, view: &View, cx: &mut Context<'_>) -> Move {
        if cx.now.local >= self.joins_at(view) { self.enqueue(cx) } else { Move::Wait }
    }

    /// Waits in the queue, joins it, or challenges from it.
    pub(super) fn queue(&mut self, record: &Record, rank: Option<usize>, view: &View, cx: &mut Context<'_>) -> Move {
        let outside = rank.is_none() && cx.now.local >= self.joins_at(view);
        if outside && record.waiters.len() < MAX_WAITERS {
            if self.joined {
                self.start_over(cx);
            }
            return self.enqueue(cx);
        }
        if outside && view.arrived() < self.full_until {
            return Move::Send(Call::Read);
        }
        if outside {
            self.queue_full(cx);
        }
        self.challenge(record, rank, view, cx)
    }

    /// Returns from when on an entry may be appended.
    pub(super) fn joins_at(&self, view: &View) -> Moment {
        view.granted_since().map_or(self.full_until, |since| self.full_until.max(since + MAKES_WAY))
    }

    pub(super) fn enqueue(&mut self, cx: &mut Context<'_>) -> Move {
        self.fresh = false;
        self.first_enqueue.get_or_insert(cx.now.local);
        Move::Send(Call::Apply(Change::Enqueue { claim: self.claim.clone(), wall: cx.now.wall }))
    }

    /// Begins a new term: the old one was removed from the queue, and is never believed again.
    pub(super) fn start_over(&mut self, cx: &mut Context<'_>) {
        self.claim.term = Term::random((cx.random)());
        self.attempts.clear();
        (self.first_enqueue, self.joined, self.granted) = (None, false, None);
    }
}
