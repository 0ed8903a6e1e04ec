//! Giving back: what is no longer wanted is handed on, freed or deleted, and only ever under its own term (design 4.4).
//!
//! There is no phase of its own: whatever a believed record shows of this engine that nobody here wants (a released term,
//! a grant after a cancellation, a stale entry of the queue) is a stray, and strays are removed one write at a time.

use std::time::Duration;

use super::{Attempt, Call, Context, Hold, Keeper, Notice, State, Ticket, fresh, jitter, trouble::FEW};
use crate::{
    LossReason,
    clock::{Moment, Wall},
    config::{MAX_TTL, MIN_TTL},
    record::{Change, Entry, Record, Term},
    store::Snapshot,
};

/// So many failures in a row, or a ttl of a few, end the attempt to give back: the ttl will do it.
const MOST_FAILURES: u32 = 8;

/// A term that is being given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Parting {
    /// Who wants to know when it is done.
    tickets: Vec<Ticket>,
    /// Freed, not deleted; unknown for a term that this keeper never held.
    retained: bool,
    /// Who is to have it next, by the wish of the last user.
    successor: Option<String>,
    /// The last write that hands it on is for that one.
    found: bool,
}

// === impl Keeper: giving back ===

impl Keeper {
    /// Takes the end of a user. What was lost before is told by the guard, not here.
    pub(super) fn release(&mut self, ticket: Ticket, successor: Option<String>, cx: &mut Context<'_>) {
        if !self.is_user(ticket) {
            return cx.notices.push(Notice::Released(ticket));
        }
        let Some(hold) = &mut self.hold else { return };
        hold.spurned |= hold.uncollected().is_some();
        let stays = hold.keep_until > cx.now.local || hold.ended.is_some();
        let named_itself = successor.as_deref() == Some(self.engine.owner());
        (hold.user, hold.successor) = (None, successor);
        let next_is_here = !self.tickets.is_empty() && !self.wishes_another();
        if next_is_here && named_itself && !stays {
            cx.notices.push(Notice::HandedOver(ticket));
        } else if stays || next_is_here {
            cx.notices.push(Notice::Released(ticket));
        } else {
            self.parting.get_or_insert_default().tickets.push(ticket);
        }
    }

    /// Ends a hold that nobody uses and nobody here waits for, or that is another engine's turn.
    pub(super) fn part(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.local;
        let Some(hold) = &self.hold else { return };
        let lost = hold.ended.is_some_and(|reason| reason != LossReason::ShutDown);
        let kept = now < hold.keep_until && !lost;
        if hold.user.is_some() || (kept && !self.shut) || self.is_for_local(cx) {
            return;
        }
        let outlives = kept && self.shut;
        if outlives && !hold.left_behind {
            return;
        }
        let Some(hold) = self.hold.take() else { return };
        self.insist_until = now + hold.longest_ttl(self.view.record());
        // All that stood under a session is released at once, and mostly in vain.
        if lost && !hold.under.is_none() && self.tickets.is_empty() && !self.shut {
            let spread = hold.timing.ttl() / 3;
            self.pause = self.pause.max(now + jitter(spread * 2, cx).saturating_sub(spread));
        }
        let parting = self.parting.get_or_insert_default();
        (parting.retained, parting.successor) = (hold.retained, hold.successor);
        let renewing = matches!(&self.flight, Some(flight) if matches!(flight.call, Call::Apply(Change::Renew { .. })));
        self.unsettled |= hold.attempts.len() > usize::from(renewing);
        self.timing = hold.timing;
    }

    /// Says whether a hold without a user stays for the next local acquisition.
    fn is_for_local(&self, cx: &Context<'_>) -> bool {
        let Some(hold) = &self.hold else { return false };
        let others = self.view.record().is_some_and(|record| super::waits_another(record, &self.engine));
        let waits = !self.tickets.is_empty() && hold.ended.is_none() && !self.wishes_another();
        waits && !hold.is_stale(cx.now.local) && !(others && hold.must_yield(cx.now.local))
    }

    /// Says whether the last user named a successor that waits in another engine: it goes before those who wait here.
    pub(super) fn wishes_another(&self) -> bool {
        let wish = self.hold.as_ref().and_then(|hold| hold.successor.as_deref());
        let (Some(owner), Some(record)) = (wish, self.view.record()) else { return false };
        let mut others = record.waiters.iter().filter_map(Entry::claim).filter(|claim| claim.engine != self.engine);
        others.any(|claim| claim.engine.owner() == owner)
    }

    /// Removes one stray, if a believed record shows any.
    pub(super) fn clean_up(&mut self, cx: &mut Context<'_>) -> Option<Call> {
        let now = cx.now.local;
        let gives_up = self.tickets.is_empty() && self.fails_for_good(now) && now >= self.insist_until;
        if gives_up {
            self.abandon(cx);
            return None;
        }
        if self.must_look() {
            return Some(Call::Read);
        }
        let uncertain = matches!(self.view.state(), State::Unknown | State::Exists);
        if self.parting.is_some() && uncertain {
            return Some(Call::Read);
        }
        let record = self.view.record()?;
        if let Some((index, entry)) = self.stray_entry(record) {
            return Some(Call::Apply(Change::Leave { index, entry }));
        }
        if !self.is_stray(record) {
            return None;
        }
        self.hand_on(&record.clone(), cx)
    }

    /// Says whether a believed record shows something of ours that nobody here wants.
    pub(super) fn has_strays(&self) -> bool {
        let Some(record) = self.view.record() else { return false };
        self.hold.is_none() && (self.is_stray(record) || self.stray_entry(record).is_some())
    }

    /// Says whether a write of unknown fate must be looked after: nobody here goes on to see what became of it, or somebody
    /// waits for the end of a release.
    pub(super) fn must_look(&self) -> bool {
        self.unsettled && (self.tickets.is_empty() || self.parting.is_some())
    }

    fn is_stray(&self, record: &Record) -> bool {
        record.engine == self.engine && !record.is_free() && !self.wants(record.term)
    }

    /// Finds an entry of ours that nobody here wants: of an ended term, or a second one of the holding term.
    fn stray_entry(&self, record: &Record) -> Option<(usize, Entry)> {
        let stray = |entry: &Entry| entry.is_of(&self.engine) && !entry.term().is_some_and(|term| self.wants(term));
        let found = record.waiters.iter().enumerate().find(|(_, entry)| stray(entry));
        found.map(|(index, entry)| (index, entry.clone()))
    }

    fn wants(&self, term: Term) -> bool {
        self.contest.as_ref().is_some_and(|contest| contest.term() == term)
    }

    /// Hands a stray term to the successor; without one, frees or deletes it.
    fn hand_on(&mut self, record: &Record, cx: &mut Context<'_>) -> Option<Call> {
        let wish = self.parting.as_ref().and_then(|parting| parting.successor.as_deref());
        let wished = wish.and_then(|owner| record.place_of(owner));
        if let Some(parting) = &mut self.parting {
            parting.found = wished.is_some();
        }
        let wall = cx.now.wall;
        match record.hand_on(wished.unwrap_or(0), || fresh(cx), wall) {
            Some(change) => Some(Call::Apply(change)),
            None if self.retains(record) => Some(Call::Apply(Change::Free { term: record.term, wall })),
            None => self.view.snapshot_version().cloned().map(Call::Delete),
        }
    }

    /// A term that this keeper never held, granted to somebody long gone, tells by its claim what it was for.
    fn retains(&self, record: &Record) -> bool {
        self.parting.as_ref().map_or(record.is_to_be_accepted(), |parting| parting.retained)
    }

    /// Says whether calls have failed so often, or for so long, that nothing is to be hoped for.
    fn fails_for_good(&self, now: Moment) -> bool {
        let since = self.trouble.as_ref().and_then(|trouble| trouble.since());
        let lasts = since.is_some_and(|since| now.since(since) >= self.timing.ttl());
        // One call alone may have lasted so long, and been sent before there was anything to give back: a process that was
        // frozen finds it so.
        self.failures() >= MOST_FAILURES || (lasts && self.failures() >= FEW)
    }

    /// Takes that a lock was shown as it is believed to be. If it is ours and nobody here wants it, what calls have met
    /// before is no reason to give up: the store can be reached, and nobody may take over yet who sees what was shown.
    pub(super) fn insist(&mut self, shown: &Snapshot, now: Moment) {
        let newest = self.view.snapshot_version() == Some(&shown.version);
        if newest && self.hold.is_none() && self.is_stray(&shown.record) {
            self.insist_until = self.insist_until.max(now + shown.record.patience());
        }
    }

    /// Tells those who wait for a release once nothing of it is left.
    pub(super) fn check_parting(&mut self, cx: &mut Context<'_>) {
        let known = self.view.record().is_some() || *self.view.state() == State::Absent;
        if self.hold.is_some() || self.parting.is_none() || !known || self.has_strays() || self.unsettled {
            return;
        }
        self.insist_until = Moment::default();
        let parting = self.parting.take().unwrap_or_default();
        let notice = if parting.found { Notice::HandedOver } else { Notice::Released };
        cx.notices.extend(parting.tickets.into_iter().map(notice));
    }

    /// Tells those who wait for a release that the store refuses it. Says whether it is tried on: until the ttl is over.
    pub(super) fn keeps_parting(&mut self, cx: &mut Context<'_>) -> bool {
        let gives_back = self.parting.is_some() || self.has_strays();
        if !gives_back || cx.now.local >= self.insist_until {
            return false;
        }
        let tickets = self.parting.iter_mut().flat_map(|parting| parting.tickets.drain(..));
        cx.notices.extend(tickets.map(Notice::Abandoned));
        true
    }

    /// Gives up giving back: the ttl will do it, or the next keeper, when the lock is shown again.
    pub(super) fn abandon(&mut self, cx: &mut Context<'_>) {
        let parting = self.parting.take().unwrap_or_default();
        cx.notices.extend(parting.tickets.into_iter().map(Notice::Abandoned));
        (self.unsettled, self.contest, self.trouble) = (false, None, None);
        self.insist_until = Moment::default();
        self.view.doubt(State::Unknown);
    }
}

/// Leaves what `at_least` keeps to nobody, since nobody will be left to renew it.
pub(super) fn reserve(hold: &mut Hold, record: &Record, cx: &mut Context<'_>) -> Change {
    let (now, beat) = (cx.now, fresh(cx));
    let left = hold.keep_until.since(now.local);
    let attempt = Attempt::new(now.local, hold.timing.ttl(), hold.timing.safety_margin()).of(record.beat, Term::NONE);
    hold.attempt(beat, Attempt { last: true, ..attempt }, cx.own());
    let (term, previous, engine) = (hold.term, record.beat, record.engine.clone());
    Change::Reserve { term, previous, beat, engine, ttl: last_ttl(left), until: (now.wall + left).min(Wall::LATEST) }
}

/// Returns the ttl that a record needs to live as long as `at_least` promises for those who go by it: their clock may be 1 %
/// fast and this one 1 % slow.
fn last_ttl(left: Duration) -> Duration {
    let padded = left.mul_f64(1.0203).as_millis() + 1;
    Duration::from_millis(u64::try_from(padded).unwrap_or(u64::MAX)).clamp(MIN_TTL, MAX_TTL)
}
