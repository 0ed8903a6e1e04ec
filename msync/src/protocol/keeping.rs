//! Keeping a hold alive: by renewals of its own, or by moving it under a session.

use super::{Attempt, Call, Context, Keeper, State, fresh, may_beat, release};
use crate::{clock::Moment, record::Change};

// === impl Keeper: keeping ===

impl Keeper {
    /// Keeps a hold alive.
    pub(super) fn keep(&mut self, cx: &mut Context<'_>) -> Option<Call> {
        let (now, deaf) = (cx.now.local, self.is_deaf(cx.now.local));
        let hold = self.hold.as_mut()?;
        let lingers = hold.lingers(cx.own());
        if !lingers && (!hold.is_renewed() || !hold.serves()) {
            return None;
        }
        let record = match self.view.state() {
            State::Present(snapshot) if snapshot.record.term == hold.term => &snapshot.record,
            State::Present(_) | State::Absent if lingers => return None,
            _ => return Some(Call::Read),
        };
        if self.shut && hold.user.is_none() {
            return Some(Call::Apply(release::reserve(hold, record, cx)));
        }
        if deaf || (now < hold.next_renewal && !lingers) {
            return None;
        }
        let under = hold.renews_under(record, cx.own(), now);
        let plain = record.under.is_none() && under.is_none() && hold.instant;
        cx.opens = (plain && cx.own.is_some()).then_some(hold.timing);
        let (beat, ttl) = (fresh(cx), hold.timing.ttl());
        let attempt = Attempt::new(now, ttl, hold.timing.safety_margin()).of(record.beat, under);
        hold.attempt(beat, attempt, cx.own());
        hold.next_renewal = now;
        Some(Call::Apply(Change::Renew {
            term: hold.term,
            previous: record.beat,
            beat,
            renewals: record.renewals.saturating_add(1),
            ttl,
            next_owner: record.next_in_line(),
            under,
            wall: cx.now.wall,
        }))
    }

    /// Says whether a session is not to be renewed now: this engine would not hear of what stands under it in vain.
    pub(super) fn is_deaf(&self, now: Moment) -> bool {
        let ttl = self.current_timing().ttl();
        self.heard.is_some_and(|heard| !may_beat(heard, ttl, now))
    }
}
