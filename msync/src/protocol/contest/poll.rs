//! One try for somebody who polls (the sidecar, on behalf of clients that ask every ten seconds).
//!
//! It never waits for a holder and never joins the queue. It judges a silent holder by what was observed over earlier
//! tries, which the engine remembers, and never by the wall clock.

use super::{Call, Contest, Context, Moment, Move, Notice, Patience, Record, State, Ticket, Verdict, View};

// === impl Contest: polling ===

impl Contest {
    pub(super) fn polls(&self) -> bool {
        matches!(self.want.patience, Patience::Poll { .. })
    }

    /// Looks first, so that the answer is about now; then writes at the most once, unless another was faster.
    pub(super) fn poll(&mut self, create_only: bool, view: &View, ticket: Ticket, cx: &mut Context<'_>) -> Move {
        if std::mem::take(&mut self.fresh) {
            return Move::Send(Call::Read);
        }
        match view.state() {
            State::Unknown | State::Exists => Move::Send(Call::Read),
            State::Absent => self.create(cx),
            State::Present(snapshot) if snapshot.record.term == self.claim.term => self.accept(&snapshot.record, cx),
            State::Present(_) if create_only => Move::GiveUp(Notice::Busy(ticket)),
            State::Present(snapshot) => self.take_if_unheld(&snapshot.record, view, ticket, cx),
        }
    }

    fn take_if_unheld(&mut self, record: &Record, view: &View, ticket: Ticket, cx: &mut Context<'_>) -> Move {
        if record.is_free() {
            return self.claim_free(Some(record), cx);
        }
        if self.adopts(record, view) {
            return self.claim_seen(record, 0..0, cx);
        }
        // Whoever waits in the queue comes first; who has let that pass as well is as dead as the holder.
        if cx.now.local >= self.claim_due(record, None, view, cx.now) {
            return self.claim_seen(record, 0..record.waiters.len(), cx);
        }
        if self.waits_for_verdict(view).is_some_and(|until| cx.now.local < until) {
            return Move::Wait;
        }
        Move::GiveUp(Notice::Busy(ticket))
    }

    /// Returns until when one who polls waits to hear of the session that a holder's life depends on.
    pub(super) fn waits_for_verdict(&self, view: &View) -> Option<Moment> {
        let record = view.record().filter(|record| self.polls() && !record.under.is_none())?;
        let unknown = record.engine != self.claim.engine && view.verdict(record.under) == Verdict::Unknown;
        unknown.then(|| self.started + self.want.timing.attempt_timeout())
    }
}

#[cfg(test)]
mod tests;
