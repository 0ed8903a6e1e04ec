//! Calls: what is sent, what reaches the server, and what is heard of it.

use std::time::Duration;

use msync::unstable::{
    protocol::{Call, Event, Glance, Outcome},
    record::EngineId,
};

use super::{Happening, World};
use crate::{network::Fate, plan::MILLI, server::Commit};

/// Who in a process sends, and hears the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Desk {
    /// The keeper of an object.
    Keeper(usize),
    /// Whoever looks at a session of another.
    Witness(usize),
}

// === impl Desk ===

impl Desk {
    /// Returns what it is about.
    pub(super) fn object(self) -> usize {
        match self {
            Self::Keeper(what) | Self::Witness(what) => what,
        }
    }
}

// === impl World: calls ===

impl World {
    pub(super) fn send(&mut self, who: usize, desk: Desk, call: &Call, timeout: Duration) {
        self.check_burst(who);
        let process = &mut self.processes[who];
        let (life, engine) = (process.incarnation, process.engine.clone());
        let limit = process.clock.true_span(timeout);
        let cut = process.cut_until > self.at;
        let forbidden = self.is_forbidden(who, desk, call);
        let fate = if (self.denial.is_on(self.at) || forbidden) && !cut {
            Fate::denied(&mut self.rng)
        } else if self.calm {
            Fate::fair(&mut self.rng)
        } else {
            Fate::draw(&self.plan, cut, limit, &mut self.rng)
        };
        self.serial += 1;
        let id = self.serial;
        self.flight(who, desk).expect("it minds, for it calls").replace(id);
        if fate.busy {
            let after = self.rng.chance(300).then(|| Duration::from_millis(self.rng.below(3000)));
            let delay = fate.reply.unwrap_or(0);
            let outcome = if self.rng.chance(300) { Outcome::Unsent } else { Outcome::Busy(after) };
            self.later(delay, Happening::Replied { to: who, life, desk, id, outcome });
        }
        if fate.denied {
            let outcome = Outcome::Denied;
            self.later(fate.reply.unwrap_or(0), Happening::Replied { to: who, life, desk, id, outcome });
        }
        for (delay, reply) in [(fate.first, fate.reply.filter(|_| fate.second.is_none())), (fate.second, fate.reply)] {
            let Some(delay) = delay else { continue };
            self.last_zombie = self.last_zombie.max(self.at + delay);
            let (engine, call) = (engine.clone(), call.clone());
            self.later(delay, Happening::Arrives { from: who, life, desk, engine, id, call, reply });
        }
        self.later(limit, Happening::Replied { to: who, life, desk, id, outcome: Outcome::Unknown });
    }

    pub(super) fn arrives(
        &mut self,
        from: (usize, u64),
        desk: Desk,
        engine: &EngineId,
        id: u64,
        call: &Call,
        reply: Option<u64>,
    ) {
        let what = desk.object();
        let server = self.objects[what].server.at(self.version);
        let (outcome, commit) = server.serve(call, &mut self.rng);
        self.version = server.version();
        self.say(|_| format!("server: {engine} {what} {call:?} -> {outcome:?}"));
        if let Some(Commit { before: Some(before), .. }) = commit.as_ref().filter(|_| self.is_lock(what)) {
            let sender = self.processes.iter().find(|process| process.up && process.engine == *engine);
            self.oracle.served(self.at, what, engine, call, before, sender.map(|process| process.seat(what)));
        }
        if let Some(delay) = reply {
            self.later(delay, Happening::Replied { to: from.0, life: from.1, desk, id, outcome });
        }
        if let Some(commit) = commit {
            if self.is_lock(what) {
                self.oracle.committed(what, commit.after.as_ref());
            } else {
                self.remember(what, engine, &commit);
            }
            self.publish(what, &commit);
        }
    }

    /// Remembers how a session looks from now on, and counts those that are removed.
    fn remember(&mut self, what: usize, sender: &EngineId, commit: &Commit) {
        self.objects[what].past.push((self.at, commit.after.clone()));
        if let (Some(before), None) = (&commit.before, &commit.after) {
            self.oracle.tally.removed += 1;
            self.oracle.tally.killed += u64::from(before.engine != *sender);
        }
    }

    /// An answer, or the time-out instead of it; nobody waits for a second one.
    pub(super) fn replied(&mut self, who: usize, desk: Desk, id: u64, outcome: Outcome) {
        if self.flight(who, desk).and_then(|flight| flight.take_if(|call| *call == id)).is_none() {
            return;
        }
        match desk {
            Desk::Keeper(what) => self.step((who, what), Event::Reply(outcome)),
            Desk::Witness(what) => self.judge((who, what), Glance::Reply(outcome)),
        }
    }

    /// No process may send call after call without rest.
    fn check_burst(&mut self, who: usize) {
        let process = &mut self.processes[who];
        let window = self.at / (1000 * MILLI);
        if process.burst.0 != window {
            process.burst = (window, 0);
        }
        process.burst.1 += 1;
        if process.burst.1 > 300 {
            self.oracle.broken(self.at, format!("hot loop: p{who} sent 300 calls within a second"));
        }
    }
}
