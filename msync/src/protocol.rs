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
//! FIFO queue is the classic lock recipe of `ZooKeeper` and etcd; fencing is Kleppmann's (2016).

mod collect;
mod contest;
mod event;
mod foreign;
mod hold;
mod keeping;
pub(crate) mod leftover;
mod own;
mod release;
mod reply;
mod session;
mod story;
#[cfg(test)]
mod tests;
mod trouble;
mod under;
mod view;
mod watching;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use contest::{Contest, Move, Sent};
pub use event::{Action, Again, Call, Event, Notice, Outcome, Patience, Standing, Ticket, Want};
pub use foreign::{Foreign, Glance, Step};
pub use hold::{Attempt, Attempts, Hold, User};
pub use own::{Own, Rest};
use release::Parting;
pub use session::{Ask, Shelter, Verdict, may_beat, pays, shelter};
pub use story::{Answer, Holding, Renewal, Story, Wait};
pub use trouble::Report;
use trouble::Trouble;
pub use view::{State, View};
pub use watching::{Sightless, Watching};

use crate::{
    LossReason, Timing,
    clock::{Moment, Now},
    config::MAX_ATTEMPT,
    record::{Change, EngineId, Entry, Term},
};

/// A call in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flight {
    call: Call,
    /// Something was believed since it was sent: a read's answer may be older than that.
    overtaken: bool,
    sent: Moment,
    /// How long it may take.
    limit: Duration,
    /// What the contest had sent before it.
    before: Sent,
    /// Somebody waited for the lock when it was sent.
    wanted: bool,
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
    /// Giving back is tried until then, whatever calls meet; after that others may take over anyway.
    insist_until: Moment,
    /// Boxed, as the contest.
    flight: Option<Box<Flight>>,
    /// A write of ours may have been applied unseen.
    unsettled: bool,
    /// What calls have met since all was well. Boxed, as the contest.
    trouble: Option<Box<Trouble>>,
    /// When somebody was known to have the lock, another engine by the record or somebody here; while anybody waits.
    seen_held: Moment,
    /// No call before this.
    pause: Moment,
    /// The timing of the last hold, for what is still to be cleaned up after it.
    timing: Timing,
    /// The sessions of this engine, the lost ones included; nothing where it has none, nor wants any.
    own: Option<Arc<[Shelter]>>,
    /// When this engine was last told what it holds; only of a session.
    heard: Option<Moment>,
    /// Whatever this engine wants is held by somebody, as a rule.
    crowded: bool,
    shut: bool,
}

/// What a step works with.
struct Context<'a> {
    now: Now,
    random: &'a mut dyn FnMut() -> u64,
    notices: Vec<Notice>,
    own: Option<Arc<[Shelter]>>,
    opens: Option<Timing>,
}

// === impl Context ===

impl Context<'_> {
    fn own(&self) -> &[Shelter] {
        self.own.as_deref().unwrap_or_default()
    }
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
            insist_until: Moment::default(),
            flight: None,
            unsettled: false,
            trouble: None,
            seen_held: Moment::default(),
            pause: Moment::default(),
            timing: Timing::default(),
            own: None,
            heard: None,
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

    /// Tells which sessions this engine has, if it uses any.
    pub fn know_sessions(&mut self, own: Option<Arc<[Shelter]>>) {
        self.own = own;
    }

    /// Tells a session when this engine was last shown what it holds.
    pub fn has_heard(&mut self, at: Moment) {
        self.heard = Some(at);
    }

    /// Lists the sessions of this engine that must not end now.
    pub fn needs(&self) -> impl Iterator<Item = Term> + '_ {
        self.hold.iter().flat_map(Hold::needs)
    }

    /// Takes an event and says what to do next.
    pub fn step(&mut self, event: Event, now: Now, random: &mut dyn FnMut() -> u64) -> Action {
        let mut cx = Context { now, random, notices: Vec::new(), own: self.own.clone(), opens: None };
        self.see_holder(now.local);
        self.expire(now.local);
        self.take(event, &mut cx);
        self.settle(&mut cx);
        self.hurry(now.local);
        let before = self.contest.as_ref().map_or(Sent::NOTHING, |contest| contest.sent());
        let ready = self.flight.is_none() && now.local >= self.pause;
        let call = if ready { self.decide(&mut cx) } else { None };
        if ready && call.is_none() {
            self.rest();
        }
        let turn = self.usual(call.as_ref());
        let timeout = self.timeout(turn, now.local);
        if let Some(call) = call.clone() {
            let wanted = !self.tickets.is_empty();
            self.flight =
                Some(Box::new(Flight { call, overtaken: false, sent: now.local, limit: timeout, before, wanted }));
        }
        self.see_holder(now.local);
        Action {
            turn,
            timeout,
            call,
            notices: cx.notices,
            report: self.report(now.local),
            wake: self.wake(now),
            watch: self.contest.as_ref().is_some_and(|contest| contest.watches(&self.view)),
            tell: self.awaits_collection(now.local),
            ask: self.contest.as_ref().and_then(|contest| contest.asks(&self.view)),
            opens: cx.opens,
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

    /// Returns what is believed of the record.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Returns the hold, if there is one.
    pub fn hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// Returns the term that strives for the lock, if one does.
    pub fn striving(&self) -> Option<Term> {
        self.contest.as_ref().map(|contest| contest.term())
    }

    /// Returns how many local acquisitions wait.
    pub fn waiting(&self) -> usize {
        self.tickets.len()
    }

    /// Says whether somebody was known to have the lock at some time since: then whoever waits, waits for that.
    pub fn has_seen_holder(&self, since: Moment) -> bool {
        self.seen_held >= since || (self.failures() == 0 && self.shows_another())
    }

    fn see_holder(&mut self, now: Moment) {
        if self.tickets.is_empty() {
            self.seen_held = Moment::default();
        } else if self.hold.is_some() {
            self.seen_held = now;
        } else if self.shows_another() {
            self.seen_held = self.seen_held.max(self.view.arrived());
        }
    }

    fn shows_another(&self) -> bool {
        self.view.record().is_some_and(|record| !record.is_free() && record.engine != self.engine)
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
                self.insist(&snapshot, now);
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
            Event::Judged(session, verdict) => self.view.judge(session, verdict, now),
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
        if let Some(again) = &want.again {
            // It was the holder itself, until the lock was taken back.
            self.seen_held = self.seen_held.max(cx.now.local - again.unpolled);
        }
        self.line_up(want);
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
            // First by what guards were told: news of a session that comes after that revives nothing.
            hold.expire(now);
            hold.reckon(self.own.as_deref().unwrap_or_default());
            hold.expire(now);
        }
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
                hold.confirm(snapshot, early, cx.now.local, cx.own());
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
        if let Some(hold) = contest.won(snapshot, front, self.trouble.as_deref(), cx.own(), cx.now.local) {
            self.hold = Some(hold);
            self.contest = None;
        }
    }

    /// Gives a hold without a user to the next local acquisition.
    fn assign(&mut self, cx: &mut Context<'_>) {
        let wishes_another = self.wishes_another();
        let Some(hold) = &mut self.hold else { return };
        let others_wait = self.view.record().is_some_and(|record| waits_another(record, &self.engine));
        if wishes_another
            || !hold.is_free_for_local(cx.now.local)
            || hold.is_stale(cx.now.local)
            || (others_wait && hold.must_yield(cx.now.local))
        {
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

    /// Returns how long a call may take where calls are not slow.
    fn usual(&self, call: Option<&Call>) -> Duration {
        let timing = self.current_timing();
        match call {
            Some(Call::Apply(Change::Enqueue { .. })) => (timing.ttl() / 2).min(MAX_ATTEMPT),
            _ => timing.attempt_timeout(),
        }
    }

    fn timeout(&self, usual: Duration, now: Moment) -> Duration {
        let timing = self.current_timing();
        let left = self.hold.as_ref().map(|hold| hold.remaining(now));
        self.trouble.as_ref().map_or(usual, |trouble| trouble.patience(usual, &timing, left))
    }

    /// Returns the timing of what is held or striven for, not of who waits behind it: a claim's attempts fit its ttl.
    fn current_timing(&self) -> Timing {
        let contest = || self.contest.as_ref().map_or(self.timing, |contest| contest.timing());
        self.hold.as_ref().map_or_else(contest, |hold| hold.timing)
    }

    fn wake(&self, now: Now) -> Option<Moment> {
        let hold = self.hold.as_ref().filter(|hold| hold.is_renewed());
        let ends = hold.into_iter().flat_map(|hold| [hold.deadline, hold.standing().until]);
        let kept = hold.filter(|hold| hold.user.is_none()).map(|hold| hold.keep_until);
        let uncollected = hold.and_then(|hold| Some([hold.collect_by(hold.uncollected()?), hold.next_renewal]));
        let due = if self.flight.is_some() { None } else { self.due(now).map(|due| due.max(self.pause)) };
        ends.chain(kept)
            .chain(uncollected.into_iter().flatten())
            .chain(due)
            .chain(self.report_due())
            .filter(|at| *at > now.local && *at < session::NEVER)
            .min()
    }

    /// Returns when the next call is due, if time alone makes it so.
    fn due(&self, now: Now) -> Option<Moment> {
        if let Some(hold) = &self.hold {
            let due = self.view.record().map_or(self.pause, |_| hold.next_renewal);
            if hold.lingers(self.own.as_deref().unwrap_or_default()) {
                return Some(self.pause);
            }
            return (hold.is_renewed() && hold.serves() && !self.is_deaf(now.local)).then_some(due);
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
