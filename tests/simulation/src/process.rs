//! One process: an engine's keeper of the one lock, a clock that is off, and tasks that use the lock.

use std::time::Duration;

use msync::{
    FencingToken,
    clock::{Moment, Now, Wall},
    unstable::{
        protocol::{Keeper, Standing, Ticket, Want},
        record::{EngineId, Role, Term, WALL_SKEW},
    },
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
    /// It was told that it has the lock, and its future has not been polled since.
    Offered(FencingToken),
    /// It has the lock, since this true time.
    Holding(u64, FencingToken),
    /// It has had the lock and was told that it is lost, but has not ended yet.
    Stopping,
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
    /// Until when, in true time, `at_least` of a task that had the lock keeps it.
    pub(crate) kept_until: u64,
    /// It would begin another acquisition, had it not too many already.
    pub(crate) eager: bool,
    /// Calls sent in the current window, for the check of hot loops.
    pub(crate) burst: (u64, u32),
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
    /// Starts a process. With `pod`, its identity tells of which pod it is.
    pub(crate) fn start(index: usize, incarnation: u64, home: Home, rng: &mut Rng) -> Self {
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
            keeper: None,
            call: None,
            wake: 0,
            watch: None,
            standing: Standing::default(),
            looks_at: Moment::default(),
            tasks: Vec::new(),
            collected: None,
            tell: false,
            untaken: None,
            kept_until: 0,
            eager: false,
            burst: (0, 0),
        }
    }

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

    /// Says whether a task of it believes, at a true time, that it has the lock.
    pub(crate) fn believes(&self, at: u64) -> bool {
        let lost = |task: &Task| self.standing.loss(task.want.ticket, self.clock.local(at)).is_some();
        self.up && self.holder().is_some_and(|task| !lost(task))
    }

    /// Says whether it keeps the lock for `at_least`, though nobody uses it.
    pub(crate) fn keeps(&self, at: u64) -> bool {
        let now = self.clock.local(at);
        let hold = self.keeper.as_ref().and_then(msync::unstable::protocol::Keeper::hold);
        self.up && hold.is_some_and(|hold| hold.keep_until > now && hold.deadline > now)
    }

    /// Says whether somebody here waits for the lock.
    pub(crate) fn waits(&self) -> bool {
        self.up && self.tasks.iter().any(|task| matches!(task.phase, Phase::Waiting(_)))
    }
}

/// The wall clocks of a cluster are together as far as a reservation needs it.
fn wall_offset(rng: &mut Rng) -> i64 {
    let most = u64::try_from(WALL_SKEW.as_millis()).unwrap_or(0) / 2 - 10;
    i64::try_from(rng.below(2 * most + 1)).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
}
