//! What an episode is made of: how many processes, which locks, which faults, how often.

use std::time::Duration;

use msync::Timing;

use crate::{process::Home, rng::Rng};

/// One millisecond of true time.
pub(crate) const MILLI: u64 = 1_000_000;

/// What a plan is drawn from. A seed tells the same story only as long as that stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// All that there is.
    Whole,
    /// What there was before denials and ttls beyond 15 s.
    BeforeDenials,
}

/// The story of one seed. Chances are per thousand.
#[allow(clippy::struct_excessive_bools, reason = "a plan is several things at once")]
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How many processes take part.
    pub(crate) processes: usize,
    /// How many acquisitions are begun before the faults end.
    pub(crate) wants: u32,
    /// The timings in use: one, or a mix.
    pub(crate) timings: Vec<Timing>,
    /// The longest ttl in use, in true nanoseconds.
    pub(crate) ttl: u64,
    /// How many acquisitions are instant.
    pub(crate) instant: u64,
    /// Freed, not deleted.
    pub(crate) retained: bool,
    /// The record stands in a Lease.
    pub(crate) leases: bool,
    /// Somebody who elects as client-go does wants it as well.
    pub(crate) stranger: bool,
    /// The wall clocks are up to an hour off.
    pub(crate) wrong_walls: bool,
    /// Restarted processes claim their old record.
    pub(crate) adopt: bool,
    /// Of what their identities tell.
    pub(crate) home: Home,
    /// Engines use sessions.
    pub(crate) sessions: bool,
    /// How many locks there are.
    pub(crate) locks: usize,
    /// Users that want more time in the midst of a hold.
    pub(crate) prolong: u64,
    /// Processes that may not remove the sessions of others.
    pub(crate) forbidden: u64,
    /// Lists that show what was there some time ago.
    pub(crate) stale: u64,
    /// Acquisitions whose future is not polled for a while, or ever, when it has the lock.
    pub(crate) unpolled: u64,
    /// Requests that never arrive.
    pub(crate) request_lost: u64,
    /// Replies that never arrive.
    pub(crate) reply_lost: u64,
    /// Requests that arrive after their time-out, up to four ttl late.
    pub(crate) late: u64,
    /// Requests that arrive twice; the second answer is the one that counts.
    pub(crate) twice: u64,
    /// Requests answered "busy".
    pub(crate) busy: u64,
    /// The server denies everything for a while, as one does that has just started.
    pub(crate) denial: u64,
    /// Slow messages: up to one time-out.
    pub(crate) slow: u64,
    /// Watch events that never arrive.
    pub(crate) event_lost: u64,
    /// Watch events that arrive up to two ttl late.
    pub(crate) event_late: u64,
    /// Faults of whole processes, each drawn when an acquisition begins.
    pub(crate) pause: u64,
    /// Frozen just when it has acquired: for as long as a pause.
    pub(crate) freeze: u64,
    /// No message in or out for a while.
    pub(crate) partition: u64,
    /// Killed, and started again later.
    pub(crate) crash: u64,
    /// Shut down in good order, and started again later.
    pub(crate) shutdown: u64,
    /// Somebody writes an illegible entry into the queue, or fills it.
    pub(crate) junk: u64,
    /// The wall clock jumps by up to an hour.
    pub(crate) jump: u64,
    /// Acquisitions that are given up.
    pub(crate) cancel: u64,
    /// Acquisitions that do not wait.
    pub(crate) tries: u64,
    /// Acquisitions kept for a while after their release.
    pub(crate) at_least: u64,
    /// Acquisitions held for a limited time.
    pub(crate) max_hold: u64,
    /// The most tasks of one process at a time.
    pub(crate) tasks: usize,
    /// The longest pause between two acquisitions of a process, in true nanoseconds.
    pub(crate) think: u64,
    /// How many holds are long, up to three ttl.
    pub(crate) long: u64,
}

// === impl Plan ===

impl Plan {
    /// Draws a plan. One in eight has no faults at all: there, orderly behaviour can be asked for.
    pub(crate) fn draw(rng: &mut Rng, vocabulary: Vocabulary) -> Self {
        let mut plan = Self::orderly(rng, vocabulary);
        if rng.chance(300) {
            (plan.adopt, plan.home) = (true, rng.pick(&[Home::Pod, Home::Pod, Home::SharedPod]));
        }
        if !rng.chance(125) {
            plan.disturb(rng, vocabulary);
        }
        plan
    }

    /// Draws a plan on a Lease; nothing is in good order there where a stranger takes part.
    pub(crate) fn on_leases(rng: &mut Rng) -> Self {
        let plan = Self::draw(rng, Vocabulary::Whole);
        Self { leases: true, stranger: rng.chance(800), wrong_walls: rng.chance(700), ..plan }
    }

    /// Draws a plan of several locks, held for long, by engines that use sessions; often of one ttl, now and then of some.
    pub(crate) fn with_sessions(rng: &mut Rng) -> Self {
        let mut plan = Self::draw(rng, Vocabulary::Whole);
        (plan.sessions, plan.locks) = (true, usize::try_from(rng.between(2, 5)).unwrap_or(2));
        plan.tasks = plan.locks + usize::try_from(rng.below(3)).unwrap_or(0);
        (plan.long, plan.wants) = (rng.pick(&[100, 300, 600]), 90);
        plan.instant = plan.instant.max(500);
        if rng.chance(600) {
            plan.timings.truncate(1);
            plan.ttl = u64::try_from(plan.timings[0].ttl().as_nanos()).unwrap_or(plan.ttl);
        }
        plan
    }

    /// The same for cores, which are also seen by lists that are old, and which may lack a right.
    pub(crate) fn with_sessions_of_cores(rng: &mut Rng) -> Self {
        let mut plan = Self::with_sessions(rng);
        plan.prolong = rng.pick(&[0, 50, 200]);
        plan.forbidden = rng.pick(&[0, 0, 500]);
        if !plan.is_orderly() {
            plan.stale = rng.pick(&[0, 100, 500]);
            if rng.chance(300) {
                // Many sessions die, or seem to.
                (plan.crash, plan.pause) = (rng.between(20, 100), plan.pause.max(rng.between(50, 300)));
            }
        }
        plan
    }

    /// Says whether nothing goes wrong in it: processes end in good order at the most.
    pub(crate) fn is_orderly(&self) -> bool {
        let calls = self.request_lost + self.reply_lost + self.late + self.twice + self.busy + self.slow;
        let events = self.event_lost + self.event_late;
        let machines = self.pause + self.freeze + self.partition + self.crash + self.denial;
        !self.stranger && calls + events + machines + self.junk + self.cancel == 0
    }

    fn orderly(rng: &mut Rng, vocabulary: Vocabulary) -> Self {
        // From 20 s on an entry, from 60 s on any call is given less than its part of the ttl.
        let ttls = [1000, 1500, 3000, 5000, 8000, 15_000, 30_000, 120_000];
        let ttls = if vocabulary == Vocabulary::BeforeDenials { &ttls[..6] } else { &ttls };
        let count = rng.pick(&[1, 1, 3]);
        let percent = rng.pick(&[2, 2, 3, 10]);
        let millis: Vec<u64> = (0..count).map(|_| rng.pick(ttls)).collect();
        Self {
            processes: usize::try_from(rng.between(2, 6)).unwrap_or(2),
            wants: 60,
            timings: millis.iter().map(|ttl| timing(*ttl, percent)).collect(),
            ttl: millis.iter().max().map_or(0, |ttl| ttl * MILLI),
            instant: rng.pick(&[0, 500, 1000, 1000]),
            retained: rng.chance(400),
            leases: false,
            stranger: false,
            wrong_walls: false,
            adopt: false,
            home: Home::None,
            sessions: false,
            locks: 1,
            prolong: 0,
            forbidden: 0,
            stale: 0,
            unpolled: rng.pick(&[0, 0, 50, 300]),
            request_lost: 0,
            reply_lost: 0,
            late: 0,
            twice: 0,
            busy: 0,
            denial: 0,
            slow: 0,
            event_lost: 0,
            event_late: 0,
            pause: 0,
            freeze: 0,
            partition: 0,
            crash: 0,
            shutdown: rng.pick(&[0, 0, 50]),
            junk: 0,
            jump: rng.pick(&[0, 100]),
            cancel: 0,
            tries: rng.pick(&[0, 0, 100, 400]),
            at_least: rng.pick(&[0, 0, 200]),
            max_hold: rng.pick(&[0, 0, 200]),
            tasks: rng.pick(&[1, 1, 2, 3]),
            think: rng.pick(&[2 * MILLI, 20 * MILLI, 200 * MILLI, 2000 * MILLI]),
            long: rng.pick(&[20, 100, 300]),
        }
    }

    fn disturb(&mut self, rng: &mut Rng, vocabulary: Vocabulary) {
        if rng.chance(500) {
            return self.swarm(rng, vocabulary);
        }
        let weight = rng.pick(&[1, 1, 2, 4]);
        let mut some = |most: u64| if rng.chance(400) { 0 } else { rng.below(most * weight + 1) };
        self.request_lost = some(80);
        self.reply_lost = some(80);
        self.late = some(80);
        self.twice = some(80);
        self.busy = some(40);
        self.slow = some(100);
        self.event_lost = some(150);
        self.event_late = some(150);
        self.pause = some(150);
        self.freeze = some(60);
        self.partition = some(100);
        self.crash = some(60);
        self.shutdown = some(40);
        self.junk = some(30);
        self.cancel = some(150);
        if vocabulary == Vocabulary::Whole {
            self.denial = some(40);
        }
    }

    /// Few kinds of faults, each of them often, around hand-offs: some errors need bad luck several times in a row, which a
    /// mixture of everything hardly ever has.
    fn swarm(&mut self, rng: &mut Rng, vocabulary: Vocabulary) {
        (self.instant, self.retained, self.tries) = (1000, rng.chance(400), 0);
        (self.tasks, self.think) = (rng.pick(&[1, 2, 3]), rng.pick(&[2 * MILLI, 200 * MILLI]));
        (self.at_least, self.max_hold, self.long) = (0, 0, rng.pick(&[20, 100]));
        let mut some = |often: u64| if rng.chance(500) { 0 } else { rng.between(often / 4, often) };
        self.reply_lost = some(300);
        self.late = some(500);
        self.twice = some(300);
        self.slow = some(600);
        self.event_lost = some(500);
        self.event_late = some(500);
        self.pause = some(500);
        self.freeze = some(700);
        self.partition = some(300);
        self.cancel = some(200);
        if vocabulary == Vocabulary::Whole {
            self.denial = some(80);
        }
    }
}

fn timing(ttl: u64, percent: u64) -> Timing {
    let margin = Duration::from_millis(ttl * percent / 100);
    Timing::with_ttl(Duration::from_millis(ttl)).and_then(|timing| timing.margin(margin)).expect("a safe timing")
}
