//! Whether a client does what it is there for: what a liveness probe asks.
//!
//! The API server's health is none of its business: a process that is restarted because the API server is down helps nobody.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{LockName, clock::Moment};

/// How long the thread of msync may take to answer.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);

/// Why a client is not healthy: restarting the process is what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unhealthy {
    /// The time of a leadership is over by more than a ttl, and what leads has not let it go: its body does not yield, or
    /// nothing renews it any more.
    #[error("the leadership of {name} ended {} s ago, and is still not given up here", over.as_secs())]
    Overdue {
        /// The election.
        name: LockName,
        /// For how long its time is over.
        over: Duration,
    },
    /// What renews locks has not answered for so long.
    #[error("what renews locks has not answered for {} s", silent.as_secs())]
    Stuck {
        /// For how long.
        silent: Duration,
    },
}

/// When the thread that does the work was asked, unless it has answered: each look asks it, and the next one sees whether it
/// has answered.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Option<Moment>>);

// === impl Pulse ===

impl Pulse {
    /// Says for how long a question has been unanswered, if that is too long; and whether a new one is to be asked.
    pub(crate) fn feel(&self, now: Moment) -> Result<bool, Unhealthy> {
        let mut asked = self.asked();
        match *asked {
            None => {
                *asked = Some(now);
                Ok(true)
            }
            Some(asked) if now.since(asked) > LONGEST_SILENCE => Err(Unhealthy::Stuck { silent: now.since(asked) }),
            Some(_) => Ok(false),
        }
    }

    /// Takes the answer.
    pub(crate) fn answered(&self) {
        *self.asked() = None;
    }

    fn asked(&self) -> MutexGuard<'_, Option<Moment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Judges one leadership that somebody here has: `until` its time is over, and `tolerance` after that is bearable.
pub(crate) fn overdue(name: &LockName, until: Moment, tolerance: Duration, now: Moment) -> Option<Unhealthy> {
    let over = now.since(until);
    (over > tolerance).then(|| Unhealthy::Overdue { name: name.clone(), over })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_thread_that_does_not_answer_is_stuck_after_a_while_and_well_once_it_does() {
        let pulse = Pulse::default();
        assert_eq!(pulse.feel(at(0)), Ok(true), "it is asked");
        assert_eq!((pulse.feel(at(1)), pulse.feel(at(10))), (Ok(false), Ok(false)), "once");
        assert_eq!(pulse.feel(at(11)), Err(Unhealthy::Stuck { silent: Duration::from_secs(11) }));
        pulse.answered();
        assert_eq!(pulse.feel(at(12)), Ok(true));
    }

    #[test]
    fn a_leadership_is_overdue_after_its_end_and_the_tolerance() {
        let (name, ttl) = (LockName::new("x").unwrap(), Duration::from_secs(15));
        assert_eq!(overdue(&name, at(100), ttl, at(115)), None);
        let told = overdue(&name, at(100), ttl, at(116)).unwrap().to_string();
        assert_eq!(told, "the leadership of x ended 16 s ago, and is still not given up here");
    }
}
