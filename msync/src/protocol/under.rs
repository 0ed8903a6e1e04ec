//! A hold that stands under a session: up to when it is believed, and where its next renewal puts it (design 4.10, R5 and R6).

use super::{
    Attempts, Hold, Shelter,
    session::{bound, find, shelter},
};
use crate::{
    clock::Moment,
    record::{Beat, Record, Term},
};

// === impl Hold: under a session ===

impl Hold {
    /// Reckons how long it may be believed: the least of what is confirmed and of each write that tests it.
    pub fn reckon(&mut self, own: &[Shelter]) {
        let pending = self.attempts.values().filter(|attempt| !attempt.last);
        let pending = pending.map(|attempt| bound(attempt.under, attempt.deadline, own));
        self.deadline = pending.fold(bound(self.under, self.beat_deadline, own), Moment::min);
        let lost = find(self.under, own).and_then(|shelter| shelter.lost);
        if self.is_renewed() && lost.is_some() {
            self.ended = lost;
        }
    }

    /// Lists the sessions that it is believed by, or may be: none of them may end before it.
    pub fn needs(&self) -> impl Iterator<Item = Term> + '_ {
        let pending = self.attempts.values().map(|attempt| attempt.under);
        pending.chain([self.under]).filter(|session| !session.is_none())
    }

    /// Says whether it is over for its user, and its session would keep it alive for nobody.
    pub(super) fn lingers(&self, own: &[Shelter]) -> bool {
        let over = self.ended.is_some() && !self.is_renewed();
        over && self.serves() && find(self.under, own).is_some_and(|shelter| shelter.lost.is_none())
    }

    /// Returns the session that its next renewal is under. It stays where it is, leads out, or moves in.
    pub(super) fn renews_under(&self, record: &Record, own: &[Shelter], now: Moment) -> Term {
        let leads_out = !self.instant || self.prolonged || !self.is_renewed();
        match find(record.under, own) {
            _ if leads_out => Term::NONE,
            None if record.under.is_none() => shelter(own, &self.timing, now),
            Some(here) if here.timing == self.timing && here.lost.is_none() => here.term,
            _ => Term::NONE,
        }
    }

    /// Takes what a beat that was seen says of where it stands; what does not test that beat can come true no more.
    pub(super) fn settle_under(&mut self, seen: Beat, under: Term) {
        self.under = under;
        self.attempts.retain(|_, attempt| attempt.tests == seen);
        if self.attempts.is_empty() {
            self.attempts = Attempts::new(); // one that was emptied keeps a node for eleven
        }
    }
}
