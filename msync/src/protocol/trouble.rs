//! What a keeper's calls have met lately, and what follows from it: how long to pause, how long a call may take, from when
//! on a denial or a refusal is final, and when people are told. All of it by the time that is passed in.
//!
//! Writes and reads are told apart, for the one may fail while the other works: etcd that is full, a webhook that is down,
//! a right that is missing. Only a write that was applied shows that writes work again.

use std::time::Duration;

use super::{Context, jitter};
use crate::{Timing, clock::Moment};

/// How long rights, credentials or the resource must be denied without a break before that is final. An API server that
/// has just started denies everything until it has read its own rules, which takes seconds.
pub(super) const DENIAL: Duration = Duration::from_secs(10);
/// Calls that have failed for so long are told, and are as rare from then on as they get.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause: that of a call's usual time, within these. A write and a read may follow every other second at the
/// most, however short the ttl, and an outage is over soon, however long it is.
const LONGEST_PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5));
/// The longest that a server is left alone because it says so: what stands before it may name an hour, and be wrong.
pub(super) const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Kubernetes ends a request after a minute.
const LONGEST_CALL: Duration = Duration::from_secs(60);
/// Refusals that a race explains: one is faster, another entry has come. Beyond these each is followed by a pause.
const RACES: u32 = 3;
/// Fewer failures than these are followed by short pauses, however long they took.
pub(super) const FEW: u32 = 4;
/// So many failures are counted.
const MANY: u32 = 1_000_000;
/// So many refusals in a row, over at least a ttl, are no race.
const MOST_REFUSALS: u32 = 16;

/// What people are to be told of a lock's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Report {
    /// No call has succeeded for a while.
    Failing {
        /// For how long.
        lasting: Duration,
        /// How many calls have failed.
        failures: u32,
        /// The longest that a call may take with this ttl, if it was not enough.
        too_slow: Option<Duration>,
    },
    /// Calls succeed again.
    Recovered {
        /// How long they had failed.
        lasting: Duration,
    },
}

/// Failures in a row of one kind of call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Streak {
    count: u32,
    /// When the first of them was sent.
    since: Moment,
    /// When the last of them had ended.
    last: Moment,
    /// Those in a row that were denied without another answer between.
    denied: Option<Denied>,
}

/// For how long the rights have been denied, as far as can be known: from the first answer that said so to the last question that
/// was answered so. A process may have been frozen between a question and its answer, and between that and the next question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Denied {
    answered: Moment,
    asked: Moment,
}

/// What calls have met since all was well. Not there while it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Trouble {
    writes: Streak,
    reads: Streak,
    refusals: Streak,
    /// What the slowest of the recent calls took or was given, if that is more than half of what is usual.
    pace: Duration,
    /// What the slowest of the recent writes took that were answered, likewise.
    slow: Duration,
    /// The last call failed, or was one more refusal of a row.
    failing: bool,
    /// A call was given the longest time that there is, and was not answered.
    too_slow: bool,
    /// Since when calls fail, and when people are told next; once they have been told.
    told: Option<(Moment, Moment)>,
}

/// Which call it was, and how long it was on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trip {
    pub(super) reads: bool,
    pub(super) sent: Moment,
    /// When its answer counts as lost.
    pub(super) limit: Duration,
    pub(super) now: Moment,
}

// === impl Trip ===

impl Trip {
    fn took(&self) -> Duration {
        self.now.since(self.sent)
    }

    /// Says whether it was given up, rather than failed.
    fn is_overdue(&self) -> bool {
        self.took() >= self.limit
    }
}

// === impl Denied ===

impl Denied {
    fn lasted(self) -> Duration {
        self.asked.since(self.answered)
    }

    /// Says whether one more denial is of the same kind: two questions that are further apart say nothing of the time between.
    fn goes_on(self, trip: &Trip) -> bool {
        trip.sent.since(self.asked) <= DENIAL + trip.limit
    }
}

// === impl Streak ===

impl Streak {
    fn add(&mut self, trip: &Trip) {
        if self.count == 0 {
            self.since = trip.sent;
        }
        self.count = (self.count + 1).min(MANY);
        self.last = trip.now;
    }

    fn started(&self) -> Option<Moment> {
        (self.count > 0).then_some(self.since)
    }
}

// === impl Trouble ===

impl Trouble {
    /// Notes a call that was not answered, or that the server could not serve. `denied`: the rights were not there.
    pub(super) fn failed(&mut self, trip: &Trip, denied: bool, timing: &Timing) {
        let streak = if trip.reads { &mut self.reads } else { &mut self.writes };
        streak.add(trip);
        self.failing = true;
        let goes_on = streak.denied.filter(|before| before.goes_on(trip));
        let answered = goes_on.map_or(trip.now, |before| before.answered);
        streak.denied = denied.then_some(Denied { answered, asked: trip.sent });
        if trip.is_overdue() {
            self.too_slow = trip.limit >= longest_call(timing);
            self.pace = self.pace.max(trip.took());
        }
    }

    /// Notes a write that was refused by a condition: the server serves and knows us, but nothing was written.
    pub(super) fn refused(&mut self, trip: &Trip, timing: &Timing) {
        self.writes.denied = None;
        if trip.now.since(self.refusals.last) > timing.ttl().max(3 * LONGEST_PAUSE.0) {
            self.refusals = Streak::default();
        }
        self.refusals.add(trip);
        self.failing = self.is_refused_often();
    }

    /// Notes a call that had to wait for its turn for too long.
    pub(super) fn unsent(&mut self) {
        self.failing = true;
    }

    /// Notes the answer of a read.
    pub(super) fn read(&mut self, trip: &Trip, timing: &Timing) {
        (self.reads, self.failing) = (Streak::default(), false);
        self.pace = self.pace.max(slow(trip.took(), timing));
    }

    /// Notes a write that was applied.
    pub(super) fn wrote(&mut self, trip: &Trip, timing: &Timing) {
        (self.writes, self.refusals) = (Streak::default(), Streak::default());
        (self.failing, self.too_slow) = (false, false);
        self.pace = slow(trip.took().max(self.pace / 2), timing);
        self.slow = slow(trip.took().max(self.slow / 2), timing);
    }

    /// Notes that no call is due: what failed has come true all the same, or is no longer wanted.
    fn rest(&mut self) {
        (self.writes, self.reads, self.refusals) = (Streak::default(), Streak::default(), Streak::default());
        (self.failing, self.too_slow) = (false, false);
    }

    /// Says whether the last call failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    /// Says whether nothing is left to remember.
    pub(super) fn is_over(&self) -> bool {
        let quick = self.pace.is_zero() && self.slow.is_zero();
        self.count() == 0 && self.refusals.count == 0 && quick && !self.failing && self.told.is_none()
    }

    /// Returns how many calls in a row have failed.
    pub(super) fn count(&self) -> u32 {
        (self.writes.count + self.reads.count).max(self.refusals.count.saturating_sub(RACES))
    }

    /// Says whether refusals come in such a row that each is followed by a pause.
    pub(super) fn is_refused_often(&self) -> bool {
        self.refusals.count > RACES
    }

    /// Says whether reads, or writes, have been denied for so long that it will not pass.
    pub(super) fn is_denied(&self, reads: bool) -> bool {
        let streak = if reads { &self.reads } else { &self.writes };
        streak.denied.is_some_and(|denied| denied.lasted() >= DENIAL)
    }

    /// Says whether what the server refuses cannot be the other engines' doing: so often, and for longer than a ttl.
    pub(super) fn is_refused(&self, now: Moment, timing: &Timing) -> bool {
        self.refusals.count >= MOST_REFUSALS && now.since(self.refusals.since) >= timing.ttl()
    }

    /// Returns the pause before the next call, longer after each failure.
    pub(super) fn pause(&self, timing: &Timing, cx: &mut Context<'_>) -> Duration {
        let now = cx.now.local;
        let longest = timing.attempt_timeout().clamp(LONGEST_PAUSE.0, LONGEST_PAUSE.1);
        // One answer that was lost takes as long by itself.
        let lasts = self.count() >= FEW && self.since().is_some_and(|since| now.since(since) >= PATIENCE);
        let most = if lasts { longest } else { Duration::from_millis(50 << self.count().min(7)).min(longest) };
        let pause = jitter(most, cx);
        // Looks once more just when it would be final.
        let denied = [self.writes.denied, self.reads.denied].into_iter().flatten();
        let left = denied.map(|denied| (denied.answered + DENIAL).since(now)).filter(|left| !left.is_zero()).min();
        left.map_or(pause, |left| pause.min(left))
    }

    /// Returns since when calls fail, if they do.
    pub(super) fn since(&self) -> Option<Moment> {
        let refusals = self.refusals.started().filter(|_| self.is_refused_often());
        [self.writes.started(), self.reads.started(), refusals].into_iter().flatten().min()
    }

    /// Returns how long the next call may take: twice what the slowest took, at least as usual and at the most
    /// [`longest_call`]. A hold of which so much is `left` keeps room for another try, unless calls are known to be so
    /// slow that only one fits.
    pub(super) fn patience(&self, usual: Duration, timing: &Timing, left: Option<Duration>) -> Duration {
        let wanted = (2 * self.pace).min(longest_call(timing)).max(usual);
        let Some(left) = left else { return wanted };
        let room = match self.slow {
            Duration::ZERO => left * 2 / 3,
            slow if left / 2 >= slow * 5 / 4 => left / 2,
            _ => left,
        };
        wanted.min(room).max(usual)
    }

    /// Returns how much of a deadline must remain for a hold to begin: its first renewal must fit.
    pub(super) fn least_left(&self, timing: &Timing) -> Duration {
        (self.slow * 5 / 4).min(longest_call(timing)).max(timing.attempt_timeout())
    }

    /// Returns when people are told next, of calls that fail since then.
    fn due(&self, since: Moment) -> Moment {
        self.told.map_or(since + PATIENCE, |(_, next)| next)
    }

    /// Says what people are to be told now: after five seconds, and then whenever that time has doubled.
    fn report(&mut self, since: Option<Moment>, timing: &Timing, now: Moment) -> Option<Report> {
        match (since, self.told) {
            (Some(since), _) if now >= self.due(since) => {
                let began = self.told.map_or(since, |(began, _)| began);
                let lasting = now.since(began);
                self.told = Some((began, now + lasting));
                let too_slow = self.too_slow.then(|| longest_call(timing));
                Some(Report::Failing { lasting, failures: self.count(), too_slow })
            }
            (None, Some((began, _))) => {
                self.told = None;
                Some(Report::Recovered { lasting: now.since(began) })
            }
            _ => None,
        }
    }

    /// Nobody is left who would want to know. While calls fail it is kept what was told: whoever comes next is no reason to say it
    /// again.
    fn leave(&mut self, failing: bool) -> Option<Report> {
        self.told.take_if(|_| !failing);
        None
    }
}

/// Returns the longest that a call may take. A hold must be renewed again and again by calls as slow as that, each sent
/// when the one before it is confirmed, and each confirmed before the deadline of the one before: so twice its length must
/// fit between a send and the deadline that it brings, `ttl - margin`.
pub(super) fn longest_call(timing: &Timing) -> Duration {
    let bearable = timing.ttl().saturating_sub(timing.safety_margin()) / 2;
    bearable.min(LONGEST_CALL).max(timing.attempt_timeout())
}

/// Returns how long a call took, if that is more than half of what it is given anyway.
fn slow(took: Duration, timing: &Timing) -> Duration {
    if took * 2 > timing.attempt_timeout() { took } else { Duration::ZERO }
}

// === impl Keeper: trouble ===

impl super::Keeper {
    /// Notes how a call went.
    pub(super) fn note(&mut self, trip: &Trip, timing: &Timing, note: impl FnOnce(&mut Trouble, &Trip, &Timing)) {
        let mut trouble = self.trouble.take().unwrap_or_default();
        note(&mut trouble, trip, timing);
        self.trouble = Some(trouble).filter(|trouble| !trouble.is_over());
    }

    /// Notes that no call is on its way, and none due.
    pub(super) fn rest(&mut self) {
        if let Some(mut trouble) = self.trouble.take() {
            trouble.rest();
            self.trouble = Some(trouble).filter(|trouble| !trouble.is_over());
        }
    }

    /// Says whether a denial of such a call is final.
    pub(super) fn is_denied(&self, reads: bool) -> bool {
        self.trouble.as_ref().is_some_and(|trouble| trouble.is_denied(reads))
    }

    /// Returns how many calls in a row have failed.
    pub fn failures(&self) -> u32 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.count())
    }

    /// Says what people are to be told.
    pub(super) fn report(&mut self, now: Moment) -> Option<Report> {
        let (since, timing) = (self.troubled_since(now), self.current_timing());
        if since.is_none() && self.trouble.is_none() {
            return None;
        }
        let mut trouble = self.trouble.take().unwrap_or_default();
        let report =
            if self.serves_somebody() { trouble.report(since, &timing, now) } else { trouble.leave(since.is_some()) };
        self.trouble = Some(trouble).filter(|trouble| !trouble.is_over());
        report
    }

    /// Returns when people are told next, if nothing happens before.
    pub(super) fn report_due(&self) -> Option<Moment> {
        if !self.serves_somebody() {
            return None;
        }
        match self.trouble.as_ref().and_then(|trouble| Some(trouble.due(trouble.since()?))) {
            Some(due) => Some(due),
            None => self.flight.as_ref().filter(|flight| flight.limit > PATIENCE).map(|flight| flight.sent + PATIENCE),
        }
    }

    /// Returns since when nobody here is served: calls fail, or the one on its way has not been answered for long.
    fn troubled_since(&self, now: Moment) -> Option<Moment> {
        let failing = self.trouble.as_ref().and_then(|trouble| trouble.since());
        failing.or_else(|| self.flight.as_ref().map(|flight| flight.sent).filter(|sent| now.since(*sent) >= PATIENCE))
    }

    fn serves_somebody(&self) -> bool {
        !self.tickets.is_empty() || self.hold.is_some() || self.parting.is_some()
    }
}
