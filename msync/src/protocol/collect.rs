//! From an acquisition to its user: what is had counts from the moment its guard is there, and is asked back until then.

use super::{Context, Keeper, Notice, Ticket};
use crate::clock::Moment;

// === impl Keeper: collecting ===

impl Keeper {
    /// Takes that a user has had its guard since a moment.
    pub(super) fn collected(&mut self, ticket: Ticket, since: Moment) {
        if self.is_user(ticket) {
            self.hold.iter_mut().for_each(|hold| hold.collect(since));
        }
    }

    /// Keeps the hold for its user until a moment at least.
    pub(super) fn keep_until(&mut self, ticket: Ticket, until: Moment) {
        if self.is_user(ticket) {
            self.hold.iter_mut().for_each(|hold| hold.keep(until));
        }
    }

    pub(super) fn cancel(&mut self, ticket: Ticket, cx: &mut Context<'_>) {
        self.tickets.retain(|want| want.ticket != ticket);
        if self.is_user(ticket) {
            self.release(ticket, None, cx);
        }
    }

    pub(super) fn is_user(&self, ticket: Ticket) -> bool {
        self.hold.as_ref().and_then(|hold| hold.user.as_ref()).is_some_and(|user| user.ticket == ticket)
    }

    /// Asks for a hold back whose user has not collected it: its time is up, or the hold is over anyway.
    pub(super) fn recall(&mut self, cx: &mut Context<'_>) {
        let Some(hold) = &self.hold else { return };
        let Some(user) = hold.uncollected() else { return };
        if hold.ended.is_some() || cx.now.local >= hold.collect_by(user) {
            cx.notices.push(Notice::Recall(user.ticket));
        }
    }

    /// Says whether a renewal is due as soon as its user has the hold.
    pub(super) fn awaits_collection(&self, now: Moment) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.uncollected().is_some() && now >= hold.next_renewal)
    }
}
