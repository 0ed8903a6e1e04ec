//! One process: an engine's keeper of the one lock, a clock that is off, and tasks that use the lock.

use std::time::Duration;

use msync::{
    FencingToken,
    clock::{Moment, Now, Wall},
    protocol::{Keeper, Standing, Ticket, Want},
    record::EngineId,
};

use crate::rng::Rng;

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
    /// It has the lock, since this true time.
    Holding(u64, FencingToken),
    /// It has had the lock and was told that it is lost, but has not ended yet.
    Stopping,
    /// It has ended and waits for its release to be acknowledged.
    Leaving,
}

/// One process.
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
    /// It would begin another acquisition, had it not too many already.
    pub(crate) eager: bool,
    /// Calls sent in the current window, for the check of hot loops.
    pub(crate) burst: (u64, u32),
}

// === impl LocalClock ===

impl LocalClock {
    /// Draws a clock: up to 1 % fast or slow, often exactly so much.
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let any = rng.between(990_000, 1_010_001);
        let ppm = rng.pick(&[990_000, 1_010_000, any]);
        Self { offset: rng.between(1_000_000_000_000, 9_000_000_000_000), ppm, wall: 0 }
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
    /// Starts a process. With `pod`, its identity tells of which pod it is.
    pub(crate) fn start(index: usize, incarnation: u64, pod: bool, rng: &mut Rng) -> Self {
        let owner = format!("p{index}");
        let number = u32::try_from(index).unwrap_or(0) + 1;
        let engine = if pod { EngineId::of_pod(&owner, number, rng.bits()) } else { EngineId::new(&owner, rng.bits()) };
        Self {
            index,
            incarnation,
            engine,
            clock: LocalClock::draw(rng),
            up: true,
            closing: false,
            paused_until: 0,
            cut_until: 0,
            keeper: None,
            call: None,
            wake: 0,
            watch: None,
            standing: Standing::default(),
            looks_at: Moment::default(),
            tasks: Vec::new(),
            eager: false,
            burst: (0, 0),
        }
    }

    /// Returns the task of a ticket.
    pub(crate) fn task(&mut self, ticket: Ticket) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.want.ticket == ticket)
    }

    /// Returns the task that has the lock and has not been told of a loss.
    pub(crate) fn holder(&self) -> Option<&Task> {
        self.tasks.iter().find(|task| matches!(task.phase, Phase::Holding(..)))
    }

    /// Says whether a task of it believes, at a true time, that it has the lock.
    pub(crate) fn believes(&self, at: u64) -> bool {
        let lost = |task: &Task| self.standing.loss(task.want.ticket, self.clock.local(at)).is_some();
        self.up && self.holder().is_some_and(|task| !lost(task))
    }

    /// Says whether it keeps the lock for `at_least`, though nobody uses it.
    pub(crate) fn keeps(&self, at: u64) -> bool {
        let now = self.clock.local(at);
        let hold = self.keeper.as_ref().and_then(msync::protocol::Keeper::hold);
        self.up && hold.is_some_and(|hold| hold.keep_until > now && hold.deadline > now)
    }

    /// Says whether somebody here waits for the lock.
    pub(crate) fn waits(&self) -> bool {
        self.up && self.tasks.iter().any(|task| matches!(task.phase, Phase::Waiting(_)))
    }
}
