//! Tells what becomes of a lock: to the log, and to listeners if there are any. What there is to tell is found by
//! [`Story`](crate::protocol::Story); here it gets its words.
//!
//! The words and fields are told in `docs/operations.md`, since people search for them.

use std::sync::Arc;

use tracing::{debug, info, warn};

use super::{keeper::Driver, message::Asked};
use crate::{
    LossReason,
    clock::Moment,
    listener::{News, What},
    protocol::{Action, Answer, Event, Holding, Notice, Patience, Report, Standing, Ticket, Wait, Want},
    record::MAX_WAITERS,
    store::Fault,
};

// === impl Driver: telling ===

impl Driver {
    /// Tells that an acquisition begins to wait.
    pub(super) fn tell_want(&self, want: &Want, asked: &Asked) {
        if asked.election && want.patience == Patience::Wait {
            info!(lock = %self.name, "campaigning");
        }
        self.tell(asked, || What::Waiting);
    }

    /// Tells that an acquisition waits no more.
    pub(super) fn tell_waited(&self, asked: &Asked, end: Wait, now: Moment) {
        self.tell(asked, || What::Waited(end, now.since(asked.since)));
        if let (Wait::Failed, Some(fault @ Fault::Fatal(_))) = (end, &self.last_fault) {
            self.tell(asked, || What::Refused(fault.describe()));
        }
    }

    /// Tells what is about to happen.
    pub(super) fn tell_event(&mut self, event: &Event, now: Moment) {
        if let Some(holding) = self.story.gives_back(event) {
            return self.tell_released(&holding, now);
        }
        match self.story.answers(event) {
            Some(Answer::Renewed(end)) => {
                if let Some(holding) = self.story.holding() {
                    self.tell(&holding.asked, || What::Renewed(end));
                }
            }
            Some(Answer::HandedOver(to)) if self.elects => info!(lock = %self.name, to = to.owner(), "handed over"),
            Some(Answer::HandedOver(to)) => debug!(lock = %self.name, to = to.owner(), "handed over"),
            Some(Answer::QueueFull) => {
                warn!(lock = %self.name, waiting = MAX_WAITERS, "the queue is full; looks for room now and then");
            }
            None => {}
        }
    }

    fn tell_released(&self, holding: &Holding<Asked>, now: Moment) {
        let (token, held) = (holding.token, holding.held(now));
        if holding.asked.election {
            info!(lock = %self.name, %token, ?held, "resigned");
        } else {
            debug!(lock = %self.name, %token, ?held, "released");
        }
        self.tell(&holding.asked, || What::Released(token, held));
    }

    /// Tells what a step has brought, before anybody is told that it has the lock.
    pub(super) fn tell_action(&mut self, action: &Action, now: Moment) {
        for notice in &action.notices {
            if let Some((ticket, end)) = Wait::of(notice)
                && let Some(asked) = self.asked(ticket)
            {
                self.tell_waited(&asked, end, now);
                if let Notice::Acquired(_, token) = *notice {
                    self.tell_acquired(Holding { ticket, token, since: now, asked });
                }
            }
        }
        if let Some((place, holder)) = self.story.queues(&self.keeper) {
            debug!(lock = %self.name, place, holder = holder.owner(), "queued");
        }
        self.story.sends(action, self.keeper.hold().is_some());
        self.tell_report(action.report);
    }

    fn tell_acquired(&mut self, holding: Holding<Asked>) {
        let (token, waited) = (holding.token, holding.since.since(holding.asked.since));
        self.elects = holding.asked.election;
        if self.elects {
            info!(lock = %self.name, %token, ?waited, "leading");
        } else {
            debug!(lock = %self.name, %token, ?waited, "acquired");
        }
        self.tell(&holding.asked, || What::Acquired(token));
        self.story.acquired(holding);
    }

    /// Tells of a loss, if where the keeper stands is one.
    pub(super) fn tell_standing(&mut self, before: Option<LossReason>, standing: &Standing) {
        let Some((holding, reason)) = self.story.loses(before, standing) else { return };
        let fault = self.last_fault.as_ref().map(Fault::describe);
        let Some(holding) = holding else {
            return warn!(lock = %self.name, %reason, fault, "lost while nobody used it, before `at_least` was over");
        };
        let (token, held) = (holding.token, holding.held(self.engine.clock.now()));
        if holding.asked.election {
            warn!(lock = %self.name, %token, ?held, %reason, fault, "lost the leadership");
        } else {
            warn!(lock = %self.name, %token, ?held, %reason, fault, "lost");
        }
        self.tell(&holding.asked, || What::Lost { token, held, reason, fault });
    }

    fn tell_report(&self, report: Option<Report>) {
        match report {
            None => {}
            Some(Report::Failing { lasting, failures, too_slow: None }) => {
                let fault = self.fault_text();
                warn!(lock = %self.name, ?lasting, failures, %fault, "the store cannot be used");
            }
            Some(Report::Failing { lasting, failures, too_slow: Some(longest) }) => {
                let fault = self.fault_text();
                warn!(
                    lock = %self.name, ?lasting, failures, ?longest, %fault,
                    "the store takes longer to answer than the ttl allows; a longer ttl would allow more"
                );
            }
            Some(Report::Recovered { lasting }) => {
                info!(lock = %self.name, ?lasting, "the store can be used again");
            }
        }
    }

    fn fault_text(&self) -> String {
        self.last_fault.as_ref().map_or_else(|| "no answer yet".to_owned(), Fault::describe)
    }

    fn asked(&self, ticket: Ticket) -> Option<Asked> {
        self.bids.get(&ticket).map(|bid| bid.asked.clone())
    }

    fn tell(&self, asked: &Asked, what: impl FnOnce() -> What) {
        let Some(ears) = self.engine.ears.as_ref().filter(|_| !self.name.is_session()) else { return };
        let uid = self.keeper.view().snapshot_version().map(|version| Arc::clone(&version.uid));
        let (name, label, election) = (self.name.clone(), asked.label.clone(), asked.election);
        ears.tell(News { name, label, election, uid, what: what() });
    }
}
