//! The protocol of one lock in one engine: a pure state machine.
//!
//! [`Keeper::step`] takes an event, the time and random bits; it changes what the keeper knows and says what to do: at most
//! one call to the store, what to tell the local acquisitions, when to wake. It does no I/O and asks no clock, so the
//! shipped rules are the ones that the tests, the simulation and the model checker run.
//!
//! It is driven by level, not by edge: after each event it looks at what it believes and what is wanted, and decides the
//! next call from that alone. Lost, late and repeated answers are therefore not special cases.
//!
//! Where a rule is borrowed: conditional take-over after an unchanged observation is client-go's `leaderelection`; the
//! FIFO queue is the classic lock recipe of ZooKeeper and etcd; fencing is Kleppmann's (2016).

mod collect;
mod contest;
mod event;
mod hold;
mod release;
#[cfg(test)]
mod tests;
mod view;

use std::{collections::VecDeque, time::Duration};

use contest::{Contest, Move, Sent};
pub use event::{Action, Call, Event, Notice, Outcome, Patience, Standing, Ticket, Want};
pub use hold::{Attempt, Attempts, Hold, User};
use release::Parting;
pub use view::{State, View};

use crate::{
    LossReason, Timing,
    clock::{Moment, Now},
    config::MAX_ATTEMPT,
    record::{Change, EngineId, Entry, Refused, Term},
    store::Snapshot,
};

/// The least that a failed call is followed by, however near the deadline is.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// A call in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flight {
    call: Call,
    /// Something was believed since it was sent: a read's answer may be older than that.
    overtaken: bool,
    /// What the contest had sent before it.
    before: Sent,
}

/// The state machine of one lock in one engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keeper {
    engine: EngineId,
    view: View,
    /// Local acquisitions that wait, first come first.
    tickets: VecDeque<Want>,
    /// Boxed: a lock that is merely held has none, and there may be thousands of them.
    contest: Option<Box<Contest>>,
    hold: Option<Hold>,
    parting: Option<Parting>,
    flight: Option<Flight>,
    /// A write of ours may have been applied unseen.
    unsettled: bool,
    failures: u32,
    refusals: u32,
    /// No call before this.
    pause: Moment,
    /// The timing of the last hold, for what is still to be cleaned up after it.
    timing: Timing,
    /// Whatever this engine wants is held by somebody, as a rule.
    crowded: bool,
    shut: bool,
}

/// What a step works with.
struct Context<'a> {
    now: Now,
    random: &'a mut dyn FnMut() -> u64,
    notices: Vec<Notice>,
}

// === impl Keeper ===

impl Keeper {
    /// Makes a keeper that knows nothing and wants nothing.
    pub fn new(engine: EngineId) -> Self {
        Self {
            engine,
            view: View::default(),
            tickets: VecDeque::new(),
            contest: None,
            hold: None,
            parting: None,
            flight: None,
            unsettled: false,
            failures: 0,
            refusals: 0,
            pause: Moment::default(),
            timing: Timing::default(),
            crowded: false,
            shut: false,
        }
    }

    /// Makes a keeper that knows since when the lock looks as it does, from a keeper before it.
    pub fn resuming(engine: EngineId, view: View) -> Self {
        Self { view: view.recalled(), ..Self::new(engine) }
    }

    /// Tells whether the locks that this engine wants are held by somebody, as a rule. Then a new acquisition joins the queue
    /// with its first call; if the guess is wrong that costs it a call, and if it is right it saves one.
    pub fn expect_a_crowd(&mut self, crowded: bool) {
        self.crowded = crowded;
    }

    /// Takes an event and says what to do next.
    pub fn step(&mut self, event: Event, now: Now, random: &mut dyn FnMut() -> u64) -> Action {
        let mut cx = Context { now, random, notices: Vec::new() };
        self.expire(now.local);
        self.take(event, &mut cx);
        self.settle(&mut cx);
        let before = self.contest.as_ref().map_or(Sent::NOTHING, |contest| contest.sent());
        let call = if self.flight.is_none() && now.local >= self.pause { self.decide(&mut cx) } else { None };
        if let Some(call) = &call {
            self.flight = Some(Flight { call: call.clone(), overtaken: false, before });
        }
        Action {
            timeout: self.timeout(call.as_ref()),
            call,
            notices: cx.notices,
            wake: self.wake(now),
            watch: self.contest.as_ref().is_some_and(|contest| contest.watches(&self.view)),
            tell: self.awaits_collection(now.local),
        }
    }

    /// Returns what guards see.
    pub fn standing(&self) -> Standing {
        self.hold.as_ref().map(Hold::standing).unwrap_or_default()
    }

    /// Says whether nothing is wanted, held, in flight or to be cleaned up: the keeper may be forgotten.
    pub fn is_idle(&self) -> bool {
        let quiet = self.tickets.is_empty() && self.contest.is_none() && self.hold.is_none();
        quiet && self.parting.is_none() && self.flight.is_none() && !self.unsettled && !self.has_strays()
    }

    /// Returns when the hold, if any, ends without another renewal: calls of the nearest go first.
    pub fn urgency(&self) -> Option<Moment> {
        self.hold.as_ref().map(|hold| hold.deadline)
    }

    /// Says whether the call in flight guesses that the lock is absent, where joining its queue would do as well.
    pub fn guesses(&self) -> bool {
        let waits = self.tickets.front().is_some_and(|want| want.patience == Patience::Wait && !want.retained);
        let guess =
            |flight: &Flight| matches!(flight.call, Call::Apply(Change::Create { .. })) && flight.before.is_nothing();
        waits && self.flight.as_ref().is_some_and(guess)
    }

    /// Returns what is believed of the record.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Returns the hold, if there is one.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// Returns how many local acquisitions wait.
    pub fn waiting(&self) -> usize {
        self.tickets.len()
    }

    fn take(&mut self, event: Event, cx: &mut Context<'_>) {
        let now = cx.now.local;
        match event {
            Event::Want(want) => self.want(want, cx),
            Event::Cancel(ticket) => self.cancel(ticket, cx),
            Event::Collected(ticket, since) => self.collected(ticket, since.min(now)),
            Event::Keep(ticket, least) => self.keep_until(ticket, now + least),
            Event::Release(ticket, successor) => self.release(ticket, successor, cx),
            Event::Prolong(ticket) if self.is_user(ticket) => self.hold.iter_mut().for_each(|hold| hold.prolong(now)),
            Event::Reply(outcome) => self.reply(outcome, cx),
            Event::Seen(snapshot) => {
                let believed = self.view.believe(&snapshot, now);
                self.overtake(believed);
            }
            Event::Deleted(version) => {
                let believed = self.view.believe_gone(version, now);
                self.overtake(believed);
            }
            Event::Disowned(version) => {
                let believed = self.view.believe_changed(version, now);
                self.overtake(believed);
            }
            Event::Unlisted if self.view.record().is_some_and(|record| record.engine == self.engine) => {
                self.view.doubt(State::Unknown);
            }
            // Deleted while nobody watched; or the list is older than what is believed.
            Event::Missing if self.view.record().is_some() => self.view.doubt(State::Unknown),
            Event::Prolong(_) | Event::Unlisted | Event::Missing | Event::Tick => {}
            Event::ShutDown => self.shut_down(cx),
        }
    }

    fn want(&mut self, want: Want, cx: &mut Context<'_>) {
        if self.shut {
            cx.notices.push(Notice::ShutDown(want.ticket));
            return;
        }
        let taken = self.hold.as_ref().is_some_and(|hold| !hold.is_free_for_local(cx.now.local));
        if want.patience != Patience::Wait && (taken || !self.tickets.is_empty()) {
            cx.notices.push(Notice::Busy(want.ticket));
            return;
        }
        self.tickets.push_back(want);
    }

    fn shut_down(&mut self, cx: &mut Context<'_>) {
        self.shut = true;
        cx.notices.extend(self.tickets.drain(..).map(|want| Notice::ShutDown(want.ticket)));
        if let Some(hold) = &mut self.hold {
            hold.ended.get_or_insert(LossReason::ShutDown);
        }
    }

    fn overtake(&mut self, believed: bool) {
        if let Some(flight) = &mut self.flight {
            flight.overtaken |= believed;
        }
    }

    fn expire(&mut self, now: Moment) {
        if let Some(hold) = &mut self.hold {
            hold.expire(now);
        }
    }

    fn reply(&mut self, outcome: Outcome, cx: &mut Context<'_>) {
        let Some(flight) = self.flight.take() else { return };
        let now = cx.now.local;
        if !matches!(outcome, Outcome::Busy(_) | Outcome::Unsent | Outcome::Unknown | Outcome::Fatal) {
            self.failures = 0;
        }
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
            Outcome::Fatal => self.fatal(cx),
        }
    }

    fn applied(&mut self, flight: &Flight, snapshot: &Snapshot, now: Moment) {
        self.refusals = 0;
        if let Call::Apply(Change::Enqueue { claim }) = &flight.call
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
        self.refusals += 1;
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
        if self.refusals > 3 {
            let most = Duration::from_millis(10 << self.refusals.min(6));
            self.pause = cx.now.local + jitter(most, cx);
        }
    }

    fn unsent(&mut self, flight: &Flight) {
        self.failures = self.failures.max(1);
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

    /// Waits before the next call, longer after each failure, but never past what a hold can bear.
    fn back_off(&mut self, after: Option<Duration>, cx: &mut Context<'_>) {
        self.failures += 1;
        let now = cx.now.local;
        let most = Duration::from_millis(50 << self.failures.min(7)).min(self.timing().attempt_timeout());
        let wait = jitter(most, cx).max(after.unwrap_or_default());
        let bearable = |hold: &Hold| (hold.remaining(now) / 3).max(SHORTEST_PAUSE);
        let bearable = self.hold.as_ref().map_or(Duration::MAX, bearable);
        self.pause = now + wait.min(bearable);
    }

    fn fatal(&mut self, cx: &mut Context<'_>) {
        if self.hold.is_some() {
            return self.back_off(None, cx);
        }
        cx.notices.extend(self.tickets.drain(..).map(|want| Notice::Failed(want.ticket)));
        self.abandon(cx);
    }

    /// Brings what is held in line with what is believed and wanted; sends nothing.
    fn settle(&mut self, cx: &mut Context<'_>) {
        self.check_hold(cx);
        self.check_contest(cx);
        self.assign(cx);
        self.recall(cx);
        self.part(cx);
        self.check_parting(cx);
        if self.tickets.is_empty() {
            self.drop_contest();
        }
    }

    /// Loses a hold that a believed record contradicts, confirms what it shows otherwise.
    fn check_hold(&mut self, cx: &mut Context<'_>) {
        let Some(hold) = &mut self.hold else { return };
        match self.view.state() {
            State::Unknown | State::Exists => {}
            State::Absent => {
                end(hold, LossReason::Deleted);
            }
            State::Present(snapshot) if snapshot.record.term == hold.term => {
                let early = jitter(hold.timing.renew_interval() / 10, cx);
                hold.confirm(snapshot, early, cx.now.local);
            }
            State::Present(_) => end(hold, LossReason::TakenOver),
        }
    }

    /// Turns a won contest into a hold.
    fn check_contest(&mut self, cx: &mut Context<'_>) {
        if self.hold.is_some() {
            return;
        }
        let (Some(contest), Some(front)) = (&mut self.contest, self.tickets.front()) else { return };
        let State::Present(snapshot) = self.view.state() else { return };
        if let Some(hold) = contest.won(snapshot, front, cx.now.local) {
            self.hold = Some(hold);
            self.contest = None;
        }
    }

    /// Gives a hold without a user to the next local acquisition.
    fn assign(&mut self, cx: &mut Context<'_>) {
        let wishes_another = self.wishes_another();
        let Some(hold) = &mut self.hold else { return };
        let others_wait = self.view.record().is_some_and(|record| waits_another(record, &self.engine));
        if wishes_another || !hold.is_free_for_local(cx.now.local) || (others_wait && hold.must_yield(cx.now.local)) {
            return;
        }
        let Some(want) = self.tickets.front() else { return };
        if let Some(token) = hold.assign(want, cx.now.local) {
            cx.notices.push(Notice::Acquired(want.ticket, token));
            self.tickets.pop_front();
            if self.tickets.is_empty() {
                self.tickets.shrink_to_fit();
            }
        }
    }

    /// Decides the one next call.
    fn decide(&mut self, cx: &mut Context<'_>) -> Option<Call> {
        if self.hold.is_some() {
            return self.keep(cx);
        }
        loop {
            match self.clean_up(cx).map_or_else(|| self.contend(cx), Move::Send) {
                Move::Send(call) => return Some(call),
                Move::Wait => return None,
                Move::GiveUp(notice) => self.dismiss(notice, cx),
            }
        }
    }

    /// Keeps a hold alive.
    fn keep(&mut self, cx: &mut Context<'_>) -> Option<Call> {
        let hold = self.hold.as_mut()?;
        let now = cx.now.local;
        if !hold.is_renewed() || !hold.serves() {
            return None;
        }
        let Some(record) = self.view.record() else { return Some(Call::Read) };
        if self.shut && hold.user.is_none() {
            return Some(Call::Apply(release::reserve(hold, record, cx)));
        }
        if now < hold.next_renewal {
            return None;
        }
        let (beat, ttl) = (fresh(cx), hold.timing.ttl());
        hold.attempt(beat, Attempt::new(now, ttl, hold.timing.safety_margin()));
        hold.next_renewal = now;
        Some(Call::Apply(Change::Renew {
            term: hold.term,
            previous: record.beat,
            beat,
            renewals: record.renewals.saturating_add(1),
            ttl,
            wall: cx.now.wall,
        }))
    }

    fn timeout(&self, call: Option<&Call>) -> Duration {
        let timing = self.timing();
        match call {
            Some(Call::Apply(Change::Enqueue { .. })) => (timing.ttl() / 2).min(MAX_ATTEMPT),
            _ => timing.attempt_timeout(),
        }
    }

    /// Returns the timing of what is held or striven for, not of who waits behind it: a claim's attempts fit its ttl.
    fn timing(&self) -> Timing {
        let contest = || self.contest.as_ref().map_or(self.timing, |contest| contest.timing());
        self.hold.as_ref().map_or_else(contest, |hold| hold.timing)
    }

    fn wake(&self, now: Now) -> Option<Moment> {
        let hold = self.hold.as_ref().filter(|hold| hold.is_renewed());
        let ends = hold.into_iter().flat_map(|hold| [hold.deadline, hold.standing().until]);
        let kept = hold.filter(|hold| hold.user.is_none()).map(|hold| hold.keep_until);
        let uncollected = hold.and_then(|hold| Some([hold.collect_by(hold.uncollected()?), hold.next_renewal]));
        let due = if self.flight.is_some() { None } else { self.due(now).map(|due| due.max(self.pause)) };
        ends.chain(kept).chain(uncollected.into_iter().flatten()).chain(due).filter(|at| *at > now.local).min()
    }

    /// Returns when the next call is due, if time alone makes it so.
    fn due(&self, now: Now) -> Option<Moment> {
        if let Some(hold) = &self.hold {
            let due = self.view.record().map_or(self.pause, |_| hold.next_renewal);
            return (hold.is_renewed() && hold.serves()).then_some(due);
        }
        let starting = self.contest.is_none() && !self.tickets.is_empty();
        let contest = self.contest.as_ref().map(|contest| contest.due(&self.view, now));
        let cleaning = (self.must_look() || self.parting.is_some() || self.has_strays()).then_some(self.pause);
        contest.into_iter().chain(cleaning).chain(starting.then_some(self.pause)).min()
    }
}

fn end(hold: &mut Hold, reason: LossReason) {
    if hold.is_renewed() {
        hold.ended = Some(reason);
    }
}

fn waits_another(record: &crate::record::Record, engine: &EngineId) -> bool {
    record.waiters.iter().filter_map(Entry::claim).any(|claim| claim.engine != *engine)
}

fn record_term(entry: &Entry) -> Option<Term> {
    entry.term()
}

fn fresh(cx: &mut Context<'_>) -> crate::record::Beat {
    crate::record::Beat::random((cx.random)())
}

/// Returns a random duration between half of `most` and `most`.
fn jitter(most: Duration, cx: &mut Context<'_>) -> Duration {
    let half = u64::try_from(most.as_nanos() / 2).unwrap_or(u64::MAX / 2);
    let part = (cx.random)() % half.max(1);
    Duration::from_nanos(half.saturating_add(part))
}
