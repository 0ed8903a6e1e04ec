//! One process: its engine's keepers, a clock that is off, and tasks that use the locks.

use std::{collections::BTreeMap, time::Duration};

use msync::{
    FencingToken,
    clock::{Moment, Now, Wall},
    unstable::{
        protocol::{Ask, Keeper, Standing, Ticket, Want},
        record::{EngineId, Role, Term, WALL_SKEW},
    },
};

use crate::{rng::Rng, world::Sessions};

/// A local clock, as a function of true time.
#[derive(Clone, Debug)]
pub(crate) struct LocalClock {
    offset: u64,
    ppm: u64,
    wall: i64,
}

/// A task of a process.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    /// What it asked for.
    pub(crate) want: Want,
    /// How far it has come.
    pub(crate) phase: Phase,
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It waits for the lock, since this true time.
    Waiting(u64),
    /// It was told that it has the lock, and its future has not been polled since.
    Offered(FencingToken),
    /// It has the lock, since this true time.
    Holding(u64, FencingToken),
    /// It has had the lock and was told at this true time that it is lost, but has not ended yet.
    Stopping(u64),
    /// It has ended and waits for its release to be acknowledged.
    Leaving,
}

/// One process.
#[allow(clippy::struct_excessive_bools, reason = "a process is in several states at once")]
#[derive(Debug)]
pub(crate) struct Process {
    /// Its number, which outlives a restart.
    pub(crate) index: usize,
    /// How many times it was started.
    pub(crate) incarnation: u64,
    /// The identity of its engine.
    pub(crate) engine: EngineId,
    /// Its clock.
    pub(crate) clock: LocalClock,
    /// It runs.
    pub(crate) up: bool,
    /// It is shutting down in good order.
    pub(crate) closing: bool,
    /// Nothing happens in it before this true time.
    pub(crate) paused_until: u64,
    /// No message leaves or reaches it before this true time.
    pub(crate) cut_until: u64,
    /// Its sessions, and what it knows of those of others; where it uses any.
    pub(crate) sessions: Option<Box<Sessions>>,
    /// What it has to do with each object.
    pub(crate) seats: BTreeMap<usize, Seat>,
    /// It would begin another acquisition, had it not too many already.
    pub(crate) eager: bool,
    /// Calls sent in the current window, for the check of hot loops.
    pub(crate) burst: (u64, u32),
}

/// What a process has to do with one object.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    /// The keeper, as long as it is needed.
    pub(crate) keeper: Option<Keeper>,
    /// The call in flight.
    pub(crate) call: Option<u64>,
    /// Only the newest wake-up counts.
    pub(crate) wake: u64,
    /// It watches the lock itself, with this watch.
    pub(crate) watch: Option<u64>,
    /// What its guards see.
    pub(crate) standing: Standing,
    /// When its guard looks at its clock next.
    pub(crate) looks_at: Moment,
    /// Its tasks.
    pub(crate) tasks: Vec<Task>,
    /// A task has taken the lock, and the keeper does not know yet: it is told with its next event.
    pub(crate) collected: Option<(Ticket, Moment)>,
    /// The keeper wants to know that at once.
    pub(crate) tell: bool,
    /// The term that a task was offered, as long as no task has taken it.
    pub(crate) untaken: Option<Term>,
    /// Since when, in true time, it has been offered.
    pub(crate) offered_at: u64,
    /// Until when, in true time, `at_least` of a task that had the lock keeps it.
    pub(crate) kept_until: u64,
    /// Which sessions its hold needs.
    pub(crate) needs: Vec<Term>,
    /// What it wants to know of a session of another.
    pub(crate) asked: Option<Ask>,
    /// Of a session: it is had, and whoever opened it has not heard yet.
    pub(crate) offered: Option<Ticket>,
}

/// Of what its identity tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Of nothing but its owner.
    None,
    /// Of its pod.
    Pod,
    /// Of its pod, which the first two share in two roles.
    SharedPod,
}

// === impl Home ===

impl Home {
    /// Returns the owner of a process.
    pub(crate) fn owner(self, index: usize) -> String {
        format!("p{}", self.pod(index))
    }

    /// Returns what a process is in its pod.
    pub(crate) fn role(self, index: usize) -> Role {
        if self == Self::SharedPod && index == 1 { Role::Library } else { Role::Sidecar }
    }

    fn pod(self, index: usize) -> usize {
        if self == Self::SharedPod && index == 1 { 0 } else { index }
    }

    fn engine(self, index: usize, bits: u64) -> EngineId {
        let (owner, pod) = (self.owner(index), u32::try_from(self.pod(index)).unwrap_or(0) + 1);
        match self {
            Self::None => EngineId::new(&owner, bits),
            Self::Pod | Self::SharedPod => EngineId::of_pod(&owner, self.role(index), pod, bits),
        }
    }
}

// === impl LocalClock ===

impl LocalClock {
    /// Draws a clock: up to 1 % fast or slow, often exactly so much.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let any = rng.between(990_000, 1_010_001);
        let ppm = rng.pick(&[990_000, 1_010_000, any]);
        Self { offset: rng.between(1_000_000_000_000, 9_000_000_000_000), ppm, wall: wall_offset(rng) }
    }

    /// Reads it at a true time.
    pub(crate) fn read(&self, at: u64) -> Now {
        let wall = i64::try_from(at / 1_000_000).unwrap_or(0) + 1_700_000_000_000 + self.wall;
        Now { local: self.local(at), wall: Wall::from_millis(wall) }
    }

    /// Reads its safe half at a true time.
    pub(crate) fn local(&self, at: u64) -> Moment {
        let scaled = u128::from(at) * u128::from(self.ppm) / 1_000_000;
        Moment::from_nanos(self.offset + u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    /// Returns the first true time at which it shows `at`.
    pub(crate) fn true_time(&self, at: Moment) -> u64 {
        let since = u128::from(at.as_nanos().saturating_sub(self.offset));
        let scaled = (since * 1_000_000).div_ceil(u128::from(self.ppm));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// Returns how long a local duration takes in true time.
    pub(crate) fn true_span(&self, span: Duration) -> u64 {
        let scaled = span.as_nanos() * 1_000_000 / u128::from(self.ppm);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// Moves the wall clock.
    pub(crate) fn jump(&mut self, millis: i64) {
        self.wall += millis;
    }
}

// === impl Process ===

impl Process {
    /// Starts a process, which knows of the first so many objects. With `pod`, its identity tells of which pod it is.
    pub(crate) fn start(index: usize, incarnation: u64, home: Home, objects: usize, rng: &mut Rng) -> Self {
        let engine = home.engine(index, rng.bits());
        Self {
            index,
            incarnation,
            engine,
            clock: LocalClock::draw(rng),
            up: true,
            closing: false,
            paused_until: 0,
            cut_until: 0,
            sessions: None,
            seats: (0..objects).map(|what| (what, Seat::default())).collect(),
            eager: false,
            burst: (0, 0),
        }
    }

    /// Returns what it has to do with an object that it knows.
    pub(crate) fn seat(&self, what: usize) -> &Seat {
        &self.seats[&what]
    }

    /// Says whether no keeper of it has anything to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.seats.values().all(|seat| seat.keeper.is_none())
    }

    /// Returns how many tasks it has.
    pub(crate) fn tasks(&self) -> usize {
        self.seats.values().map(|seat| seat.tasks.len()).sum()
    }

    /// Says whether a task of it believes, at a true time, that it has a lock.
    pub(crate) fn believes(&self, what: usize, at: u64) -> bool {
        let (seat, now) = (self.seat(what), self.clock.local(at));
        self.up && seat.holder().is_some_and(|task| seat.standing.loss(task.want.ticket, now).is_none())
    }

    /// Says whether it keeps a lock for `at_least`, though nobody uses it.
    pub(crate) fn keeps(&self, what: usize, at: u64) -> bool {
        let now = self.clock.local(at);
        let hold = self.seat(what).keeper.as_ref().and_then(Keeper::hold);
        self.up && hold.is_some_and(|hold| hold.keep_until > now && hold.deadline > now)
    }

    /// Says whether somebody here waits for a lock.
    pub(crate) fn waits(&self, what: usize) -> bool {
        self.up && self.seat(what).tasks.iter().any(|task| matches!(task.phase, Phase::Waiting(_)))
    }
}

// === impl Seat ===

impl Seat {
    /// Says whether the task of a ticket has the lock, or had it until it was told that it is lost.
    pub(crate) fn has_taken(&self, ticket: Ticket) -> bool {
        let task = self.tasks.iter().find(|task| task.want.ticket == ticket);
        task.is_some_and(|task| !matches!(task.phase, Phase::Waiting(_) | Phase::Offered(_)))
    }

    /// Returns the task of a ticket.
    pub(crate) fn task(&mut self, ticket: Ticket) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.want.ticket == ticket)
    }

    /// Returns the task that has the lock and has not been told of a loss.
    pub(crate) fn holder(&self) -> Option<&Task> {
        self.tasks.iter().find(|task| matches!(task.phase, Phase::Holding(..)))
    }
}

/// The wall clocks of a cluster are together as far as a reservation needs it.
fn wall_offset(rng: &mut Rng) -> i64 {
    let most = u64::try_from(WALL_SKEW.as_millis()).unwrap_or(0) / 2 - 10;
    i64::try_from(rng.below(2 * most + 1)).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
}
