//! The judge: knows true time, and holds every step of every process against the promises.

use std::collections::BTreeMap;

use msync::{
    FencingToken, LossReason,
    unstable::{
        protocol::{Call, Hold, Keeper, Ticket},
        record::{Change, EngineId, Record, Term},
        store::Snapshot,
    },
};

use crate::{
    plan::MILLI,
    process::{Phase, Process, Seat},
};

/// A process, and an object.
pub(crate) type Spot = (usize, usize);

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
    /// Of all, those that stood under a session when they were had.
    pub sheltered: u64,
    /// Sessions that were opened.
    pub opened: u64,
    /// Sessions that were removed, by their own engine or by another.
    pub removed: u64,
    /// Of them by another.
    pub killed: u64,
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
    /// What it knows of each lock.
    books: Vec<Book>,
}

/// What is known of one lock.
#[derive(Clone, Debug, Default)]
struct Book {
    newest: Option<FencingToken>,
    /// Since when nobody has held while somebody waited, once the faults have ended.
    idle_since: Option<u64>,
    /// Who keeps the lock after its release, and until when in true time.
    kept: Option<(usize, u64)>,
    /// Whose each term is: a reservation does not tell.
    makers: BTreeMap<Term, EngineId>,
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
        self.sheltered += other.sheltered;
        self.opened += other.opened;
        self.removed += other.removed;
        self.killed += other.killed;
        self.failed += other.failed;
        self.losses += other.losses;
        self.calls += other.calls;
        self.steps += other.steps;
        self.gap = self.gap.max(other.gap);
    }
}

// === impl Oracle ===

impl Oracle {
    /// Judges so many locks.
    pub(crate) fn new(locks: usize) -> Self {
        Self { books: vec![Book::default(); locks], ..Self::default() }
    }

    /// Notes that a promise was broken.
    pub(crate) fn broken(&mut self, at: u64, what: impl Into<String>) {
        let what = what.into();
        self.verdict.get_or_insert_with(|| format!("at {} us: {what}", at / 1000));
    }

    /// S1 and S2: a process says that it has a lock.
    pub(crate) fn acquired(&mut self, at: u64, (who, what): Spot, token: FencingToken, all: &[Process]) {
        self.tally.acquisitions += 1;
        let newest = self.books[what].newest.replace(token);
        if newest.is_some_and(|newest| newest >= token) {
            self.broken(at, format!("S1: token {token} of p{who} is not above {newest:?}"));
        }
        for other in all.iter().filter(|other| other.index != who && other.believes(what, at)) {
            let until = other.clock.true_time(other.seat(what).standing.until);
            self.broken(at, format!("S2: p{who} has it while p{} believes until {} us", other.index, until / 1000));
        }
        // Whoever keeps it may have it again.
        let kept = self.books[what].kept.take();
        if let Some((_, until)) = kept.filter(|(keeper, until)| *keeper != who && *until > at) {
            self.broken(at, format!("S8: p{who} has it although it was to be kept until {} us", until / 1000));
        }
        self.books[what].idle_since = None;
    }

    /// S4: what was lost stays lost, whatever the step was.
    pub(crate) fn lost_is_final(&mut self, at: u64, process: &Process, seat: &Seat, before: Option<Ticket>) {
        let Some(ticket) = before else { return };
        if seat.standing.loss(ticket, process.clock.local(at)).is_none() {
            self.broken(at, format!("S4: p{} holds again what it had lost", process.index));
        }
    }

    /// S6, S7: what a process sends must be for somebody, and no release may be sent while a body runs.
    pub(crate) fn sent(&mut self, at: u64, process: &Process, seat: &Seat, call: &Call, keeper: &Keeper) {
        self.tally.calls += 1;
        let held = keeper.hold().filter(|hold| hold.user.is_some());
        match call {
            Call::Apply(Change::Renew { .. }) if !is_wanted(at, seat, keeper) => {
                self.broken(at, format!("S6: p{} renews for nobody", process.index));
            }
            Call::Apply(Change::Reserve { .. }) if seat.kept_until <= at => {
                self.broken(at, format!("S6: p{} keeps what nobody had", process.index));
            }
            Call::Apply(Change::Renew { under, .. })
                if keeper.hold().is_some_and(|hold| is_lost(hold) && !leads_out(hold, *under)) =>
            {
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

    /// S4 and S6: a session that was lost is renewed no more, nor one whose engine hears nothing of what stands under it.
    pub(crate) fn sent_of_session(&mut self, at: u64, process: &Process, call: &Call, keeper: &Keeper) {
        self.tally.calls += 1;
        let Call::Apply(Change::Renew { ttl, .. }) = call else { return };
        // Before it is had nothing stands under it.
        let Some(hold) = keeper.hold() else { return };
        if is_lost(hold) {
            self.broken(at, format!("S4: p{} renews a session that it has lost", process.index));
        }
        let deaf_since = process.sessions.as_ref().and_then(|sessions| sessions.deaf_since);
        let most = u64::try_from((*ttl * 2).as_nanos()).unwrap_or(u64::MAX).max(90_000 * MILLI) * 102 / 100;
        if deaf_since.is_some_and(|since| at > since + most) {
            self.broken(
                at,
                format!("S6: p{} renews a session, and would not hear of what nobody wants", process.index),
            );
        }
    }

    /// S5: what a process gives back must be its own when the server applies it, however late.
    pub(crate) fn served(
        &mut self,
        at: u64,
        what: usize,
        sender: &EngineId,
        call: &Call,
        before: &Record,
        seat: Option<&Seat>,
    ) {
        // A reservation of its own, which landed late, has its term.
        let reserved = before.is_reserved() && self.books[what].makers.get(&before.term) == Some(sender);
        let own = before.engine == *sender || reserved;
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
        let hold = seat.and_then(|seat| seat.keeper.as_ref()?.hold()).filter(|hold| hold.user.is_some());
        if release && hold.is_some_and(|hold| hold.term == before.term) {
            self.broken(at, format!("S7: a late release of {sender} hit its own user"));
        }
        if let Call::Apply(Change::Leave { entry, .. }) = call
            && entry.claim().is_some_and(|claim| claim.engine != *sender)
        {
            self.broken(at, format!("S5: {sender} removed the entry {}", entry.as_str()));
        }
    }

    /// Remembers whose term a record shows.
    pub(crate) fn committed(&mut self, what: usize, after: Option<&Snapshot>) {
        let record = after.map(|snapshot| &snapshot.record).filter(|record| !record.is_free() && !record.is_reserved());
        self.books[what].makers.extend(record.map(|record| (record.term, record.engine.clone())));
    }

    /// S8: a release before `at_least` keeps the lock for its process.
    pub(crate) fn keeps(&mut self, (who, what): Spot, until: u64) {
        self.books[what].kept = Some((who, until));
    }

    /// The wall clocks of this episode are not together: what a process leaves behind is kept by nobody.
    pub(crate) fn forget_kept(&mut self, who: usize) {
        for book in &mut self.books {
            book.kept.take_if(|(keeper, _)| *keeper == who);
        }
    }

    /// Measures how long nobody holds while somebody waits, once the faults have ended.
    pub(crate) fn watch_gaps(&mut self, at: u64, all: &[Process], ttl: u64) {
        for what in 0..self.books.len() {
            let held = |process: &Process| process.believes(what, at) || process.keeps(what, at);
            let idle = all.iter().any(|process| process.waits(what)) && !all.iter().any(held);
            if !idle {
                self.books[what].idle_since = None;
                continue;
            }
            let gap = at - *self.books[what].idle_since.get_or_insert(at);
            self.tally.gap = self.tally.gap.max(gap * 1000 / ttl.max(1));
            if gap > 5 * ttl + LONGEST_GAP {
                self.broken(at, "liveness: nobody holds, somebody waits, and nothing is wrong any more");
            }
        }
    }

    /// Everything must be over at the end, and everything of the living must be gone from the records.
    pub(crate) fn ended(&mut self, at: u64, records: &[&Record], all: &[Process]) {
        for process in all.iter().filter(|process| process.up) {
            let (who, engine) = (process.index, &process.engine);
            for seat in process.seats.values() {
                for task in &seat.tasks {
                    self.broken(at, format!("liveness: p{who} still has {:?} {:?}", task.phase, task.want));
                }
                if let Some(keeper) = &seat.keeper {
                    self.broken(at, format!("liveness: a keeper of p{who} never became idle: {keeper:?}"));
                }
            }
            let entry = |record: &Record| {
                record.waiters.iter().filter_map(msync::unstable::record::Entry::claim).any(|c| c.engine == *engine)
            };
            let stays = |record: &&&Record| record.engine == *engine || (!record.is_free() && entry(record));
            if let Some(record) = records.iter().find(stays) {
                self.broken(at, format!("liveness: p{who} is still in the record {record:?}"));
            }
        }
    }
}

/// Says whether a renewal serves a user who has the lock, `at_least` of one who had it, or one who waits. Judged by what users
/// did, not by what the keeper knows of it.
fn is_wanted(at: u64, seat: &Seat, keeper: &Keeper) -> bool {
    match keeper.standing().ticket {
        Some(ticket) => seat.has_taken(ticket),
        // An accepted grant, or the next of this process: unless the last one did not take it.
        None if seat.kept_until > at => true,
        None => keeper.waiting() > 0 && keeper.hold().is_none_or(|hold| seat.untaken != Some(hold.term)),
    }
}

fn is_lost(hold: &Hold) -> bool {
    hold.ended.is_some_and(|reason| reason != LossReason::ShutDown)
}

/// Says whether a renewal takes a hold that is over out of its session, which would keep it alive for nobody.
fn leads_out(hold: &Hold, under: Term) -> bool {
    !hold.under.is_none() && under.is_none()
}

/// Says whether a task is in the phase of waiting.
pub(crate) fn is_waiting(phase: Phase) -> bool {
    matches!(phase, Phase::Waiting(_))
}
