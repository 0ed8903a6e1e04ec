//! The world of one episode: true time, and everything that happens in its order.

mod agenda;
mod faults;
mod tasks;
mod watches;

use agenda::Agenda;
use msync::unstable::{
    protocol::{Action, Call, Event, Keeper, Outcome, Ticket},
    record::EngineId,
};

use crate::{
    network::{Denial, Fate},
    oracle::Oracle,
    plan::{MILLI, Plan, Vocabulary},
    process::Process,
    rng::Rng,
    server::{Commit, Server},
};

/// Something that happens at a true time.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A watch tells a process something.
    Told { to: usize, life: u64, watch: Option<u64>, event: Event },
    /// A request reaches the server.
    Arrives { from: usize, life: u64, engine: EngineId, id: u64, call: Call, reply: Option<u64> },
    /// A reply, or the time-out instead of it, reaches its sender.
    Replied { to: usize, life: u64, id: u64, outcome: Outcome },
    /// A keeper wanted to be woken.
    Wakes { who: usize, life: u64, wake: u64 },
    /// The timer of a guard.
    Looks { who: usize, life: u64 },
    /// A process begins another acquisition.
    Begins { who: usize, life: u64 },
    /// A task ends.
    Ends { who: usize, life: u64, ticket: Ticket },
    /// The future of an acquisition is polled again.
    Polls { who: usize, life: u64, ticket: Ticket },
    /// An acquisition is given up.
    GivesUp { who: usize, life: u64, ticket: Ticket },
    /// The watches of a process start over.
    Relists { who: usize, life: u64 },
    /// A dead process is started again.
    Restarts { who: usize },
    /// A process that was told to shut down is killed at last.
    Killed { who: usize, life: u64 },
    /// Somebody edits the queue.
    Scribbles,
    /// The faults end: each process takes the lock once more.
    Calms,
}

impl Happening {
    /// Returns in which process it happens, and in which life of it; `None` for the server and the world.
    fn place(&self) -> Option<(usize, u64)> {
        match self {
            Self::Told { to, life, .. } | Self::Replied { to, life, .. } => Some((*to, *life)),
            Self::Wakes { who, life, .. }
            | Self::Looks { who, life }
            | Self::Begins { who, life }
            | Self::Ends { who, life, .. }
            | Self::Polls { who, life, .. }
            | Self::GivesUp { who, life, .. }
            | Self::Relists { who, life }
            | Self::Killed { who, life } => Some((*who, *life)),
            Self::Arrives { .. } | Self::Restarts { .. } | Self::Scribbles | Self::Calms => None,
        }
    }
}

/// The world of one episode.
pub(crate) struct World {
    pub(crate) oracle: Oracle,
    plan: Plan,
    rng: Rng,
    trace: bool,
    /// True time in nanoseconds.
    at: u64,
    agenda: Agenda<Happening>,
    serial: u64,
    server: Server,
    processes: Vec<Process>,
    tickets: u64,
    /// The faults have ended.
    calm: bool,
    /// The latest arrival of a late request.
    last_zombie: u64,
    denial: Denial,
    /// How much has been achieved, and when the last of it.
    progress: (u64, u64),
}

impl World {
    pub(crate) fn new(mut rng: Rng, trace: bool) -> Self {
        let plan = Plan::draw(&mut rng, Vocabulary::Whole);
        let processes = (0..plan.processes).map(|index| Process::start(index, 0, plan.home, &mut rng)).collect();
        let mut world = Self {
            oracle: Oracle::default(),
            plan,
            rng,
            trace,
            at: 0,
            agenda: Agenda::default(),
            serial: 0,
            server: Server::default(),
            processes,
            tickets: 0,
            calm: false,
            last_zombie: 0,
            denial: Denial::default(),
            progress: (0, 0),
        };
        world.say(|world| format!("{:?}", world.plan));
        for who in 0..world.plan.processes {
            world.begin_later(who);
        }
        world
    }

    /// Lets everything happen, until nothing is left to happen or a promise is broken.
    pub(crate) fn run(&mut self) {
        let mut end = u64::MAX;
        while let Some((at, happening)) = self.agenda.pop() {
            if self.oracle.verdict.is_some() || at > end {
                break;
            }
            self.at = at;
            self.happen(happening);
            self.check_progress();
            if self.calm && self.plan.junk == 0 && !self.denial.is_on(self.at) {
                // With dead entries in the queue it is longer by design: each place is a step of the stagger.
                self.oracle.watch_gap(self.at, &self.processes, self.plan.ttl);
            }
            if self.calm {
                end = end.min(self.at + 60 * self.plan.ttl + 60_000 * MILLI);
            }
        }
        let record = self.server.stored().map(|snapshot| snapshot.record.clone());
        self.oracle.ended(self.at, record.as_ref(), &self.processes);
    }

    pub(crate) fn later(&mut self, delay: u64, happening: Happening) {
        self.agenda.push(self.at.saturating_add(delay), happening);
    }

    pub(crate) fn say(&self, what: impl FnOnce(&Self) -> String) {
        if self.trace {
            println!("{:>9} us  {}", self.at / 1000, what(self));
        }
    }

    fn happen(&mut self, happening: Happening) {
        if let Some((who, life)) = happening.place() {
            let process = &self.processes[who];
            if !process.up || process.incarnation != life {
                return;
            }
            if process.paused_until > self.at {
                let rest = process.paused_until - self.at + self.rng.below(1000);
                return self.later(rest, happening);
            }
        }
        match happening {
            Happening::Told { to, watch, event, .. } => self.told(to, watch, event),
            Happening::Arrives { from, life, engine, id, call, reply } => {
                self.arrives((from, life), &engine, id, &call, reply);
            }
            Happening::Replied { to, id, outcome, .. } => {
                if self.processes[to].call.take_if(|call| *call == id).is_some() {
                    self.step(to, Event::Reply(outcome));
                }
            }
            Happening::Wakes { who, wake, .. } if self.processes[who].wake == wake => self.step(who, Event::Tick),
            Happening::Wakes { .. } => {}
            Happening::Looks { who, .. } => self.look(who),
            Happening::Begins { who, .. } => self.begin(who),
            Happening::Ends { who, ticket, .. } => self.end(who, ticket),
            Happening::Polls { who, ticket, .. } => self.poll(who, ticket),
            Happening::GivesUp { who, ticket, .. } => self.give_up(who, ticket),
            Happening::Relists { who, .. } => self.relist(who),
            Happening::Restarts { who } => self.restart(who),
            Happening::Killed { who, .. } => self.crash(who),
            Happening::Scribbles => {
                if let Some(commit) = self.server.scribble(&mut self.rng) {
                    self.publish(&commit);
                }
            }
            Happening::Calms => self.sweep(),
        }
    }

    /// Steps the keeper of a process, as its driver does, which looks first whether the lock was collected.
    pub(crate) fn step(&mut self, who: usize, event: Event) {
        if let Some((ticket, since)) = self.processes[who].collected.take() {
            self.step_once(who, Event::Collected(ticket, since));
        }
        self.step_once(who, event);
    }

    /// Steps the keeper of a process, as the engine will: one is made when it is needed, and dropped when it is idle.
    fn step_once(&mut self, who: usize, event: Event) {
        let process = &mut self.processes[who];
        let mine = matches!(&event, Event::Seen(snapshot) if snapshot.record.engine == process.engine);
        let makes = matches!(event, Event::Want(_)) || mine;
        if process.keeper.is_none() && (!makes || (mine && process.closing)) {
            return;
        }
        let now = process.clock.read(self.at);
        let lost = process.holder().map(|task| task.want.ticket);
        let lost = lost.filter(|ticket| process.standing.loss(*ticket, now.local).is_some());
        let mut keeper = process.keeper.take().unwrap_or_else(|| Keeper::new(process.engine.clone()));
        let told = self.trace.then(|| format!("{event:?}"));
        let action = keeper.step(event, now, &mut || self.rng.bits());
        process.standing = keeper.standing();
        self.oracle.tally.steps += 1;
        self.oracle.lost_is_final(self.at, process, lost);
        if let Some(call) = &action.call {
            self.oracle.sent(self.at, process, call, &keeper);
        }
        if let Some(told) = told {
            println!("{:>9} us  p{who} {told}\n{:>14}-> {action:?}", self.at / 1000, "");
        }
        if !keeper.is_idle() {
            process.keeper = Some(keeper);
        } else if action.call.is_some() {
            self.oracle.broken(self.at, format!("p{who}: idle with a call in flight"));
        }
        self.act(who, action);
    }

    fn act(&mut self, who: usize, action: Action) {
        self.processes[who].tell = action.tell;
        let recalled = self.notify(who, &action.notices);
        if let Some(call) = action.call {
            self.send(who, &call, action.timeout);
        }
        self.set_watch(who, action.watch);
        let process = &mut self.processes[who];
        process.wake += 1;
        if let Some(wake) = action.wake {
            let (wake, life, due) = (process.wake, process.incarnation, process.clock.true_time(wake));
            let late = if self.rng.chance(200) { self.rng.below(MILLI) } else { 0 };
            self.later(due.saturating_sub(self.at) + late, Happening::Wakes { who, life, wake });
        }
        self.look(who);
        for ticket in recalled {
            self.withdraw(who, ticket);
        }
        if self.processes[who].up && self.processes[who].closing && self.processes[who].keeper.is_none() {
            self.crash(who);
        }
    }

    fn send(&mut self, who: usize, call: &Call, timeout: std::time::Duration) {
        self.check_burst(who);
        let process = &mut self.processes[who];
        let (life, engine) = (process.incarnation, process.engine.clone());
        let limit = process.clock.true_span(timeout);
        let cut = process.cut_until > self.at;
        let fate = if self.denial.is_on(self.at) && !cut {
            Fate::denied(&mut self.rng)
        } else if self.calm {
            Fate::fair(&mut self.rng)
        } else {
            Fate::draw(&self.plan, cut, limit, &mut self.rng)
        };
        self.serial += 1;
        let id = self.serial;
        self.processes[who].call = Some(id);
        if fate.busy {
            let after = self.rng.chance(300).then(|| std::time::Duration::from_millis(self.rng.below(3000)));
            let delay = fate.reply.unwrap_or(0);
            let outcome = if self.rng.chance(300) { Outcome::Unsent } else { Outcome::Busy(after) };
            self.later(delay, Happening::Replied { to: who, life, id, outcome });
        }
        if fate.denied {
            let outcome = Outcome::Denied;
            self.later(fate.reply.unwrap_or(0), Happening::Replied { to: who, life, id, outcome });
        }
        for (delay, reply) in [(fate.first, fate.reply.filter(|_| fate.second.is_none())), (fate.second, fate.reply)] {
            let Some(delay) = delay else { continue };
            self.last_zombie = self.last_zombie.max(self.at + delay);
            let (engine, call) = (engine.clone(), call.clone());
            self.later(delay, Happening::Arrives { from: who, life, engine, id, call, reply });
        }
        self.later(limit, Happening::Replied { to: who, life, id, outcome: Outcome::Unknown });
    }

    fn arrives(&mut self, from: (usize, u64), engine: &EngineId, id: u64, call: &Call, reply: Option<u64>) {
        let (outcome, commit) = self.server.serve(call, &mut self.rng);
        self.say(|_| format!("server: {engine} {call:?} -> {outcome:?}"));
        if let Some(Commit { before: Some(before), .. }) = &commit {
            let sender = self.processes.iter().find(|process| process.up && process.engine == *engine);
            self.oracle.served(self.at, engine, call, before, sender);
        }
        if let Some(delay) = reply {
            self.later(delay, Happening::Replied { to: from.0, life: from.1, id, outcome });
        }
        if let Some(commit) = commit {
            self.publish(&commit);
        }
    }

    /// Acquisitions begin or succeed now and then, whatever goes wrong.
    fn check_progress(&mut self) {
        let progress = self.tickets + self.oracle.tally.acquisitions;
        if self.progress.0 != progress {
            self.progress = (progress, self.at);
        } else if !self.calm && self.at > self.progress.1 + 100 * self.plan.ttl + 100_000 * MILLI {
            self.oracle.broken(self.at, "liveness: nothing moves");
        }
    }

    /// No keeper may send call after call without rest.
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
