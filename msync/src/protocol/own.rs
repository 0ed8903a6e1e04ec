//! The life of a session of this engine: opened, used, lost or given up; and gone when nothing needs it any more.

use super::Shelter;
use crate::{
    LossReason, Timing,
    clock::Moment,
    protocol::{Standing, Ticket},
    record::Term,
};

/// A session of this engine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Own {
    term: Term,
    timing: Timing,
    ticket: Ticket,
    /// What its keeper has believed of it; nothing before its beat was seen.
    shelter: Option<Shelter>,
    /// Since when nothing stands under it.
    unused: Option<Moment>,
    /// Nothing new goes under it.
    closed: bool,
}

/// What is to be done with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It stays, and is thought over then at the latest.
    Stay(Moment),
    /// It is removed: nothing needs it, and nothing goes under it any more.
    Remove,
}

// === impl Own ===

impl Own {
    /// Begins one, whose hold is acquired under a ticket.
    pub fn new(term: Term, timing: Timing, ticket: Ticket) -> Self {
        Self { term, timing, ticket, shelter: None, unused: None, closed: false }
    }

    /// Returns its term.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Returns under which acquisition it is held.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// Returns what keepers may know of it: nothing before its beat was seen, and nothing once it is closed.
    pub fn shelter(&self) -> Option<Shelter> {
        self.shelter.filter(|_| !self.closed)
    }

    /// Says whether it is the one that locks of a timing use, or will.
    pub fn serves(&self, timing: &Timing) -> bool {
        self.timing == *timing && !self.closed && self.shelter.is_none_or(|shelter| shelter.lost.is_none())
    }

    /// Takes where its hold stands. Lost is final.
    pub fn stands(&mut self, standing: &Standing, now: Moment) {
        if self.shelter.is_some_and(|shelter| shelter.lost.is_some()) {
            return;
        }
        let loss = standing.loss(self.ticket, now).filter(|reason| *reason != LossReason::ShutDown);
        match (&mut self.shelter, loss) {
            (None, lost) => {
                let (term, timing, deadline) = (self.term, self.timing, standing.until);
                self.shelter = Some(Shelter { term, timing, deadline, lost });
            }
            (Some(shelter), loss) => {
                // What has ended says no more until when.
                shelter.deadline = if loss.is_none() { standing.until } else { shelter.deadline };
                shelter.lost = loss;
            }
        }
    }

    /// Says whether it goes, by how many holds need it. It closes first: nothing new goes under what is removed.
    pub fn rest(&mut self, uses: usize, ends: bool, now: Moment) -> Rest {
        let lost = self.shelter.is_some_and(|shelter| shelter.lost.is_some());
        if uses > 0 {
            self.unused = None;
            return Rest::Stay(now + self.timing.ttl());
        }
        let until = *self.unused.get_or_insert(now) + self.timing.ttl();
        if !lost && !ends && now < until {
            return Rest::Stay(until);
        }
        self.closed = true;
        Rest::Remove
    }
}
