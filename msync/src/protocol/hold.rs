//! A hold: one term that this engine has, with the deadline up to which it believes so.

use std::{collections::BTreeMap, time::Duration};

use super::{Shelter, Standing, Ticket, Want, session::NEVER};
use crate::{
    FencingToken, LossReason, Timing,
    clock::Moment,
    record::{Beat, Record, Term},
    store::Snapshot,
};

/// How many local hand-overs in a row are allowed while another engine waits.
const MOST_HANDOVERS: u32 = 16;

/// One write that makes or prolongs a hold: what it is worth once its beat is seen in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    /// The local time before it was sent.
    pub sent: Moment,
    /// The ttl that it writes.
    pub ttl: Duration,
    /// The deadline that it confirms: `sent + ttl - margin`.
    pub deadline: Moment,
    /// The last of its term: it leaves the record to nobody, as long as `at_least` promises.
    pub last: bool,
    /// The beat that it tests: once another one is seen it can come true no more.
    pub tests: Beat,
    /// The session whose deadline it confirms instead of its own.
    pub under: Term,
}

// === impl Attempt ===

impl Attempt {
    /// Anchors a deadline at the send, never at the reply.
    pub fn new(sent: Moment, ttl: Duration, margin: Duration) -> Self {
        Self { sent, ttl, deadline: sent + ttl - margin, last: false, tests: Beat::NONE, under: Term::NONE }
    }

    /// Says which beat it tests, and which session it names.
    #[must_use]
    pub fn of(self, tests: Beat, under: Term) -> Self {
        Self { tests, under, ..self }
    }
}

/// The attempts of one term whose beats have not been seen yet. Every attempt has a beat of its own.
pub type Attempts = BTreeMap<Beat, Attempt>;

/// Who of this process has the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct User {
    /// Its acquisition within this process.
    pub ticket: Ticket,
    /// Its guard has reached it. Until then nothing is renewed for it, and nothing kept (promise S6): its future may be
    /// one that nobody polls any more.
    pub collected: bool,
    at_least: Duration,
    max_hold: Option<Duration>,
    /// Since when it has had its guard, or the lock without one.
    since: Moment,
}

// === impl User ===

impl User {
    /// Returns when `max_hold` ends it; nothing ends so before it is collected, or what is over at once would be sought for ever.
    fn end(&self) -> Option<Moment> {
        self.max_hold.filter(|_| self.collected).map(|most| self.since + most)
    }
}

/// One term that this engine has, or had until the guard noticed.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own; no two exclude each other")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hold {
    /// The term.
    pub term: Term,
    /// Up to when this engine believes that it has the lock: as [reckoned](Self::reckon).
    pub deadline: Moment,
    /// What the newest beat that was seen confirms by itself.
    pub(super) beat_deadline: Moment,
    /// The session that the record names with it.
    pub under: Term,
    /// Somebody wants more time than its session gives: it leads out.
    pub(super) prolonged: bool,
    /// Renewals not confirmed yet.
    pub attempts: Attempts,
    /// When the next renewal is due.
    pub next_renewal: Moment,
    /// The timing of the user, or of the last one.
    pub timing: Timing,
    /// Freed at the end, not deleted.
    pub retained: bool,
    /// Of locks; a leadership is accepted first.
    pub instant: bool,
    /// Who of this process has it.
    pub user: Option<User>,
    /// `at_least`: kept until then even without a user.
    pub keep_until: Moment,
    /// Set when the user must stop: final.
    pub ended: Option<LossReason>,
    /// Who is to have it next, by the wish of the last user.
    pub successor: Option<String>,
    /// The reservation of the term has been confirmed.
    pub left_behind: bool,
    /// The last user never collected it: it is not renewed for the next one, who might not either.
    pub spurned: bool,
    /// The last write was refused, not lost.
    pub refused: bool,
    /// The version that the tokens of this term are made of; `None` when its numbers are used up.
    base: Option<u64>,
    /// The newest believed version of the record.
    version: u64,
    sequence: u16,
    since: Moment,
    handovers: u32,
}

// === impl Hold ===

impl Hold {
    /// Begins a hold whose record was seen at `version`.
    pub fn new(term: Term, want: &Want, version: u64, deadline: Moment, now: Moment) -> Self {
        Self {
            term,
            deadline,
            beat_deadline: deadline,
            under: Term::NONE,
            prolonged: false,
            attempts: Attempts::new(),
            next_renewal: now,
            timing: want.timing,
            retained: want.retained,
            instant: want.instant,
            user: None,
            keep_until: now,
            ended: None,
            successor: None,
            left_behind: false,
            spurned: false,
            refused: false,
            base: Some(version),
            version,
            sequence: 0,
            since: now,
            handovers: 0,
        }
    }

    /// Returns how long this engine still believes.
    pub fn remaining(&self, now: Moment) -> Duration {
        self.deadline.since(now)
    }

    /// Says whether renewals go on: a lost term sends none, a client that shuts down protects its bodies' end.
    pub fn is_renewed(&self) -> bool {
        matches!(self.ended, None | Some(LossReason::ShutDown))
    }

    /// Ends what time has ended: the hold at its deadline, the user at its `max_hold`.
    pub fn expire(&mut self, now: Moment) {
        if self.is_renewed() && now >= self.deadline {
            self.ended = Some(if self.refused { LossReason::Refused } else { LossReason::Deadline });
        }
        let over = self.user.as_ref().and_then(User::end).is_some_and(|end| now >= end);
        if over && self.is_renewed() {
            self.ended = Some(LossReason::MaxHold);
        }
    }

    /// Notes an attempt that is about to be sent. One that shortens the ttl shortens the deadline at once: others may
    /// see it before we see that it was applied.
    pub fn attempt(&mut self, beat: Beat, attempt: Attempt, own: &[Shelter]) {
        self.attempts.insert(beat, attempt);
        self.reckon(own);
    }

    /// Lets the next renewal be sent at once.
    pub fn prolong(&mut self, now: Moment) {
        self.next_renewal = self.next_renewal.min(now);
        self.prolonged = true;
    }

    /// Takes a believed record of this term: confirms the attempt whose beat it shows. The next renewal is sent a
    /// random bit `early`, so that the renewals of many locks spread over time.
    pub fn confirm(&mut self, snapshot: &Snapshot, early: Duration, now: Moment, own: &[Shelter]) {
        self.version = snapshot.version.number;
        let (beat, under) = (snapshot.record.beat, snapshot.record.under);
        if let Some(attempt) = self.attempts.get(&beat).copied() {
            self.left_behind |= attempt.last;
            self.beat_deadline = attempt.deadline;
            self.prolonged &= !under.is_none();
            self.next_renewal = attempt.sent + self.timing.renew_interval().saturating_sub(early);
            if !under.is_none() {
                self.next_renewal = if self.prolonged { now } else { NEVER };
            }
            if self.base.is_none() {
                (self.base, self.sequence) = (Some(snapshot.version.number), 0);
            }
        }
        self.settle_under(beat, under);
        self.reckon(own);
        let edited_by_hand = snapshot.record.ttl != self.timing.ttl() && self.attempts.is_empty();
        if edited_by_hand {
            self.next_renewal = now;
        }
    }

    /// Gives the lock to a local acquisition: no write, the same term and deadline, the next token. `None` when the
    /// numbers are used up: a renewal brings new ones.
    pub fn assign(&mut self, want: &Want, now: Moment) -> Option<FencingToken> {
        let token = FencingToken::new(self.base?, self.sequence)?;
        if let Some(next) = self.sequence.checked_add(1) {
            self.sequence = next;
        } else {
            (self.base, self.next_renewal) = (None, now);
        }
        let moves_out = !self.under.is_none() && want.timing != self.timing;
        if want.timing.ttl() != self.timing.ttl() || moves_out {
            self.next_renewal = now;
        }
        (self.timing, self.retained, self.instant) = (want.timing, want.retained, want.instant);
        self.handovers = self.handovers.saturating_add(1);
        let (ticket, at_least, max_hold) = (want.ticket, want.at_least, want.max_hold);
        self.user = Some(User { ticket, collected: false, at_least, max_hold, since: now });
        Some(token)
    }

    /// Takes that the user has its guard since a moment: `at_least` and `max_hold` count from then.
    pub fn collect(&mut self, since: Moment) {
        let Some(user) = self.user.as_mut().filter(|user| !user.collected) else { return };
        (user.collected, user.since) = (true, since);
        (self.keep_until, self.spurned) = (since + user.at_least, false);
    }

    /// Returns the user, if it has not collected the lock yet.
    pub fn uncollected(&self) -> Option<&User> {
        self.user.as_ref().filter(|user| !user.collected)
    }

    /// Returns until when the user must have collected the lock: early enough to give it back while it is still held, and
    /// not before the user had a moment's time.
    pub fn collect_by(&self, user: &User) -> Moment {
        let attempt = self.timing.attempt_timeout();
        // A session goes on, whoever has not come.
        let granted = user.since + self.timing.ttl() - self.timing.safety_margin();
        let deadline = if self.under.is_none() { self.deadline } else { self.deadline.min(granted) };
        (deadline - attempt).max(user.since + attempt / 2)
    }

    /// Says whether renewing it serves somebody: a user who has it, one who waits for more time, or `at_least`. What the last
    /// user never had serves nobody by itself, and without one [it ends](Self::is_stale).
    pub fn serves(&self) -> bool {
        self.user.as_ref().is_none_or(|user| user.collected)
    }

    /// Keeps it until a moment at least, for a user who has it.
    pub fn keep(&mut self, until: Moment) {
        if self.user.as_ref().is_some_and(|user| user.collected) {
            self.keep_until = self.keep_until.max(until);
        }
    }

    /// Returns the longest ttl that the record may have: the one that was seen there, one that is on its way, or its own. An
    /// earlier user may have asked for more than the last one.
    pub fn longest_ttl(&self, seen: Option<&Record>) -> Duration {
        let seen = seen.filter(|record| record.term == self.term).map(Record::patience);
        let sent = self.attempts.values().map(|attempt| attempt.ttl);
        sent.chain(seen).fold(self.timing.ttl(), Duration::max)
    }

    /// Says whether the next local acquisition may have it without a write.
    pub fn is_free_for_local(&self, now: Moment) -> bool {
        let safe = self.ended.is_none() && self.remaining(now) >= self.timing.attempt_timeout();
        self.user.is_none() && safe && now >= self.keep_until
    }

    /// Says whether the next local acquisition could have it after a renewal only, which what the last one never had is not
    /// worth: neither might this one.
    pub fn is_stale(&self, now: Moment) -> bool {
        self.spurned && (!self.under.is_none() || self.base.is_none() || !self.is_free_for_local(now))
    }

    /// Says whether waiters of other engines have waited for long enough: 16 local hand-overs, or one ttl.
    pub fn must_yield(&self, now: Moment) -> bool {
        self.handovers > MOST_HANDOVERS || (self.handovers > 0 && now.since(self.since) >= self.timing.ttl())
    }

    /// Returns what guards see.
    pub fn standing(&self) -> Standing {
        let end = self.user.as_ref().and_then(User::end).unwrap_or(self.deadline);
        Standing {
            ticket: self.user.as_ref().map(|user| user.ticket),
            until: self.deadline.min(end),
            ended: self.ended,
            max_hold_ends: end < self.deadline,
            refused: self.refused,
            version: self.version,
            term: self.term,
            election: !self.instant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_overs_beyond_counting_neither_wrap_nor_panic() {
        let (want, now) = (Want::new(Ticket(1), Timing::default()), Moment::from_nanos(7));
        let new = Hold::new(Term(1), &want, 5, now + want.timing.ttl(), now);
        let mut hold = Hold { handovers: u32::MAX, ..new };
        assert!(hold.assign(&want, now).is_some());
        assert!(hold.must_yield(now), "another engine has its turn");
    }
}
