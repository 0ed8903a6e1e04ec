//! The rules of the protocol, one test each, and the bench they run on: one keeper, one object, one hand-moved clock.

mod acquiring;
mod adopting;
mod belief;
mod bugs;
mod denials;
mod ending;
mod foreign;
mod giving_up;
mod pauses;
mod pausing;
mod queueing;
mod releasing;
mod reserving;
mod sessions;
mod shown;
mod slow;
mod story;
mod time;
mod trouble;
mod uncollected;
mod viewing;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Action, Again, Call, Event, Keeper, Notice, Outcome, Patience, Ticket, Want};
use crate::{
    LossReason, Timing,
    clock::{Moment, Now, Wall},
    record::{Beat, Change, Claim, EngineId, Entry, Pair, Record, Refused, Term},
    store::{Snapshot, Version},
};

/// 10 s ttl, 1 s margin, renewed every 3.333 s, 1.666 s for a call.
const TTL: u64 = 10_000;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn timing(ttl: u64) -> Timing {
    Timing::with_ttl(ms(ttl)).unwrap()
}

/// One keeper and the object that it is about.
struct Bench {
    keeper: Keeper,
    /// Local time in milliseconds.
    now: u64,
    wall: i64,
    bits: u64,
    stored: Option<Snapshot>,
    version: u64,
    /// The call in flight.
    call: Option<Call>,
    /// The last action.
    last: Action,
    notices: Vec<Notice>,
    /// Every call sent, oldest first.
    sent: VecDeque<Call>,
    /// Users take what they have acquired, at once.
    collects: bool,
}

impl Bench {
    fn new() -> Self {
        Self {
            keeper: Keeper::new(me()),
            now: 100_000,
            wall: 1_000_000,
            bits: 0,
            stored: None,
            version: 100,
            call: None,
            last: Action::default(),
            notices: Vec::new(),
            sent: VecDeque::new(),
            collects: true,
        }
    }

    /// A bench whose lock is held by another engine, with a beat of its own.
    fn held(ttl: u64) -> Self {
        let mut bench = Self::new();
        bench.other(&Change::Create { claim: rival(1, ttl), beat: Beat(1), under: Term::NONE, wall: bench.wall() });
        bench
    }

    /// A bench whose keeper has the lock for ticket 1.
    fn holding() -> Self {
        let mut bench = Self::new();
        bench.want(want(1));
        bench.settle();
        assert!(bench.has(1), "{:?}", bench.notices);
        bench
    }

    /// A bench whose keeper waits in the queue of another holder, for ticket 1, since 100,000.
    fn waiting(ask: Want) -> Self {
        let mut bench = Self::held(TTL);
        bench.want(ask);
        bench.settle();
        assert_eq!(bench.record().waiters.len(), 1);
        bench
    }

    fn wall(&self) -> Wall {
        Wall::from_millis(self.wall)
    }

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    /// Steps, and lets users answer as their futures and the driver do.
    fn step(&mut self, event: Event) -> &Action {
        let notices = self.step_once(event);
        let report = self.last.report;
        for notice in notices {
            match notice {
                Notice::Acquired(ticket, _) if self.collects => {
                    self.step(Event::Collected(ticket, Self::at(self.now)));
                }
                Notice::Recall(ticket) => {
                    self.step(Event::Cancel(ticket));
                }
                _ => {}
            }
        }
        self.last.report = self.last.report.or(report);
        &self.last
    }

    fn step_once(&mut self, event: Event) -> Vec<Notice> {
        let now = Now { local: Self::at(self.now), wall: self.wall() };
        let bits = &mut self.bits;
        let action = self.keeper.step(event, now, &mut || {
            *bits += 1;
            0x1000 + *bits
        });
        if let Some(call) = &action.call {
            assert!(self.call.is_none(), "one call at a time");
            self.call = Some(call.clone());
            self.sent.push_back(call.clone());
        }
        self.notices.extend(action.notices.iter().cloned());
        self.last = action;
        self.last.notices.clone()
    }

    fn collect(&mut self, ticket: u64) {
        self.step(Event::Collected(Ticket(ticket), Self::at(self.now)));
    }

    fn renewals(&self) -> usize {
        self.sent.iter().filter(|call| matches!(call, Call::Apply(Change::Renew { .. }))).count()
    }

    fn want(&mut self, want: Want) {
        self.step(Event::Want(want));
    }

    /// Time passes, with wake-ups where the keeper asked for them; nothing else happens.
    fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        let mut wakes = 0;
        while let Some(wake) = self.last.wake.filter(|wake| *wake <= Self::at(end)) {
            wakes += 1;
            assert!(wakes < 10_000, "woken again and again: {:?}", self.last);
            self.now = wake.as_nanos().div_ceil(1_000_000).max(self.now);
            self.step(Event::Tick);
            self.settle();
        }
        self.now = end;
        self.step(Event::Tick);
        self.settle();
    }

    /// Wakes the keeper when it asked for it, and says how long that took.
    fn wake(&mut self) -> u64 {
        let wake = self.last.wake.expect("it is to be woken").as_nanos().div_ceil(1_000_000);
        let pause = wake - self.now;
        self.now = wake;
        self.step(Event::Tick);
        pause
    }

    /// Time passes and the process sleeps through it.
    fn sleep(&mut self, millis: u64) {
        self.now += millis;
    }

    /// The call in flight reaches the server; its outcome is not delivered yet.
    fn land(&mut self) -> Outcome {
        let call = self.call.clone().expect("a call is in flight");
        self.deliver(&call)
    }

    /// A call reaches the server, however late.
    fn deliver(&mut self, call: &Call) -> Outcome {
        let outcome = call.serve(&mut self.stored, self.version + 1);
        self.version += u64::from(matches!(outcome, Outcome::Applied(_) | Outcome::Deleted));
        outcome
    }

    fn store(&mut self, record: Record) -> Snapshot {
        self.version += 1;
        let uid = self.stored.as_ref().map_or_else(|| Arc::from("uid"), |stored| Arc::clone(&stored.version.uid));
        let snapshot = Snapshot { version: Version { uid, number: self.version }, record };
        self.stored = Some(snapshot.clone());
        snapshot
    }

    fn reply(&mut self, outcome: Outcome) {
        self.call = None;
        self.step(Event::Reply(outcome));
    }

    /// Serves the call in flight.
    fn serve(&mut self) {
        let outcome = self.land();
        self.reply(outcome);
    }

    /// Serves call after call until none is in flight.
    fn settle(&mut self) {
        for _ in 0..20 {
            if self.call.is_none() {
                return;
            }
            self.serve();
        }
        panic!("call after call without rest: {:?}", self.sent);
    }

    /// The call in flight gets no answer; the pause after it passes.
    fn lose(&mut self) {
        self.reply(Outcome::Unknown);
    }

    /// Another engine changes the object; nobody is told.
    fn other(&mut self, change: &Change) -> Snapshot {
        let record = change.apply(self.stored.as_ref().map(|stored| &stored.record)).expect("the change applies");
        self.store(record)
    }

    /// The holder, another engine, renews; nobody is told.
    fn holder_renews(&mut self) {
        let (record, wall) = (self.record().clone(), self.wall());
        let (term, previous, renewals) = (record.term, record.beat, record.renewals + 1);
        let beat = Beat(previous.0 + 1);
        self.other(&Change::Renew {
            term,
            previous,
            beat,
            renewals,
            ttl: record.ttl,
            next_owner: None,
            under: Term::NONE,
            wall,
        });
    }

    /// Another engine claims what it has seen as that pair; nobody is told.
    fn rival_claims(&mut self, number: u64, seen: Pair) {
        let (claim, wall) = (rival(number, TTL), self.wall());
        self.other(&Change::Claim { claim, beat: Beat(number), seen, removes: Vec::new(), under: Term::NONE, wall });
    }

    /// The holder, another engine, grants to the head of the queue; nobody is told.
    fn grant(&mut self, beat: u64) -> Snapshot {
        let (term, entry) = (self.record().term, self.record().waiters[0].clone());
        let wall = self.wall();
        self.other(&Change::Grant {
            term,
            beat: Beat(beat),
            index: 0,
            entry,
            duplicates: Vec::new(),
            next: EngineId::default(),
            wall,
        })
    }

    /// Another engine joins the queue; this one is told, as the holder's inbox is.
    fn rival_joins(&mut self, number: u64) {
        let seen = self.other(&Change::Enqueue { claim: rival(number, TTL), wall: Wall::default() });
        self.step(Event::Seen(seen));
    }

    fn seen(&mut self) {
        let snapshot = self.stored.clone().expect("there is an object");
        self.step(Event::Seen(snapshot));
    }

    fn record(&self) -> &Record {
        &self.stored.as_ref().expect("there is an object").record
    }

    fn has(&self, ticket: u64) -> bool {
        let acquired = |notice: &Notice| matches!(notice, Notice::Acquired(t, _) if *t == Ticket(ticket));
        self.notices.iter().any(acquired) && self.loss(ticket).is_none()
    }

    fn loss(&self, ticket: u64) -> Option<LossReason> {
        self.keeper.standing().loss(Ticket(ticket), Self::at(self.now))
    }

    fn until(&self) -> u64 {
        self.keeper.standing().until.as_nanos() / 1_000_000
    }

    fn release(&mut self, ticket: u64) {
        self.step(Event::Release(Ticket(ticket), None));
    }

    fn told(&self, notice: &Notice) -> bool {
        self.notices.contains(notice)
    }

    /// What is in flight, as a change.
    fn change(&self) -> &Change {
        match &self.call {
            Some(Call::Apply(change)) => change,
            other => panic!("no change in flight but {other:?}"),
        }
    }
}

fn me() -> EngineId {
    EngineId::new("me", 7)
}

fn rival(number: u64, ttl: u64) -> Claim {
    Claim { engine: EngineId::new("rival", number), term: Term(number), ttl: ms(ttl), instant: true }
}

fn want(ticket: u64) -> Want {
    Want::new(Ticket(ticket), timing(TTL))
}

fn attempt(ticket: u64) -> Want {
    Want { patience: Patience::Try, ..want(ticket) }
}

fn campaign(ticket: u64) -> Want {
    Want { instant: false, retained: true, ..want(ticket) }
}
