//! The judge: knows true time, and holds every step of every process against the promises.

use msync::{
    FencingToken, LossReason,
    unstable::{
        protocol::{Call, Hold, Keeper, Ticket},
        record::{Change, EngineId, Record},
    },
};

use crate::{
    plan::MILLI,
    process::{Phase, Process},
};

/// Beside five ttl, the longest time without a holder: some dead waiters, each granted and then given up.
const LONGEST_GAP: u64 = 10_000 * MILLI;

/// What an episode amounted to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Acquisitions, local ones included.
    pub acquisitions: u64,
    /// Of them by an instant grant.
    pub instant: u64,
    /// Of them by an accepted grant.
    pub accepted: u64,
    /// Of them without a write, from another task of the same process.
    pub local: u64,
    /// Given back because nobody collected it in time.
    pub recalled: u64,
    /// Left behind as a reservation.
    pub reserved: u64,
    /// Failed, for the server denied everything for too long.
    pub failed: u64,
    /// Losses that a user was told of before it had ended.
    pub losses: u64,
    /// Calls to the store.
    pub calls: u64,
    /// Steps of keepers.
    pub steps: u64,
    /// The longest time without a holder while somebody waited and nothing was wrong, in thousandths of the longest ttl.
    pub gap: u64,
}

/// The judge of one episode.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// What it has counted.
    pub(crate) tally: Tally,
    /// The first promise that was broken.
    pub(crate) verdict: Option<String>,
    newest: Option<FencingToken>,
    /// Since when nobody has held while somebody waited, once the faults have ended.
    idle_since: Option<u64>,
    /// Who keeps the lock after its release, and until when in true time.
    kept: Option<(usize, u64)>,
}

// === impl Tally ===

impl Tally {
    /// Adds another episode's.
    pub fn add(&mut self, other: &Self) {
        self.acquisitions += other.acquisitions;
        self.instant += other.instant;
        self.accepted += other.accepted;
        self.local += other.local;
        self.recalled += other.recalled;
        self.reserved += other.reserved;
        self.failed += other.failed;
        self.losses += other.losses;
        self.calls += other.calls;
        self.steps += other.steps;
        self.gap = self.gap.max(other.gap);
    }
}

// === impl Oracle ===

impl Oracle {
    /// Notes that a promise was broken.
    pub(crate) fn broken(&mut self, at: u64, what: impl Into<String>) {
        let what = what.into();
        self.verdict.get_or_insert_with(|| format!("at {} us: {what}", at / 1000));
    }

    /// S1 and S2: a process says that it has the lock.
    pub(crate) fn acquired(&mut self, at: u64, who: usize, token: FencingToken, all: &[Process]) {
        self.tally.acquisitions += 1;
        if self.newest.is_some_and(|newest| newest >= token) {
            self.broken(at, format!("S1: token {token} of p{who} is not above {:?}", self.newest));
        }
        self.newest = Some(token);
        for other in all.iter().filter(|other| other.index != who && other.believes(at)) {
            let until = other.clock.true_time(other.standing.until);
            self.broken(at, format!("S2: p{who} has it while p{} believes until {} us", other.index, until / 1000));
        }
        // Whoever keeps it may have it again.
        if let Some((_, until)) = self.kept.take().filter(|(keeper, until)| *keeper != who && *until > at) {
            self.broken(at, format!("S8: p{who} has it although it was to be kept until {} us", until / 1000));
        }
        self.idle_since = None;
    }

    /// S4: what was lost stays lost, whatever the step was.
    pub(crate) fn lost_is_final(&mut self, at: u64, process: &Process, before: Option<Ticket>) {
        let Some(ticket) = before else { return };
        if process.standing.loss(ticket, process.clock.local(at)).is_none() {
            self.broken(at, format!("S4: p{} holds again what it had lost", process.index));
        }
    }

    /// S6, S7: what a process sends must be for somebody, and no release may be sent while a body runs.
    pub(crate) fn sent(&mut self, at: u64, process: &Process, call: &Call, keeper: &Keeper) {
        self.tally.calls += 1;
        let held = keeper.hold().filter(|hold| hold.user.is_some());
        match call {
            Call::Apply(Change::Renew { .. }) if !is_wanted(at, process, keeper) => {
                self.broken(at, format!("S6: p{} renews for nobody", process.index));
            }
            Call::Apply(Change::Reserve { .. }) if process.kept_until <= at => {
                self.broken(at, format!("S6: p{} keeps what nobody had", process.index));
            }
            Call::Apply(Change::Renew { .. }) if keeper.hold().is_some_and(is_lost) => {
                self.broken(at, format!("S4: p{} renews what it has lost", process.index));
            }
            Call::Apply(Change::Grant { term, .. } | Change::Free { term, .. })
                if held.is_some_and(|hold| hold.term == *term) =>
            {
                self.broken(at, format!("S7: p{} releases under its user", process.index));
            }
            Call::Delete(_) if held.is_some() => {
                self.broken(at, format!("S7: p{} deletes under its user", process.index));
            }
            _ => {}
        }
    }

    /// S5: what a process gives back must be its own when the server applies it, however late.
    pub(crate) fn served(
        &mut self,
        at: u64,
        sender: &EngineId,
        call: &Call,
        before: &Record,
        process: Option<&Process>,
    ) {
        let own = before.engine == *sender;
        self.tally.reserved += u64::from(matches!(call, Call::Apply(Change::Reserve { .. })));
        let release = match call {
            Call::Apply(Change::Grant { index, .. }) => {
                if *index != 0 {
                    self.broken(at, "L3: a grant went past the head of the queue");
                }
                true
            }
            Call::Apply(Change::Free { .. }) | Call::Delete(_) => true,
            _ => false,
        };
        if release && !own {
            self.broken(at, format!("S5: {sender} gave back a term of {}", before.engine));
        }
        let hold = process.and_then(|process| process.keeper.as_ref()?.hold()).filter(|hold| hold.user.is_some());
        if release && hold.is_some_and(|hold| hold.term == before.term) {
            self.broken(at, format!("S7: a late release of {sender} hit its own user"));
        }
        if let Call::Apply(Change::Leave { entry, .. }) = call
            && entry.claim().is_some_and(|claim| claim.engine != *sender)
        {
            self.broken(at, format!("S5: {sender} removed the entry {}", entry.as_str()));
        }
    }

    /// S8: a release before `at_least` keeps the lock for its process.
    pub(crate) fn keeps(&mut self, who: usize, until: u64) {
        self.kept = Some((who, until));
    }

    /// The wall clocks of this episode are not together: what a process leaves behind is kept by nobody.
    pub(crate) fn forget_kept(&mut self, who: usize) {
        self.kept.take_if(|(keeper, _)| *keeper == who);
    }

    /// Measures how long nobody holds while somebody waits, once the faults have ended.
    pub(crate) fn watch_gap(&mut self, at: u64, all: &[Process], ttl: u64) {
        let idle =
            all.iter().any(Process::waits) && !all.iter().any(|process| process.believes(at) || process.keeps(at));
        if !idle {
            self.idle_since = None;
            return;
        }
        let since = *self.idle_since.get_or_insert(at);
        let gap = at - since;
        self.tally.gap = self.tally.gap.max(gap * 1000 / ttl.max(1));
        if gap > 5 * ttl + LONGEST_GAP {
            self.broken(at, "liveness: nobody holds, somebody waits, and nothing is wrong any more");
        }
    }

    /// Everything must be over at the end, and everything of the living must be gone from the record.
    pub(crate) fn ended(&mut self, at: u64, record: Option<&Record>, all: &[Process]) {
        for process in all.iter().filter(|process| process.up) {
            for task in &process.tasks {
                self.broken(at, format!("liveness: p{} still has {:?} {:?}", process.index, task.phase, task.want));
            }
            if let Some(keeper) = &process.keeper {
                self.broken(at, format!("liveness: the keeper of p{} never became idle: {keeper:?}", process.index));
            }
            let engine = &process.engine;
            let entry = |record: &Record| {
                record.waiters.iter().filter_map(msync::unstable::record::Entry::claim).any(|c| c.engine == *engine)
            };
            if record.is_some_and(|record| record.engine == *engine || (!record.is_free() && entry(record))) {
                self.broken(at, format!("liveness: p{} is still in the record {record:?}", process.index));
            }
        }
    }
}

/// Says whether a renewal serves a user who has the lock, `at_least` of one who had it, or one who waits. Judged by what users
/// did, not by what the keeper knows of it.
fn is_wanted(at: u64, process: &Process, keeper: &Keeper) -> bool {
    match keeper.standing().ticket {
        Some(ticket) => process.has_taken(ticket),
        // An accepted grant, or the next of this process: unless the last one did not take it.
        None if process.kept_until > at => true,
        None => keeper.waiting() > 0 && keeper.hold().is_none_or(|hold| process.untaken != Some(hold.term)),
    }
}

fn is_lost(hold: &Hold) -> bool {
    hold.ended.is_some_and(|reason| reason != LossReason::ShutDown)
}

/// Says whether a task is in the phase of waiting.
pub(crate) fn is_waiting(phase: Phase) -> bool {
    matches!(phase, Phase::Waiting(_))
}
