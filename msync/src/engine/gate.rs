//! Bounds how many calls run at once, and lets those go first whose hold is nearest to its end.
//!
//! Over HTTP/1.1 every concurrent call is a connection.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::clock::Moment;

/// Hands out permits, the most urgent first.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Mutex<State>>);

struct State {
    free: usize,
    arrivals: u64,
    waiting: BinaryHeap<Waiting>,
}

/// Ordered so that the heap's greatest is the most urgent, and among equals the first come.
struct Waiting {
    rank: Reverse<(Moment, u64)>,
    wake: oneshot::Sender<Permit>,
}

/// The right to make one call; given back when dropped.
pub(crate) struct Permit {
    gate: Option<Gate>,
}

// === impl Gate ===

impl Gate {
    /// Makes a gate for so many calls at once.
    pub(crate) fn new(permits: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: permits, arrivals: 0, waiting: BinaryHeap::new() })))
    }

    /// Waits for a permit. May be dropped at any time.
    pub(crate) async fn enter(&self, deadline: Option<Moment>) -> Permit {
        let queued = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                None
            } else {
                Some(state.join(deadline))
            }
        };
        match queued {
            None => self.permit(),
            Some(turn) => turn.await.expect("a gate outlives those who wait at it"),
        }
    }

    fn permit(&self) -> Permit {
        Permit { gate: Some(self.clone()) }
    }

    fn leave(&self) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.waiting.pop();
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            match next.wake.send(self.permit()) {
                Ok(()) => return,
                Err(mut unwanted) => unwanted.gate = None,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn join(&mut self, deadline: Option<Moment>) -> oneshot::Receiver<Permit> {
        let (wake, turn) = oneshot::channel();
        self.arrivals += 1;
        let rank = Reverse((deadline.unwrap_or(Moment::from_nanos(u64::MAX)), self.arrivals));
        self.waiting.push(Waiting { rank, wake });
        turn
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.leave();
        }
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_nearest_deadline_goes_first() {
        let gate = Gate::new(1);
        let held = gate.enter(None).await;
        let mut late = Box::pin(gate.enter(Some(Moment::from_nanos(9))));
        let mut soon = Box::pin(gate.enter(Some(Moment::from_nanos(3))));
        assert!(late.as_mut().now_or_never().is_none() && soon.as_mut().now_or_never().is_none());
        drop(held);
        assert!(late.as_mut().now_or_never().is_none());
        assert!(soon.as_mut().now_or_never().is_some());
        assert!(late.as_mut().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_caller_that_gave_up_keeps_no_permit() {
        let gate = Gate::new(1);
        let held = gate.enter(None).await;
        let mut gone = Box::pin(gate.enter(None));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut told_and_gone = Box::pin(gate.enter(None));
        assert!(told_and_gone.as_mut().now_or_never().is_none());
        drop(gone);
        drop(held);
        drop(told_and_gone);
        assert!(gate.enter(None).now_or_never().is_some());
    }
}
