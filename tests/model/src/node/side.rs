//! What an engine does about the session beside its lock.

use msync::{
    Timing,
    unstable::protocol::{Event, Glance},
};

use super::{Guard, Node, Step, carries_nonce};
use crate::session::Wake;

impl Node {
    /// Says whether a timer about the session is due.
    pub fn is_session_due(&self) -> bool {
        !self.paused && self.side.is_due(self.now().local)
    }

    /// Says whether the call about the session has taken too long.
    pub fn is_session_out_of_time(&self) -> bool {
        !self.paused && self.side.is_out_of_time(self.now().local)
    }

    /// The next event of the watch of the session is seen.
    pub fn look_at_session(&mut self) -> Step {
        self.side.sightings.pop_front().map_or_else(Step::default, |glance| self.step_session(glance))
    }

    /// The session begins to be made.
    pub fn launch(&mut self, timing: Timing) -> Step {
        let (now, nonce) = (self.now(), self.next_nonce());
        let wake = self.side.launch(timing, now, nonce);
        self.heed(wake)
    }

    /// Returns it before its watches have shown anything.
    #[must_use]
    pub fn without_sights(&self) -> Self {
        let mut node = self.clone();
        node.side.sightings.clear();
        node
    }

    /// A user that has the lock wants more time.
    pub fn prolong(&mut self, guard: Guard) -> Step {
        self.step(Event::Prolong(guard.ticket))
    }

    /// Takes what is seen of the session, or heard of a call about it.
    pub fn step_session(&mut self, glance: Glance) -> Step {
        let (now, nonce) = (self.now(), self.next_nonce());
        let wake = self.side.step(glance, &self.keeper, self.closing, now, nonce);
        self.heed(wake)
    }

    /// Does what follows from a step about the session.
    pub(super) fn heed(&mut self, wake: Wake) -> Step {
        self.nonces += u16::from(wake.call.as_ref().is_some_and(carries_nonce));
        let Wake { call, news, opens, broken } = wake;
        let mut step = Step { of_session: call, opens_session: opens, broken, ..Step::default() };
        if let Some(event) = news {
            step.follow(self.step(event));
        }
        step
    }
}
