//! Bounds how many calls run at once, and says who goes next.
//!
//! Calls that keep a hold go through a lane of their own, the nearest deadline first: nothing else can keep them waiting.
//! All others share a lane whose width follows the server's health, as TCP's window follows the network's: halved at once
//! when answers stay away or grow slow, wider by one each time that so many calls were answered. Who gives back goes
//! first there, then first come first, except that those who join queues are shuffled: when a hundred engines want the
//! same hundred locks they would all append to the same one at a time, and of appends to one object the API server
//! carries out one after another, repeating all the others.

mod window;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;
use window::Window;

use crate::clock::{Clock, Moment, Random};

/// How many calls that keep a hold one engine makes at once.
const BEATS_AT_ONCE: usize = 32;

/// A call that keeps a hold and was not answered for so long gives way to a more urgent one that waits. Ordinary calls are
/// over by then; in an outage the calls of locks with a long ttl would otherwise cost those with a short one their lease.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often such a call looks whether it is in the way.
const LOOK: Duration = Duration::from_millis(250);

/// Hands out permits.
#[derive(Clone)]
pub(super) struct Gate(Arc<Mutex<State>>);

struct State {
    random: Random,
    arrivals: u64,
    beats: Lane,
    rest: Lane,
    window: Window,
}

/// Calls of one kind: which run, and which wait to.
#[derive(Default)]
struct Lane {
    running: BTreeSet<Rank>,
    waiting: BTreeMap<Rank, oneshot::Sender<()>>,
}

/// The order within a lane: the smaller goes first. The last part makes it unique.
type Rank = (Moment, u64, Arrival);

/// When a call first asked to be sent, by count. Who was sent away unsent keeps it, and so its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrival(u64);

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It keeps a hold that ends then, or accepts a grant.
    Keep(Moment),
    /// It gives something back: others wait for it.
    GiveBack,
    /// It joins a queue.
    Join,
    /// Anything else.
    Other,
}

/// The right to make one call, or the wish for it; given back when dropped.
pub(super) struct Permit {
    gate: Gate,
    keeps: bool,
    rank: Rank,
    turn: oneshot::Receiver<()>,
}

// === impl Gate ===

impl Gate {
    /// Makes a gate. No more is open at first than a server bears that others overload at that moment.
    pub(super) fn new(random: Random) -> Self {
        let (beats, rest) = (Lane::default(), Lane::default());
        Self(Arc::new(Mutex::new(State { random, arrivals: 0, beats, rest, window: Window::default() })))
    }

    /// Notes the arrival of a call.
    pub(super) fn arrive(&self) -> Arrival {
        let mut state = self.state();
        state.arrivals += 1;
        Arrival(state.arrivals)
    }

    /// Waits for a permit. May be dropped at any time.
    pub(super) async fn enter(&self, purpose: Purpose, arrival: Arrival) -> Permit {
        let mut permit = self.join(purpose, arrival);
        let turn = (&mut permit.turn).await;
        turn.expect("who waits is told before it is forgotten");
        permit
    }

    fn join(&self, purpose: Purpose, arrival: Arrival) -> Permit {
        let (wake, turn) = oneshot::channel();
        let keeps = matches!(purpose, Purpose::Keep(_));
        let mut state = self.state();
        let rank = state.rank(purpose, arrival);
        state.lane(keeps).waiting.insert(rank, wake);
        state.admit();
        Permit { gate: self.clone(), keeps, rank, turn }
    }

    /// Says how many calls wait that keep no hold.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.state().rest.waiting.len()
    }

    /// Every transition is complete before the mutex is released.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Says who goes before whom. Who joins is overtaken at the most by as many more as wait when it comes, twice over.
    fn rank(&self, purpose: Purpose, arrival: Arrival) -> Rank {
        let (first, second) = (Moment::from_nanos(0), Moment::from_nanos(1));
        let spread = 2 * self.rest.waiting.len() as u64 + 1;
        match purpose {
            Purpose::Keep(deadline) => (deadline, arrival.0, arrival),
            Purpose::GiveBack => (first, arrival.0, arrival),
            Purpose::Join => (second, arrival.0 + (self.random)() % spread, arrival),
            Purpose::Other => (second, arrival.0, arrival),
        }
    }

    fn lane(&mut self, keeps: bool) -> &mut Lane {
        if keeps { &mut self.beats } else { &mut self.rest }
    }

    fn admit(&mut self) {
        self.beats.admit(BEATS_AT_ONCE);
        self.rest.admit(self.window.calls());
    }

    fn leave(&mut self, keeps: bool, rank: &Rank) {
        let lane = self.lane(keeps);
        let _ = lane.running.remove(rank) || lane.waiting.remove(rank).is_some();
        self.admit();
    }
}

// === impl Lane ===

impl Lane {
    fn admit(&mut self, most: usize) {
        while self.running.len() < most
            && let Some((rank, wake)) = self.waiting.pop_first()
        {
            self.running.insert(rank);
            let _ = wake.send(()); // who is being dropped leaves in a moment
        }
    }
}

// === impl Permit ===

impl Permit {
    /// Notes that the call, sent at such a time, was answered.
    pub(super) fn answered(&self, sent: Moment, now: Moment) {
        self.gate.state().window.answered(sent, now);
    }

    /// Notes that the call, sent at such a time, was not answered in time, or that the server has too much to do.
    pub(super) fn congested(&self, sent: Moment, now: Moment) {
        self.gate.state().window.narrow(sent, now);
    }

    /// Ends when this call, sent just now, is in the way of a more urgent one; the permit is used up then.
    pub(super) async fn displaced(&self, clock: &dyn Clock) {
        if !self.keeps {
            return std::future::pending().await;
        }
        clock.sleep_until(clock.now() + PATIENCE).await;
        while !self.gives_way() {
            clock.sleep_until(clock.now() + LOOK).await;
        }
    }

    fn gives_way(&self) -> bool {
        let mut state = self.gate.state();
        let in_the_way = state.beats.waiting.keys().next().is_some_and(|first| *first < self.rank);
        if in_the_way {
            state.leave(true, &self.rank);
        }
        in_the_way
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.state().leave(self.keeps, &self.rank);
    }
}

#[cfg(test)]
mod tests;
