//! One engine: the shipped keeper, and what its driver does around it. No rule of the protocol lives here.

mod side;

use std::{collections::VecDeque, time::Duration};

use msync::{
    LossReason,
    clock::{Moment, Now, Wall},
    unstable::{
        protocol::{Action, Call, Event, Keeper, Notice, Ticket},
        record::{Change, EngineId, Term},
        store::Snapshot,
    },
};

use crate::{Peer, Promise, Seen, Session, Side};

/// One tick, on a clock that is right.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// All nonces are multiples of it, and so of every half span of time that the protocol draws a jitter from: a jitter is
/// then always the same, and does not multiply the states.
const NONCE: u64 = (1 << 16) * 5_u64.pow(9);

/// How many events a silent watch keeps; older ones are lost.
const KEPT_SIGHTINGS: usize = 2;

/// What a user of this engine does with one acquisition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It waits.
    Waiting,
    /// It has been told that it has the lock, with this token, and has not taken it.
    Offered(u64),
    /// It has been told that it has the lock.
    Held,
    /// It had the lock, and has seen that it is lost. Its guard is not dropped yet.
    Lost,
}

/// One acquisition of this engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// Which.
    pub ticket: Ticket,
    /// How far it is.
    pub phase: Phase,
    /// Its future is polled when it is woken.
    pub polled: bool,
}

/// One engine, its clock, its watch and its users.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own; no two exclude each other")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// The shipped state machine.
    pub keeper: Keeper,
    /// Its acquisitions that have not ended.
    pub guards: Vec<Guard>,
    /// Acquisitions that its users may still begin.
    pub wants: u8,
    /// What the watch has reported and the keeper has not seen; on a Lease with what the store learns of it.
    pub sightings: VecDeque<(Event, Seen)>,
    /// What it has to do with the session.
    pub side: Side,
    /// The Lease as this engine's store has last seen it.
    pub known: Seen,
    /// The watch is silent: what it has reported comes at any time, or never.
    pub stalled: bool,
    /// The process does not run.
    pub paused: bool,
    index: u8,
    starts: u8,
    id: EngineId,
    /// The local clock, in ticks.
    local: u16,
    nonces: u16,
    tickets: u64,
    wake: Option<Moment>,
    /// When the call in flight counts as unknown.
    limit: Option<Moment>,
    /// The lock itself is watched.
    looks_out: bool,
    /// Terms that were seen lost.
    lost: Vec<Term>,
    /// For how many ticks its users keep the lock at least.
    at_least: u16,
    /// Until which tick of its clock it keeps the lock, whoever uses it.
    kept_until: u16,
    /// It shuts down, or has done so.
    closing: bool,
}

/// What a step of a node leads to.
#[derive(Debug, Default)]
pub struct Step {
    /// A call to send.
    pub call: Option<Call>,
    /// A call to send about the session.
    pub of_session: Option<Call>,
    /// A watch of the session is opened.
    pub opens_session: bool,
    /// The tokens of those that acquired, in order.
    pub tokens: Vec<u64>,
    /// A watch of the lock is opened.
    pub opens: bool,
    /// What it broke.
    pub broken: Option<Promise>,
}

// === impl Step ===

impl Step {
    /// Adds what follows at once. A keeper has one call in flight.
    fn follow(&mut self, next: Self) {
        self.call = self.call.take().or(next.call);
        self.tokens.extend(next.tokens);
        self.of_session = self.of_session.take().or(next.of_session);
        self.opens |= next.opens;
        self.opens_session |= next.opens_session;
        self.broken = self.broken.or(next.broken);
    }
}

// === impl Node ===

impl Node {
    /// Makes an engine that has just started. The first may have a session.
    pub fn new(index: u8, peer: &Peer, session: Session) -> Self {
        let id = EngineId::new(&format!("n{index}"), 0);
        let side = match (session, index) {
            (Session::None, _) => Side::default(),
            (_, 0) => Side::own(id.clone(), peer.timing, session == Session::Moved),
            (_, _) => Side::other(),
        };
        Self {
            side,
            keeper: Keeper::new(id.clone()),
            guards: Vec::new(),
            wants: peer.wants,
            sightings: VecDeque::new(),
            known: Seen::default(),
            stalled: false,
            paused: false,
            index,
            starts: 0,
            id,
            local: 0,
            nonces: 0,
            tickets: 0,
            wake: None,
            limit: None,
            looks_out: false,
            lost: Vec::new(),
            at_least: peer.at_least,
            kept_until: 0,
            closing: false,
        }
    }

    /// Says whether the record names this very engine.
    pub fn is(&self, id: &EngineId) -> bool {
        self.id == *id
    }

    /// Says whether an acquisition of this engine has the lock, by its own clock.
    pub fn holds(&self) -> bool {
        self.guards.iter().any(|guard| guard.phase == Phase::Held)
    }

    /// Says whether the keeper's timer is due.
    pub fn is_due(&self) -> bool {
        !self.paused && self.wake.is_some_and(|wake| wake <= self.now().local)
    }

    /// Says whether the call in flight has taken too long.
    pub fn is_out_of_time(&self) -> bool {
        !self.paused && self.limit.is_some_and(|limit| limit <= self.now().local)
    }

    /// Says whether the watch has something that must be seen before time passes.
    pub fn must_look(&self) -> bool {
        let silent = self.paused || self.stalled;
        !silent && (!self.sightings.is_empty() || !self.side.sightings.is_empty())
    }

    /// Says whether it does something before time passes.
    pub fn is_busy(&self) -> bool {
        let lock = self.is_due() || self.is_out_of_time();
        lock || self.is_session_due() || self.is_session_out_of_time() || self.must_look()
    }

    /// Says whether a user may begin an acquisition.
    pub fn may_want(&self, peer: &Peer) -> bool {
        self.wants > 0 && self.guards.len() < peer.at_once && !self.closing
    }

    /// Says whether it may be shut down with something to tell.
    pub fn may_close(&self) -> bool {
        !self.closing && !self.paused && !self.keeper.is_idle()
    }

    /// Says whether it is to keep the lock for `at_least` of one who had it.
    pub fn keeps(&self) -> bool {
        self.kept_until > self.local
    }

    /// Says whether it was shut down and nothing is left to do. Then what it hears starts no keeper, as in the engine: news that is
    /// older than a reservation would look like something to give back, and its writes test the term only, which stays.
    fn is_over(&self) -> bool {
        self.closing && self.keeper.is_idle()
    }

    /// The client shuts down in good order.
    pub fn close(&mut self) -> Step {
        self.closing = true;
        self.step(Event::ShutDown)
    }

    /// Lets time pass on the local clock.
    pub fn pass(&mut self, ticks: u16) -> Option<Promise> {
        self.local += ticks;
        self.judge()
    }

    /// A user begins an acquisition.
    pub fn want(&mut self, peer: &Peer) -> Step {
        self.wants -= 1;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.guards.push(Guard { ticket, phase: Phase::Waiting, polled: true });
        self.step(Event::Want(peer.want(ticket)))
    }

    /// A user drops its guard, or gives up waiting.
    pub fn end(&mut self, guard: Guard) -> Step {
        self.guards.retain(|other| other.ticket != guard.ticket);
        match guard.phase {
            Phase::Waiting | Phase::Offered(_) => self.step(Event::Cancel(guard.ticket)),
            Phase::Held | Phase::Lost => self.step(Event::Release(guard.ticket, None)),
        }
    }

    /// A user that waits stops to poll its future.
    pub fn neglect(&mut self, guard: Guard) {
        let same = self.guards.iter_mut().filter(|other| other.ticket == guard.ticket);
        same.for_each(|guard| guard.polled = false);
    }

    /// A user polls its future again: it takes the lock if it has it still.
    pub fn poll(&mut self, guard: Guard) -> Step {
        let same = self.guards.iter_mut().filter(|other| other.ticket == guard.ticket);
        same.for_each(|guard| guard.polled = true);
        let lost = self.keeper.standing().loss(guard.ticket, self.now().local).is_some();
        match guard.phase {
            Phase::Offered(_) if lost => self.end(guard),
            Phase::Offered(token) => self.collect(guard.ticket, token),
            Phase::Waiting | Phase::Held | Phase::Lost => Step::default(),
        }
    }

    fn collect(&mut self, ticket: Ticket, token: u64) -> Step {
        let told = self.guards.iter_mut().filter(|guard| guard.ticket == ticket);
        told.for_each(|guard| guard.phase = Phase::Held);
        self.kept_until = if self.at_least == 0 { 0 } else { self.local + self.at_least };
        let mut step = self.step(Event::Collected(ticket, self.now().local));
        step.tokens.insert(0, token);
        step
    }

    /// The keeper sees the next event of the watch.
    pub fn look(&mut self) -> Step {
        let Some((event, seen)) = self.sightings.pop_front() else { return Step::default() };
        self.known.learn(&seen);
        self.step(event)
    }

    /// Gives the keeper an event, as the driver does, and then what its users answer at once.
    pub fn step(&mut self, event: Event) -> Step {
        let (mut step, notices) = self.step_once(event);
        for notice in notices {
            match notice {
                Notice::Acquired(ticket, token) if self.is_polled(ticket) => {
                    step.follow(self.collect(ticket, token.get()));
                }
                Notice::Recall(ticket) => {
                    self.guards.retain(|guard| guard.ticket != ticket);
                    step.follow(self.step(Event::Cancel(ticket)));
                }
                _ => {}
            }
        }
        step
    }

    fn is_polled(&self, ticket: Ticket) -> bool {
        self.guards.iter().any(|guard| guard.ticket == ticket && guard.polled)
    }

    fn step_once(&mut self, event: Event) -> (Step, Vec<Notice>) {
        if matches!(event, Event::Reply(_)) {
            self.limit = None;
        }
        let (now, nonce) = (self.now(), self.next_nonce());
        if let Some(own) = self.side.shelters() {
            self.keeper.know_sessions(Some(own));
        }
        let action = self.keeper.step(event, now, &mut || nonce);
        let mut step = Step::default();
        self.note(&action, now, &mut step);
        step.broken = step.broken.or(self.judge());
        step.call = action.call;
        let nonce = self.next_nonce();
        let wake = self.side.follow(&self.keeper, action.ask, self.closing, now, nonce);
        step.follow(self.heed(wake));
        if self.keeper.is_idle() {
            self.retire();
        }
        (step, action.notices)
    }

    /// The process dies, and starts anew without a memory.
    pub fn crash(&mut self) {
        self.starts += 1;
        self.id = EngineId::new(&format!("n{}", self.index), self.starts.into());
        self.retire();
        self.sightings.clear();
        self.side = self.side.anew();
        self.guards.clear();
        self.lost.clear();
        self.known = Seen::default();
        (self.limit, self.stalled, self.paused) = (None, false, false);
        (self.kept_until, self.closing) = (0, false);
    }

    /// The server shows the watch of this engine a transition.
    pub fn witness(&mut self, before: Option<&Snapshot>, after: Option<&Snapshot>, version: u64, seen: &Seen) {
        if self.is_over() {
            return;
        }
        let mine = |snapshot: &&Snapshot| self.looks_out || snapshot.record.engine == self.id;
        let event = match (before.filter(mine), after.filter(mine)) {
            (_, Some(after)) => Event::Seen(after.clone()),
            (Some(_), None) if self.keeper.is_idle() => return,
            (Some(_), None) if self.looks_out => Event::Deleted(version),
            (Some(_), None) => Event::Disowned(version),
            (None, None) => return,
        };
        self.sightings.push_back((event, seen.clone()));
        if self.stalled && self.sightings.len() > KEPT_SIGHTINGS {
            self.sightings.pop_front();
        }
    }

    /// The watch starts over with a list: of the lock if that is watched, of what this engine holds otherwise.
    pub fn list(&mut self, stored: Option<&Snapshot>, seen: &Seen) {
        self.stalled = false;
        self.sightings.clear();
        if self.is_over() {
            return;
        }
        match stored.filter(|stored| self.looks_out || stored.record.engine == self.id) {
            Some(stored) => self.sightings.push_back((Event::Seen(stored.clone()), seen.clone())),
            None if !self.looks_out && !self.keeper.is_idle() => {
                self.sightings.push_back((Event::Unlisted, Seen::default()));
            }
            None => {}
        }
    }

    fn now(&self) -> Now {
        // An hour after the clock's start, so that no anchor saturates.
        let local = Moment::from_nanos(0) + Duration::from_secs(3600) + TICK * self.local.into();
        // Where no date counts there is none, or states would differ by it.
        let second = if self.at_least == 0 { 0 } else { i64::from(self.local) };
        Now { local, wall: Wall::from_millis(1000 * second) }
    }

    /// Returns the next nonce of this engine; it counts as used once a call carries it.
    fn next_nonce(&self) -> u64 {
        (u64::from(self.index + 1) * 1024 + u64::from(self.nonces)) * NONCE
    }

    fn note(&mut self, action: &Action, now: Now, step: &mut Step) {
        self.wake = action.wake;
        if let Some(call) = &action.call {
            self.limit = Some(now.local + action.timeout);
            self.nonces += u16::from(carries_nonce(call));
            step.broken = self.reproach(call);
        }
        for notice in &action.notices {
            self.tell(notice);
        }
        let waits = self.keeper.waiting() > 0 && self.keeper.hold().is_none();
        step.opens = waits && action.watch && !self.looks_out;
        self.looks_out = waits && (action.watch || self.looks_out);
    }

    fn tell(&mut self, notice: &Notice) {
        match notice {
            Notice::Acquired(ticket, token) => {
                let told = self.guards.iter_mut().filter(|guard| guard.ticket == *ticket);
                told.for_each(|guard| guard.phase = Phase::Offered(token.get()));
            }
            Notice::Busy(ticket) | Notice::Failed(ticket) | Notice::ShutDown(ticket) => {
                self.guards.retain(|guard| guard.ticket != *ticket);
            }
            Notice::Released(_) | Notice::HandedOver(_) | Notice::Abandoned(_) | Notice::Recall(_) => {}
        }
    }

    /// Asks every guard whether it is lost, as a poll of its body would.
    fn judge(&mut self) -> Option<Promise> {
        let (standing, now) = (self.keeper.standing(), self.now().local);
        let term = self.keeper.hold().map(|hold| hold.term);
        let mut broken = None;
        for guard in &mut self.guards {
            let held = standing.loss(guard.ticket, now).is_none();
            match (guard.phase, held) {
                // Its body ends; until then it is renewed, and `at_least` outlives it.
                (Phase::Held, false) if standing.ended == Some(LossReason::ShutDown) => {}
                (Phase::Held, false) => {
                    (guard.phase, self.kept_until) = (Phase::Lost, 0);
                    self.lost.extend(term.filter(|_| standing.ticket == Some(guard.ticket)));
                }
                (Phase::Lost, true) => broken = Some(Promise::LostIsFinal),
                (Phase::Held, true) | (Phase::Lost, false) | (Phase::Waiting | Phase::Offered(_), _) => {}
            }
        }
        broken
    }

    /// Says what is wrong with sending a call.
    fn reproach(&self, call: &Call) -> Option<Promise> {
        if matches!(call, Call::Apply(Change::Reserve { .. })) && !self.keeps() {
            return Some(Promise::OnlyWantedIsRenewed);
        }
        let Call::Apply(Change::Renew { term, under, .. }) = call else { return None };
        let untaken = |guard: &Guard| matches!(guard.phase, Phase::Offered(_));
        let wanted = match self.keeper.standing().ticket {
            Some(ticket) => !self.guards.iter().any(|guard| guard.ticket == ticket && untaken(guard)),
            None => self.keeper.waiting() > 0 || self.keeps(),
        };
        // Its session would keep it alive for nobody: it is led out, and no more.
        let leads_out = self.keeper.hold().is_some_and(|hold| !hold.under.is_none()) && under.is_none();
        match (self.lost.contains(term) && !leads_out, wanted) {
            (true, _) => Some(Promise::LostIsFinal),
            (false, false) => Some(Promise::OnlyWantedIsRenewed),
            (false, true) => None,
        }
    }

    /// Forgets the keeper, as the engine does with one that has nothing more to do. What the inbox sees of a lock that
    /// nobody here knows makes a new one only if the lock is ours.
    fn retire(&mut self) {
        self.keeper = Keeper::new(self.id.clone());
        self.sightings.retain(|(event, _)| matches!(event, Event::Seen(seen) if seen.record.engine == self.id));
        (self.wake, self.looks_out) = (None, false);
        if self.closing {
            self.sightings.clear();
        }
    }
}

/// The nonce of a step is used up when it leaves the process: in every call but these.
fn carries_nonce(call: &Call) -> bool {
    match call {
        Call::Read | Call::Delete(_) => false,
        Call::Apply(change) => !matches!(change, Change::Leave { .. } | Change::Free { .. }),
    }
}
