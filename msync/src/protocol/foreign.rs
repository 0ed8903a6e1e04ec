//! The judgement of a session of another engine: alive, due, or dead.
//!
//! Dead it is by what cannot be undone: a read that was sent after it was first named in a record and does not find it, its
//! deletion, or our own. That its beat has not moved is no proof by itself, for what a watch shows may be old, and the claim
//! of a lock does not test the session's beat: so it is killed first.

use std::time::Duration;

use super::{Verdict, session::NEVER};
use crate::{
    clock::{Moment, Now},
    protocol::{Call, Outcome, State, View, trouble::LONGEST_RETRY},
    record::{Record, Term},
    store::Snapshot,
};

/// The smallest random part of what is waited for beyond the ttl, so that not all kill at once.
const SMALLEST_SPREAD: Duration = Duration::from_millis(250);
/// Half of the longest pause after a call that failed; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is known of a foreign session.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own; no two exclude each other")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Foreign {
    session: Term,
    view: View,
    /// Somebody asks; otherwise no call is made.
    wanted: bool,
    /// It is watched: what is known of it is as new as a watch makes it.
    watched: bool,
    /// A part of a thousand: how much later than at its ttl it is killed here.
    part: u32,
    flight: Option<Flight>,
    /// No call before this.
    pause: Moment,
    failures: u32,
    /// It may not be removed by us.
    forbidden: bool,
    /// It was seen to change, or its date promised that it would.
    alive: bool,
    dead: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Flight {
    call: Call,
    sent: Moment,
    /// Something was seen since.
    overtaken: bool,
}

/// What is seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Glance {
    /// A watch shows it.
    Seen(Snapshot),
    /// A watch shows that it was deleted, at a version.
    Deleted(u64),
    /// A watch has started over without it. What lists is no proof: it may be old.
    Missing,
    /// The call has ended.
    Reply(Outcome),
    /// Time has passed.
    Tick,
}

/// What is done next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// A call, which is answered by a [`Glance::Reply`].
    pub call: Option<Call>,
    /// When to look again, if nothing happens before.
    pub wake: Option<Moment>,
    /// What is known now.
    pub verdict: Verdict,
}

// === impl Foreign ===

impl Foreign {
    /// Begins to judge a session, which a record has just named. `random` is what the time of its end is spread by.
    pub fn new(session: Term, random: u64) -> Self {
        let part = u32::try_from(random % 1000).unwrap_or(0);
        Self {
            session,
            view: View::default(),
            wanted: true,
            watched: false,
            part,
            flight: None,
            pause: Moment::default(),
            failures: 0,
            forbidden: false,
            alive: false,
            dead: false,
        }
    }

    /// Returns its term.
    pub fn session(&self) -> Term {
        self.session
    }

    /// Takes whether anybody asks, and whether it is watched for that.
    pub fn serve(&mut self, wanted: bool, watched: bool) {
        (self.wanted, self.watched) = (wanted, watched);
    }

    /// Takes what is seen, and says what to do.
    pub fn step(&mut self, glance: Glance, now: Now) -> Step {
        self.take(glance, now);
        self.alive |= self.view.record().is_some_and(|record| promises_life(record, now));
        let call = if self.flight.is_none() && now.local >= self.pause { self.decide(now) } else { None };
        if let Some(call) = call.clone() {
            self.flight = Some(Flight { call, sent: now.local, overtaken: false });
        }
        let wake =
            if self.dead || !self.wanted || self.flight.is_some() { None } else { Some(self.pause.max(self.due())) };
        Step { call, wake: wake.filter(|at| *at > now.local && *at < NEVER), verdict: self.verdict(now.local) }
    }

    fn verdict(&self, now: Moment) -> Verdict {
        match self.view.state() {
            _ if self.dead => Verdict::Dead,
            State::Present(_) if now >= self.due() => Verdict::Due,
            State::Present(_) if self.alive => Verdict::Alive,
            _ => Verdict::Unknown,
        }
    }

    fn take(&mut self, glance: Glance, now: Now) {
        let pair = self.view.last_pair();
        let believed = match glance {
            Glance::Seen(snapshot) => self.view.believe(&snapshot, now.local),
            Glance::Deleted(version) => {
                self.dead = true;
                self.view.believe_gone(version, now.local)
            }
            Glance::Missing => {
                self.view.doubt(State::Unknown);
                false
            }
            Glance::Reply(outcome) => {
                self.reply(outcome, now);
                false
            }
            Glance::Tick => false,
        };
        if let Some(flight) = &mut self.flight {
            flight.overtaken |= believed;
        }
        let moved = pair.zip(self.view.last_pair()).is_some_and(|(before, after)| before != after);
        self.alive |= moved;
    }

    fn reply(&mut self, outcome: Outcome, now: Now) {
        let Some(flight) = self.flight.take() else { return };
        match outcome {
            Outcome::Read(found) => {
                (self.failures, self.pause) = (0, Moment::default());
                self.judge(&flight, found.as_ref());
                self.view.believe_read(found.as_ref(), flight.overtaken, now.local);
            }
            Outcome::Deleted => self.dead = true,
            Outcome::Refused(_) => self.view.doubt(State::Exists),
            Outcome::Denied | Outcome::Fatal if flight.call != Call::Read => self.forbidden = true,
            Outcome::Unknown
            | Outcome::Busy(_)
            | Outcome::Unsent
            | Outcome::Denied
            | Outcome::Fatal
            | Outcome::Applied(_) => {
                if flight.call != Call::Read {
                    self.view.doubt(State::Exists);
                }
                self.failures = self.failures.saturating_add(1);
                let asked = if let Outcome::Busy(asked) = outcome { asked } else { None };
                self.pause = now.local + self.pause().max(asked.unwrap_or_default().min(LONGEST_RETRY));
            }
        }
    }

    /// Returns how long to wait after a call that failed: twice as long each time, and a part of that which not all have.
    fn pause(&self) -> Duration {
        let most = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(self.failures.min(8)));
        most / 2 + most / 2 * self.part / 1000
    }

    /// Takes what a read says of its death: that it is not there, or not its engine's. Where it may not be killed, that it is
    /// there as it was, by a read that was sent after its time was over.
    fn judge(&mut self, flight: &Flight, found: Option<&Snapshot>) {
        match found {
            None => self.dead = true,
            Some(snapshot) if snapshot.record.term != self.session => self.dead = true,
            Some(snapshot) => {
                let pair = snapshot.record.pair();
                let same = self.view.last_pair() == Some(pair);
                self.dead |= self.forbidden && same && flight.sent >= self.due_of(&snapshot.record);
            }
        }
    }

    fn decide(&self, now: Now) -> Option<Call> {
        if self.dead || !self.wanted {
            return None;
        }
        let State::Present(snapshot) = self.view.state() else { return Some(Call::Read) };
        if snapshot.record.term != self.session {
            return Some(Call::Read);
        }
        if now.local < self.due() {
            return None;
        }
        // Who does not watch looks before.
        let informed = self.watched || self.view.arrived() >= self.due();
        let kills = informed && !self.forbidden;
        Some(if kills { Call::Delete(snapshot.version.clone()) } else { Call::Read })
    }

    /// Returns when it may be killed: when it has shown no sign of life for its own ttl, and a random part of 3 %.
    fn due(&self) -> Moment {
        self.view.record().map_or(Moment::default(), |record| self.due_of(record))
    }

    fn due_of(&self, record: &Record) -> Moment {
        let spread = SMALLEST_SPREAD.max(record.patience() * 3 / 100);
        self.view.unchanged_since().map_or(NEVER, |since| since + record.patience() + spread * self.part / 1000)
    }
}

/// Says whether its date, by the clock of who wrote it, is not over. A hint, for who does not want to wait.
fn promises_life(record: &Record, now: Now) -> bool {
    record.expiry.is_some_and(|expiry| expiry > now.wall)
}
