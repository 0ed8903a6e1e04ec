//! The world of one episode: true time, and everything that happens in its order.
//!
//! The objects are numbered: the locks first, then each session that any process has opened.

mod agenda;
mod calls;
mod faults;
mod sessions;
mod tasks;
mod watches;
mod witnesses;

use agenda::Agenda;
use msync::unstable::{
    protocol::{Action, Call, Event, Glance, Keeper, Outcome, Ticket},
    record::{EngineId, Term},
    store::Snapshot,
};
pub(crate) use sessions::Sessions;
use witnesses::Proof;

use crate::{
    network::Denial,
    oracle::{Oracle, Spot},
    plan::{MILLI, Plan},
    process::{Process, Seat},
    rng::Rng,
    server::Server,
    world::calls::Desk,
};

/// Something that happens at a true time.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// A watch tells a process something of an object.
    Told { to: usize, life: u64, what: usize, watch: Option<u64>, event: Event },
    /// A request reaches the server.
    Arrives { from: usize, life: u64, desk: Desk, engine: EngineId, id: u64, call: Call, reply: Option<u64> },
    /// A reply, or the time-out instead of it, reaches its sender.
    Replied { to: usize, life: u64, desk: Desk, id: u64, outcome: Outcome },
    /// A keeper wanted to be woken.
    Wakes { who: usize, life: u64, what: usize, wake: u64 },
    /// The timer of a guard.
    Looks { who: usize, life: u64, what: usize },
    /// A process begins another acquisition.
    Begins { who: usize, life: u64 },
    /// A task ends.
    Ends { who: usize, life: u64, what: usize, ticket: Ticket },
    /// The future of an acquisition is polled again.
    Polls { who: usize, life: u64, what: usize, ticket: Ticket },
    /// An acquisition is given up.
    GivesUp { who: usize, life: u64, what: usize, ticket: Ticket },
    /// The watches of a process start over.
    Relists { who: usize, life: u64 },
    /// A dead process is started again.
    Restarts { who: usize },
    /// A process that was told to shut down is killed at last.
    Killed { who: usize, life: u64 },
    /// A task of a process tells a keeper something.
    Nudged { who: usize, life: u64, what: usize, event: Event },
    /// A user wants more time.
    Prolongs { who: usize, life: u64, what: usize, ticket: Ticket },
    /// What became of a session that a process wanted to open is heard where that was asked for.
    Boards { who: usize, life: u64, what: usize },
    /// A session of a process is thought over; by a timer, of which only the newest counts.
    Tends { who: usize, life: u64, what: usize, timer: Option<u64> },
    /// A process sees, or looks for, something of a foreign session; a watch may have ended, a timer be replaced since.
    Glimpses { who: usize, life: u64, what: usize, proof: Proof, glance: Glance },
    /// The inbox shows that it lives.
    Marks { who: usize, life: u64 },
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
            | Self::Looks { who, life, .. }
            | Self::Nudged { who, life, .. }
            | Self::Prolongs { who, life, .. }
            | Self::Boards { who, life, .. }
            | Self::Tends { who, life, .. }
            | Self::Glimpses { who, life, .. }
            | Self::Marks { who, life }
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

/// An object: a lock, or a session of some process.
#[derive(Debug, Default)]
pub(crate) struct Object {
    server: Server,
    /// Of a session, its term.
    session: Option<Term>,
    /// Of a session, how it looked lately, since when in true time: lists may be old.
    past: Vec<(u64, Option<Snapshot>)>,
}

// === impl Object ===

impl Object {
    /// Returns how a session looked at a true time.
    fn at(&self, at: u64) -> Option<Snapshot> {
        let then = self.past.iter().rev().find(|(since, _)| *since <= at);
        then.and_then(|(_, snapshot)| snapshot.clone())
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
    objects: Vec<Object>,
    /// The newest version over all of them.
    version: u64,
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
    pub(crate) fn new(mut rng: Rng, trace: bool, draw: impl FnOnce(&mut Rng) -> Plan) -> Self {
        let plan = draw(&mut rng);
        let mut start = |index| Process::start(index, 0, plan.home, plan.locks, &mut rng);
        let processes = (0..plan.processes).map(&mut start).collect();
        let mut world = Self {
            oracle: Oracle::new(plan.locks),
            objects: (0..plan.locks).map(|_| Object::default()).collect(),
            plan,
            rng,
            trace,
            at: 0,
            agenda: Agenda::default(),
            serial: 0,
            version: 0,
            processes,
            tickets: 0,
            calm: false,
            last_zombie: 0,
            denial: Denial::default(),
            progress: (0, 0),
        };
        world.say(|world| format!("{:?}", world.plan));
        for who in 0..world.plan.processes {
            world.equip(who);
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
                self.oracle.watch_gaps(self.at, &self.processes, self.plan.ttl);
            }
            if self.calm {
                end = end.min(self.at + 60 * self.plan.ttl + 60_000 * MILLI);
            }
        }
        let records = self.objects.iter().filter_map(|object| Some(&object.server.stored()?.record));
        self.oracle.ended(self.at, &records.collect::<Vec<_>>(), &self.processes);
    }

    pub(crate) fn later(&mut self, delay: u64, happening: Happening) {
        self.agenda.push(self.at.saturating_add(delay), happening);
    }

    pub(crate) fn say(&self, what: impl FnOnce(&Self) -> String) {
        if self.trace {
            println!("{:>9} us  {}", self.at / 1000, what(self));
        }
    }

    /// Returns what a process has to do with an object.
    fn seat(&mut self, (who, what): Spot) -> &mut Seat {
        self.processes[who].seats.entry(what).or_default()
    }

    /// Says whether an object is a lock.
    fn is_lock(&self, what: usize) -> bool {
        what < self.plan.locks
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
            Happening::Told { to, what, watch, event, .. } => self.told((to, what), watch, event),
            Happening::Arrives { from, life, desk, engine, id, call, reply } => {
                self.arrives((from, life), desk, &engine, id, &call, reply);
            }
            Happening::Replied { to, desk, id, outcome, .. } => self.replied(to, desk, id, outcome),
            Happening::Wakes { who, what, wake, .. } if self.seat((who, what)).wake == wake => {
                self.step((who, what), Event::Tick);
            }
            Happening::Wakes { .. } => {}
            Happening::Looks { who, what, .. } => self.look((who, what)),
            Happening::Begins { who, .. } => self.begin(who),
            Happening::Ends { who, what, ticket, .. } => self.end((who, what), ticket),
            Happening::Polls { who, what, ticket, .. } => self.poll((who, what), ticket),
            Happening::GivesUp { who, what, ticket, .. } => self.give_up((who, what), ticket),
            Happening::Relists { who, .. } => self.relist(who),
            Happening::Restarts { who } => self.restart(who),
            Happening::Killed { who, .. } => self.crash(who),
            Happening::Nudged { who, what, event, .. } => self.step((who, what), event),
            Happening::Prolongs { who, what, ticket, .. } => self.prolong((who, what), ticket),
            Happening::Boards { who, what, .. } => self.board((who, what)),
            Happening::Tends { who, what, timer, .. } => self.tend((who, what), timer),
            Happening::Glimpses { who, what, proof, glance, .. } => self.glimpse((who, what), proof, glance),
            Happening::Marks { who, .. } => self.mark(who),
            Happening::Scribbles => self.scribble(),
            Happening::Calms => self.sweep(),
        }
    }

    /// Steps a keeper of a process, as its driver does, which looks first whether the lock was collected.
    pub(crate) fn step(&mut self, spot: Spot, event: Event) {
        if let Some((ticket, since)) = self.seat(spot).collected.take() {
            self.step_once(spot, Event::Collected(ticket, since));
        }
        self.step_once(spot, event);
    }

    /// Steps a keeper of a process, as the engine will: one is made when it is needed, and dropped when it is idle.
    fn step_once(&mut self, spot: Spot, event: Event) {
        let ((who, what), lock) = (spot, self.is_lock(spot.1));
        let process = &mut self.processes[who];
        let seat = process.seats.entry(what).or_default();
        let mine = matches!(&event, Event::Seen(snapshot) if snapshot.record.engine == process.engine);
        let makes = matches!(event, Event::Want(_)) || mine;
        if seat.keeper.is_none() && (!makes || (mine && process.closing)) {
            return;
        }
        let now = process.clock.read(self.at);
        let lost = seat.holder().map(|task| task.want.ticket);
        let lost = lost.filter(|ticket| seat.standing.loss(*ticket, now.local).is_some());
        let mut keeper = seat.keeper.take().unwrap_or_else(|| Keeper::new(process.engine.clone()));
        match &process.sessions {
            Some(sessions) if lock => keeper.know_sessions(Some(sessions.shelters())),
            Some(sessions) => keeper.has_heard(sessions.heard),
            None => {}
        }
        let told = self.trace.then(|| format!("{event:?}"));
        let action = keeper.step(event, now, &mut || self.rng.bits());
        seat.standing = keeper.standing();
        self.oracle.tally.steps += 1;
        let process = &self.processes[who];
        let seat = process.seat(what);
        self.oracle.lost_is_final(self.at, process, seat, lost);
        if let Some(call) = &action.call {
            if lock {
                self.oracle.sent(self.at, process, seat, call, &keeper);
            } else {
                self.oracle.sent_of_session(self.at, process, call, &keeper);
            }
        }
        if let Some(told) = told {
            println!("{:>9} us  p{who} {what} {told}\n{:>14}-> {action:?}", self.at / 1000, "");
        }
        if !keeper.is_idle() {
            self.seat(spot).keeper = Some(keeper);
        } else if action.call.is_some() {
            self.oracle.broken(self.at, format!("p{who}: idle with a call in flight"));
        }
        self.act(spot, action);
    }

    fn act(&mut self, spot: Spot, action: Action) {
        let (who, what) = spot;
        self.seat(spot).tell = action.tell;
        self.embark(spot, &action);
        let recalled = if self.is_lock(what) {
            self.notify(spot, &action.notices)
        } else {
            self.notify_session(spot, &action.notices)
        };
        if let Some(call) = action.call {
            self.send(who, Desk::Keeper(what), &call, action.timeout);
        }
        self.set_watch(spot, action.watch);
        let process = &mut self.processes[who];
        let seat = process.seats.entry(what).or_default();
        seat.wake += 1;
        if let Some(wake) = action.wake {
            let (wake, life, due) = (seat.wake, process.incarnation, process.clock.true_time(wake));
            let late = if self.rng.chance(200) { self.rng.below(MILLI) } else { 0 };
            self.later(due.saturating_sub(self.at) + late, Happening::Wakes { who, life, what, wake });
        }
        self.look(spot);
        for ticket in recalled {
            self.withdraw(spot, ticket);
        }
        if self.is_lock(what) {
            self.judge_untaken(spot);
        }
        if self.plan.sessions && self.seat(spot).tell && self.seat(spot).collected.is_some() {
            self.step(spot, Event::Tick);
        }
        let process = &self.processes[who];
        if process.up && process.closing && process.is_idle() {
            self.crash(who);
        }
    }

    fn scribble(&mut self) {
        let what = self.draw_lock();
        let server = self.objects[what].server.at(self.version);
        if let Some(commit) = server.scribble(&mut self.rng) {
            self.version = commit.version;
            self.publish(what, &commit);
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
}
