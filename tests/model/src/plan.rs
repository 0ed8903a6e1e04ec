//! Plans: who takes part, for how long, and how many faults of which kind may happen in one run.
//!
//! A plan makes the state space finite. Everything within it is explored, so a plan is small and pointed at something.

use msync::{
    Timing,
    unstable::protocol::{Patience, Ticket, Want},
};

use crate::{Reach, node::TICK};

/// One engine of a plan, and what its users want.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// How its acquisitions are kept alive.
    pub timing: Timing,
    /// How many acquisitions its users begin in one run.
    pub wants: u8,
    /// How many of them may be under way at once: the queue within the process.
    pub at_once: usize,
    /// Whether they wait.
    pub patience: Patience,
    /// A grant counts as held at once.
    pub instant: bool,
    /// Freed at release, not deleted.
    pub retained: bool,
    /// For how many ticks its users keep it at least.
    pub at_least: u16,
    /// Its users keep the lock until it is lost.
    pub stays: bool,
}

// === impl Peer ===

impl Peer {
    /// Makes an engine whose users want a plain lock a number of times, one after the other.
    pub fn new(timing: Timing, wants: u8) -> Self {
        Self {
            timing,
            wants,
            at_once: 1,
            patience: Patience::Wait,
            instant: true,
            retained: false,
            at_least: 0,
            stays: false,
        }
    }

    /// Makes its acquisitions campaigns: a grant must be accepted, the record is kept.
    #[must_use]
    pub fn campaigning(self) -> Self {
        Self { instant: false, retained: true, ..self }
    }

    /// Makes its acquisitions tries, which do not wait.
    #[must_use]
    pub fn trying(self) -> Self {
        Self { patience: Patience::Try, ..self }
    }

    /// Lets two acquisitions of this process be under way at once.
    #[must_use]
    pub fn crowded(self) -> Self {
        Self { at_once: 2, ..self }
    }

    /// Lets its users keep the lock for some ticks at least, over a shutdown too.
    #[must_use]
    pub fn keeping(self, ticks: u16) -> Self {
        Self { at_least: ticks, ..self }
    }

    /// Lets its users keep the lock until it is lost.
    #[must_use]
    pub fn staying(self) -> Self {
        Self { stays: true, ..self }
    }

    /// Returns what an acquisition of this engine wants.
    pub fn want(&self, ticket: Ticket) -> Want {
        Want {
            retained: self.retained,
            instant: self.instant,
            patience: self.patience,
            at_least: TICK * self.at_least.into(),
            ..Want::new(ticket, self.timing)
        }
    }
}

/// How much may go wrong in one run: of each kind, and in total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Of all kinds together, but for cancellations, shutdowns and wishes for time, which are none.
    pub total: u8,
    /// Requests and replies that come late, or never.
    pub late: u8,
    /// Requests that are applied a second time, later.
    pub twice: u8,
    /// Watches that fall silent: their events come late, or never.
    pub stalls: u8,
    /// Engines that do not run while time passes.
    pub pauses: u8,
    /// Ticks that one clock misses, or counts twice.
    pub slips: u8,
    /// Processes that die and start anew.
    pub crashes: u8,
    /// Deletions of the object by hand.
    pub deletions: u8,
    /// Acquisitions whose future is not polled for a while, or ever.
    pub neglects: u8,
    /// Acquisitions that are given up while they wait.
    pub cancels: u8,
    /// Clients that are shut down in good order.
    pub shutdowns: u8,
    /// Users that want more time.
    pub prolongs: u8,
    /// Releases of a stranger who compares nothing.
    pub releases: u8,
}

// === impl Budget ===

impl Budget {
    /// Takes one fault of the kind that `of` points at; `None` when there is none left.
    pub fn spend(mut self, of: impl Fn(&mut Self) -> &mut u8) -> Option<Self> {
        self.total = self.total.checked_sub(1)?;
        let left = of(&mut self);
        *left = left.checked_sub(1)?;
        Some(self)
    }
}

/// One configuration of the model.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it is called in the output.
    pub name: &'static str,
    /// The engines.
    pub peers: Vec<Peer>,
    /// How many ticks of true time a run has.
    pub ticks: u16,
    /// Up to which tick users may put off what they want; from then on they want it as soon as they can.
    pub leisure: u16,
    /// What may go wrong.
    pub budget: Budget,
    /// What some run must come to.
    pub reaches: Vec<Reach>,
    /// The record stands in a Lease, by which a stranger elects as well.
    pub leases: bool,
    /// The first engine has a session, which the lock is put under.
    pub session: Session,
}

/// Whether the first engine has a session, from the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Session {
    /// It has none.
    #[default]
    None,
    /// Its first acquisition goes directly under it.
    Direct,
    /// It acquires first, and then moves in.
    Moved,
}
