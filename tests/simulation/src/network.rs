//! What the network does to one message.

use crate::{
    plan::{MILLI, Plan},
    rng::Rng,
};

/// What becomes of one call: delays in true nanoseconds, counted from the send.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate {
    /// When the request arrives, if it does.
    pub(crate) first: Option<u64>,
    /// When it arrives once more, as a hidden retry makes it.
    pub(crate) second: Option<u64>,
    /// How long the reply of the last delivery takes, if it arrives.
    pub(crate) reply: Option<u64>,
    /// Answered "busy" by whoever stands before the server.
    pub(crate) busy: bool,
    /// Answered with a denial.
    pub(crate) denied: bool,
}

/// A server that denies everything for a while, as one does that has just started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Denial {
    /// When the first of those began that followed each other closely: whoever sent nothing between them sees one.
    since: u64,
    until: u64,
    /// When the last one that lasted had ended.
    lasted_until: u64,
}

// === impl Denial ===

impl Denial {
    /// What an engine takes for passing is shorter, by any clock.
    const PASSING: u64 = 9_800 * MILLI;
    /// Nobody takes two for one any more: an engine's questions are ten seconds and a call apart then, which takes a minute at the most.
    const APART: u64 = 75_000 * MILLI;

    /// Begins to deny, for up to twice as long as may pass.
    pub(crate) fn begin(&mut self, at: u64, rng: &mut Rng) {
        if at >= self.until + Self::APART || self.until == 0 {
            if self.until >= self.since + Self::PASSING {
                self.lasted_until = self.until;
            }
            self.since = at;
        }
        self.until = self.until.max(at + rng.below(2 * Self::PASSING));
    }

    /// Says whether a call that is sent now is denied.
    pub(crate) fn is_on(&self, at: u64) -> bool {
        at < self.until
    }

    /// Returns when the last of it is over.
    pub(crate) fn until(&self) -> u64 {
        self.until
    }

    /// Says whether it may have failed somebody since then: one that passes must not. Who is not polled is told late.
    pub(crate) fn may_fail(&self, asked: u64, at: u64) -> bool {
        (self.until > 0 && at >= self.since + Self::PASSING) || self.lasted_until > asked
    }
}

// === impl Fate ===

impl Fate {
    /// Nothing goes wrong.
    pub(crate) fn fair(rng: &mut Rng) -> Self {
        Self { first: Some(hop(rng)), reply: Some(hop(rng)), ..Self::default() }
    }

    /// The call is denied.
    pub(crate) fn denied(rng: &mut Rng) -> Self {
        Self { reply: Some(hop(rng)), denied: true, ..Self::default() }
    }

    /// Draws what goes wrong with a call that may take `timeout`.
    pub(crate) fn draw(plan: &Plan, cut: bool, timeout: u64, rng: &mut Rng) -> Self {
        let fair = Self::fair(rng);
        if cut {
            let arrives = rng.chance(200).then(|| hop(rng));
            return Self { first: arrives, reply: None, ..fair };
        }
        if rng.chance(plan.busy) {
            return Self { first: None, busy: true, ..fair };
        }
        if rng.chance(plan.request_lost) {
            return Self { first: None, reply: None, ..fair };
        }
        if rng.chance(plan.reply_lost) {
            return Self { reply: None, ..fair };
        }
        if rng.chance(plan.late) {
            return Self { first: Some(long(plan, rng)), ..fair };
        }
        if rng.chance(plan.twice) {
            let second = if rng.chance(500) { rng.below(timeout) } else { long(plan, rng) };
            return Self { second: Some(second), ..fair };
        }
        if rng.chance(plan.slow) {
            let (there, back) = (rng.below(timeout), rng.below(timeout));
            return Self { first: Some(there), reply: Some(back), ..fair };
        }
        fair
    }
}

/// One way of an undisturbed message: mostly a millisecond or two, sometimes twenty.
pub(crate) fn hop(rng: &mut Rng) -> u64 {
    let most = rng.pick(&[1, 2, 2, 20]);
    rng.between(MILLI / 10, most * MILLI)
}

/// Long after the time-out: up to four ttl.
pub(crate) fn long(plan: &Plan, rng: &mut Rng) -> u64 {
    let most = rng.pick(&[1, 2, 4]);
    rng.below(plan.ttl * most)
}
