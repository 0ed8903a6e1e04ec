//! A contest: one term of this engine that strives for the lock (design 4.3).

mod joining;
mod poll;

use std::{ops::Range, time::Duration};

use super::{
    Ask, Attempt, Attempts, Call, Context, Flight, Hold, Keeper, Notice, Patience, Shelter, State, Ticket, Trouble,
    Verdict, View, Want, fresh, jitter, session,
};
use crate::{
    Timing,
    clock::{Moment, Now},
    record::{Beat, Change, Claim, EngineId, Entry, MAX_WAITERS, Pair, Record, Term},
    store::Snapshot,
};

/// The smallest step between the challenges of two neighbours in the queue.
const SMALLEST_STAGGER: Duration = Duration::from_millis(250);

/// One term on its way to the lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Contest {
    claim: Claim,
    /// What it strives for: what the first of the local acquisitions wants.
    want: Want,
    started: Moment,
    /// Nothing has been sent yet.
    fresh: bool,
    /// The lock is held by somebody, as a guess: its queue is joined without an attempt to make or to claim it.
    joins_first: bool,
    attempts: Attempts,
    /// The local time before the *first* Enqueue of this term was sent: the anchor of an instant grant.
    first_enqueue: Option<Moment>,
    /// The entry of this term has been seen in the queue.
    joined: bool,
    /// The beat of the grant to this term, once seen.
    granted: Option<Beat>,
    /// The queue was full: no look for room before this.
    full_until: Moment,
    /// How often in a row it was.
    fulls: u32,
    /// The holder that a `Try` watches for a sign of life.
    watched: Option<Pair>,
    /// A random number of thousandths: which part of a stagger this contest adds, and when its term is first renewed.
    jitter: u32,
}

/// What a contest knows of its earlier calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Sent {
    fresh: bool,
    first_enqueue: Option<Moment>,
}

impl Sent {
    /// There were none.
    pub(super) const NOTHING: Self = Self { fresh: true, first_enqueue: None };

    /// Says that nothing has been sent.
    pub(super) fn is_nothing(self) -> bool {
        self.fresh
    }
}

/// What a contest does next.
pub(super) enum Move {
    Send(Call),
    Wait,
    GiveUp(Notice),
}

// === impl Contest ===

impl Contest {
    fn new(engine: &EngineId, want: &Want, cx: &mut Context<'_>) -> Self {
        let term = want.session.unwrap_or_else(|| Term::random((cx.random)()));
        Self {
            claim: Claim { engine: engine.clone(), term, ttl: want.timing.ttl(), instant: want.instant },
            want: want.clone(),
            started: cx.now.local,
            fresh: true,
            joins_first: false,
            attempts: Attempts::new(),
            first_enqueue: None,
            joined: false,
            granted: None,
            full_until: Moment::default(),
            fulls: 0,
            watched: None,
            jitter: u32::try_from((cx.random)() % 1000).unwrap_or(0),
        }
    }

    /// Returns the timing that its claim was made with.
    pub(super) fn timing(&self) -> Timing {
        self.want.timing
    }

    /// Returns the term that strives.
    pub(super) fn term(&self) -> Term {
        self.claim.term
    }

    /// Returns what tells of earlier calls.
    pub(super) fn sent(&self) -> Sent {
        Sent { fresh: self.fresh, first_enqueue: self.first_enqueue }
    }

    /// Notes that the latest call was never sent.
    pub(super) fn unsent(&mut self, before: Sent) {
        (self.fresh, self.first_enqueue) = (before.fresh, before.first_enqueue);
    }

    /// Says whether the lock itself is to be watched: by the first two of the queue, so that a crash is noticed exactly
    /// at its ttl, and by a `Try` that waits for a sign of life.
    pub(super) fn watches(&self, view: &View) -> bool {
        let Some(record) = view.record().filter(|record| !record.is_free()) else { return false };
        match self.want.patience {
            Patience::Try => true,
            Patience::Poll { .. } => false,
            Patience::Wait => record.rank_of(self.claim.term).is_some_and(|rank| rank <= 1),
        }
    }

    /// Says whether it waits where it does not watch.
    pub(super) fn waits_behind(&self, view: &View) -> bool {
        view.record().is_some_and(|record| record.rank_of(self.claim.term).is_some()) && !self.watches(view)
    }

    /// Says what it wants to know of the session that the record stands under.
    pub(super) fn asks(&self, view: &View) -> Option<Ask> {
        let record = view.record().filter(|record| !record.under.is_none() && record.engine != self.claim.engine)?;
        let (session, hasty) = (record.under, self.want.patience != Patience::Wait);
        let unknown = view.verdict(session) != Verdict::Dead;
        unknown.then(|| Ask { session, watch: self.watches(view), hasty })
    }

    /// Makes a hold of a record that shows this term, if enough of its deadline remains, which is more where calls
    /// are slow; otherwise it must be accepted.
    pub(super) fn won(
        &mut self,
        snapshot: &Snapshot,
        front: &Want,
        trouble: Option<&Trouble>,
        own: &[Shelter],
        now: Moment,
    ) -> Option<Hold> {
        let record = &snapshot.record;
        if record.term != self.claim.term {
            return None;
        }
        let attempt = self.attempts.get(&record.beat).copied();
        if attempt.is_none() && self.granted != Some(record.beat) {
            // What strove for the term before it was granted can come true no more.
            self.granted = Some(record.beat);
            self.attempts.clear();
        }
        let beat = attempt.map(|attempt| attempt.deadline).or_else(|| self.granted_deadline(record))?;
        let deadline = session::bound(record.under, beat, own);
        let timing = &self.want.timing;
        let least = trouble.map_or(timing.attempt_timeout(), |trouble| trouble.least_left(timing));
        if deadline.since(now) < least.max(self.least_left(attempt.is_none())) {
            return None;
        }
        let mut hold = Hold::new(self.claim.term, front, snapshot.version.number, beat, now);
        hold.retained = self.want.retained;
        hold.attempts = self.attempts.clone();
        hold.settle_under(record.beat, record.under);
        hold.reckon(own);
        hold.next_renewal = match attempt {
            _ if front.timing.ttl() != self.claim.ttl => now,
            _ if !record.under.is_none() => {
                if front.timing == self.want.timing {
                    session::NEVER
                } else {
                    now
                }
            }
            Some(attempt) => attempt.sent + self.first_interval(),
            // A short body is over before this: its hand-off costs one write, not two.
            None => now + self.want.timing.attempt_timeout() / 4,
        };
        Some(hold)
    }

    /// Returns how much must be left of a hold that begins. Of a granted one at least half of what a fresh one has: a long
    /// wait has used up its time, and a body relies on some.
    fn least_left(&self, granted: bool) -> Duration {
        let timing = &self.want.timing;
        let half = timing.ttl().saturating_sub(timing.safety_margin()) / 2;
        if granted { timing.attempt_timeout().max(half) } else { timing.attempt_timeout() }
    }

    /// Returns when the first renewal follows: at a random moment in the last three quarters of the interval, so that locks
    /// acquired together are not renewed together. Later ones keep this distance.
    fn first_interval(&self) -> Duration {
        let interval = self.want.timing.renew_interval();
        interval / 4 + interval * 3 / 4 * self.jitter / 1000
    }

    /// Returns the deadline of an instant grant: anchored before the first Enqueue, since no challenger can have begun to
    /// wait before our entry was there.
    fn granted_deadline(&self, record: &Record) -> Option<Moment> {
        let instant = self.claim.instant && record.instant && record.renewals == 0 && record.ttl == self.claim.ttl;
        let anchor = self.first_enqueue.filter(|_| instant)?;
        Some(Attempt::new(anchor, self.claim.ttl, self.want.timing.safety_margin()).deadline)
    }

    fn next(&mut self, view: &View, ticket: Ticket, cx: &mut Context<'_>) -> Move {
        if let Patience::Poll { create_only } = self.want.patience {
            return self.poll(create_only, view, ticket, cx);
        }
        let waits = self.want.patience == Patience::Wait;
        match view.state() {
            State::Unknown if self.joins_unseen(view) => self.join_unseen(view, cx),
            State::Unknown if self.fresh && self.want.retained => self.claim_free(None, cx),
            State::Unknown if self.fresh => self.create(cx),
            // A session is made once at the most: others may have seen the end of it.
            State::Absent if self.want.session.is_some() && !self.fresh => Move::GiveUp(Notice::Busy(ticket)),
            State::Absent => self.create(cx),
            State::Exists if waits && !self.joined && cx.now.local >= self.full_until => self.enqueue(cx),
            State::Unknown | State::Exists => Move::Send(Call::Read),
            State::Present(snapshot) => self.face(&snapshot.record, view, ticket, cx),
        }
    }

    fn face(&mut self, record: &Record, view: &View, ticket: Ticket, cx: &mut Context<'_>) -> Move {
        let rank = record.rank_of(self.claim.term);
        self.joined |= rank.is_some();
        if record.term == self.claim.term {
            return self.accept(record, cx);
        }
        if record.is_free() {
            return self.claim_free(Some(record), cx);
        }
        if self.adopts(record, view) {
            return self.claim_seen(record, rank.map_or(0..0, |rank| rank..rank + 1), cx);
        }
        match self.want.patience {
            Patience::Try => self.observe(record, view, ticket, cx),
            Patience::Wait | Patience::Poll { .. } => self.queue(record, rank, view, cx),
        }
    }

    /// Says whether a record is that of an earlier start of this very engine: at once claimed, unless it shows life.
    fn adopts(&self, record: &Record, view: &View) -> bool {
        self.want.adopt && record.engine.is_kin_of(&self.claim.engine) && !view.shows_life()
    }

    /// Finds out whether a holder lives, for somebody who does not want to wait: by the date it wrote (a hint), then by
    /// watching for one ttl. A reservation shows no life: its date is all there is to know.
    fn observe(&mut self, record: &Record, view: &View, ticket: Ticket, cx: &mut Context<'_>) -> Move {
        let promises_life = record.expiry.is_some_and(|expiry| expiry > cx.now.wall);
        let watched = *self.watched.get_or_insert(record.pair());
        let kept = if record.is_reserved() {
            cx.now.local < self.claim_due(record, None, view, cx.now)
        } else if !record.under.is_none() {
            view.verdict(record.under) == Verdict::Alive || cx.now.local >= self.gives_up_at(record, view)
        } else {
            promises_life && cx.now.local < view.claimable_at(record, cx.now)
        };
        if watched != record.pair() || kept {
            return Move::GiveUp(Notice::Busy(ticket));
        }
        self.challenge(record, None, view, cx)
    }

    /// Returns when whoever tries waits no more to hear of a session: the store does not answer, or nobody may look.
    fn gives_up_at(&self, record: &Record, view: &View) -> Moment {
        let doubtful = !record.under.is_none() && view.verdict(record.under) != Verdict::Dead;
        if doubtful { self.started + 2 * record.patience() } else { session::NEVER }
    }

    /// Takes over from a holder without a sign of life. Whoever does not watch the lock looks once more before.
    fn challenge(&mut self, record: &Record, rank: Option<usize>, view: &View, cx: &mut Context<'_>) -> Move {
        let now = cx.now.local;
        if now >= self.claim_due(record, rank, view, cx.now) {
            let informed = self.watches(view) || view.arrived() >= view.claimable_at(record, cx.now);
            let up_to = rank.map_or(record.waiters.len(), |rank| rank + 1);
            return if informed { self.claim_seen(record, 0..up_to, cx) } else { Move::Send(Call::Read) };
        }
        let look_again = !self.watches(view) && now >= self.look_due(record, view);
        if look_again { Move::Send(Call::Read) } else { Move::Wait }
    }

    /// Returns when whoever does not watch the lock looks again: the holder it last saw may be long gone, and the present
    /// one be as short-lived as itself.
    fn look_due(&self, record: &Record, view: &View) -> Moment {
        view.arrived() + record.patience().min(self.want.timing.ttl())
    }

    fn claim_due(&self, record: &Record, rank: Option<usize>, view: &View, now: Now) -> Moment {
        let rank = rank.unwrap_or(record.waiters.len());
        // No renewal of a reservation can be seen late.
        let part = if record.is_reserved() { Duration::ZERO } else { record.patience() * 3 / 100 };
        let step = SMALLEST_STAGGER.max(part);
        let place = step * u32::try_from(rank).unwrap_or(u32::MAX);
        let jitter = if rank == 0 { Duration::ZERO } else { step * self.jitter / 2000 };
        view.claimable_at(record, now) + place + jitter
    }

    /// Returns when this contest acts next, if nothing happens before.
    pub(super) fn due(&self, view: &View, now: Now) -> Moment {
        if let Some(until) = self.waits_for_verdict(view) {
            return until;
        }
        let Some(record) = view.record().filter(|_| !self.polls()) else {
            return if self.joins_unseen(view) { self.joins_at(view) } else { Moment::default() };
        };
        let ours = record.is_free() || record.term == self.claim.term;
        let rank = record.rank_of(self.claim.term);
        let may_join = rank.is_none() && self.want.patience == Patience::Wait;
        if ours {
            return Moment::default();
        }
        let claim = self.claim_due(record, rank, view, now);
        let look = if self.watches(view) { claim } else { self.look_due(record, view) };
        let join = if may_join { self.joins_at(view) } else { claim };
        let tries = self.want.patience == Patience::Try;
        let patience = if tries { self.gives_up_at(record, view) } else { session::NEVER };
        claim.min(look).min(join).min(patience)
    }

    fn create(&mut self, cx: &mut Context<'_>) -> Move {
        let (beat, under) = self.attempt(Beat::NONE, cx);
        Move::Send(Call::Apply(Change::Create { claim: self.claim.clone(), beat, under, wall: cx.now.wall }))
    }

    fn claim_free(&mut self, record: Option<&Record>, cx: &mut Context<'_>) -> Move {
        let mine = record.and_then(|record| own_place(record, self.claim.term));
        // Somebody's hand may have left a beat without a term: still free, and claimed as it stands.
        self.claim_from(record.map_or(Pair::FREE, Record::pair), mine.into_iter().collect(), cx)
    }

    fn claim_seen(&mut self, record: &Record, gone: Range<usize>, cx: &mut Context<'_>) -> Move {
        let removes = gone.filter_map(|index| Some((index, record.waiters.get(index)?.clone()))).collect();
        self.claim_from(record.pair(), removes, cx)
    }

    fn claim_from(&mut self, seen: Pair, removes: Vec<(usize, Entry)>, cx: &mut Context<'_>) -> Move {
        let (claim, (beat, under), wall) = (self.claim.clone(), self.attempt(seen.beat, cx), cx.now.wall);
        Move::Send(Call::Apply(Change::Claim { claim, beat, seen, removes, under, wall }))
    }

    /// Accepts a grant: only this write's confirmation makes us holder.
    fn accept(&mut self, record: &Record, cx: &mut Context<'_>) -> Move {
        let (beat, under) = self.attempt(record.beat, cx);
        Move::Send(Call::Apply(Change::Renew {
            term: record.term,
            previous: record.beat,
            beat,
            renewals: record.renewals.saturating_add(1),
            ttl: self.claim.ttl,
            next_owner: record.next_in_line(),
            under,
            wall: cx.now.wall,
        }))
    }

    /// Notes one attempt to hold, with a beat of its own, under the session that there is for it.
    fn attempt(&mut self, tests: Beat, cx: &mut Context<'_>) -> (Beat, Term) {
        let (beat, now) = (fresh(cx), cx.now.local);
        let under = if self.claim.instant { session::shelter(cx.own(), &self.want.timing, now) } else { Term::NONE };
        let attempt = Attempt::new(now, self.claim.ttl, self.want.timing.safety_margin());
        self.fresh = false;
        self.attempts.insert(beat, attempt.of(tests, under));
        (beat, under)
    }
}

fn own_place(record: &Record, term: Term) -> Option<(usize, Entry)> {
    let index = record.rank_of(term)?;
    Some((index, record.waiters.get(index)?.clone()))
}

// === impl Keeper: contending ===

impl Keeper {
    /// Says whether the call in flight guesses that the lock is absent, where joining its queue would do as well.
    pub fn guesses(&self) -> bool {
        let waits = self.tickets.front().is_some_and(|want| want.patience == Patience::Wait && !want.retained);
        let guess =
            |flight: &Flight| matches!(flight.call, Call::Apply(Change::Create { .. })) && flight.before.is_nothing();
        waits && *self.view.state() == State::Unknown && self.flight.as_deref().is_some_and(guess)
    }

    /// Says whether an entry of this engine stands so far behind in the queue that it does not watch the lock.
    pub fn waits_behind(&self) -> bool {
        self.contest.as_ref().is_some_and(|contest| contest.waits_behind(&self.view))
    }

    /// Strives for the lock on behalf of the first local acquisition.
    pub(super) fn contend(&mut self, cx: &mut Context<'_>) -> Move {
        let failing = self.trouble.as_ref().is_some_and(|trouble| trouble.is_failing());
        let Some(front) = self.tickets.front() else { return Move::Wait };
        let contest = self.contest.get_or_insert_with(|| Box::new(Contest::new(&self.engine, front, cx)));
        contest.want.patience = front.patience;
        contest.guess(self.crowded, &self.view, cx.now.local);
        if front.patience != Patience::Wait && failing && out_of_time(contest, cx) {
            return Move::GiveUp(Notice::Failed(front.ticket));
        }
        if self.unsettled && contest.is_doubtful(&self.view) {
            return Move::Send(Call::Read);
        }
        contest.next(&self.view, front.ticket, cx)
    }

    /// Sends the first local acquisition away, and what it strove with.
    pub(super) fn dismiss(&mut self, notice: Notice, cx: &mut Context<'_>) {
        self.tickets.pop_front();
        cx.notices.push(notice);
        self.drop_contest();
    }

    /// Ends a contest that nobody wants. Its entry may be in the queue, unseen.
    pub(super) fn drop_contest(&mut self) {
        if self.contest.take().is_some_and(|contest| contest.may_have_joined()) {
            self.unsettled |= self.view.record().is_none() && *self.view.state() != State::Absent;
        }
    }
}

/// Somebody who does not want to wait is told of a store that does not answer after a third of the ttl.
fn out_of_time(contest: &Contest, cx: &Context<'_>) -> bool {
    cx.now.local >= contest.started + contest.want.timing.renew_interval()
}
