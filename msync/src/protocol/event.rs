//! What goes into a keeper and what comes out: events and wishes, calls and their outcomes, notices, standing.

use std::time::Duration;

use super::{Ask, Report, Verdict};
use crate::{
    FencingToken, LossReason, Timing,
    clock::Moment,
    record::{Change, Refused, Term},
    store::{Snapshot, Version},
};

/// One acquisition within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// How long an acquisition is ready to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Patience {
    /// Until it has the lock, or is cancelled.
    Wait,
    /// Only as long as it takes to find out whether the lock is free: at most one ttl, for a record that looks dead.
    Try,
    /// Not at all: a look, and at the most one write that takes the lock if it is free or dead by then (sidecar).
    Poll {
        /// Only an object that is absent is taken.
        create_only: bool,
    },
}

/// An acquisition that had the lock, and had it no more when its future came for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Again {
    /// Its [place](Want::place) before.
    pub place: Ticket,
    /// For how long its future was not polled after the lock had been taken back.
    pub unpolled: Duration,
}

/// What a local acquisition wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Want {
    /// Which acquisition.
    pub ticket: Ticket,
    /// How it is to be kept alive.
    pub timing: Timing,
    /// The record is kept and freed at release, not deleted (elections, sidecar).
    pub retained: bool,
    /// A grant counts as held at once (locks), or must be accepted first (campaigns, which may wait for days).
    pub instant: bool,
    /// A record of an earlier incarnation of this engine may be claimed at once (sidecar).
    pub adopt: bool,
    /// How long it waits.
    pub patience: Patience,
    /// Kept at least this long, even if released before.
    pub at_least: Duration,
    /// Held at the most this long.
    pub max_hold: Option<Duration>,
    /// It had the lock before, in vain.
    pub again: Option<Again>,
    /// It is to be a session, of this term.
    pub session: Option<Term>,
}

// === impl Want ===

impl Want {
    /// What a plain lock wants, with this timing: whoever waits is held for at once, however long it takes.
    pub fn new(ticket: Ticket, timing: Timing) -> Self {
        Self {
            ticket,
            timing,
            retained: false,
            instant: true,
            adopt: false,
            patience: Patience::Wait,
            at_least: Duration::ZERO,
            max_hold: None,
            again: None,
            session: None,
        }
    }

    /// Returns the acquisition in whose place among its like this one waits (promise L3): its own, or the one that it goes on
    /// with. A process that stood still, or a lock that was lost, is no fault of a future which comes as soon as it may: it
    /// has waited longest. One that is left alone for longer waits behind the others, or the lock would be offered to it
    /// again and again.
    pub fn place(&self) -> Ticket {
        let again = self.again.filter(|again| again.unpolled <= self.timing.attempt_timeout() / 2);
        again.map_or(self.ticket, |again| again.place)
    }
}

/// What happens to a keeper.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// A local acquisition begins.
    Want(Want),
    /// A local acquisition is given up, wanted or already had.
    Cancel(Ticket),
    /// A user has had the guard of its acquisition since a moment: from then on it is renewed and kept for it.
    Collected(Ticket, Moment),
    /// A user that has its guard wants it kept for at least so long from now on: a set is complete.
    Keep(Ticket, Duration),
    /// A user is done: its body and arguments have been dropped. It may wish for a successor, by owner.
    Release(Ticket, Option<String>),
    /// A user wants its hold renewed at once.
    Prolong(Ticket),
    /// The call that [`Action::call`] asked for has ended.
    Reply(Outcome),
    /// A watch saw the record.
    Seen(Snapshot),
    /// A watch saw that the object was deleted, at a version.
    Deleted(u64),
    /// The inbox watch saw that the record is no longer ours, at a version.
    Disowned(u64),
    /// The inbox watch started over and did not list this lock.
    Unlisted,
    /// A watch of this lock itself started over and did not find it: a reason to read it, no more.
    Missing,
    /// What is known now of a session that the record named.
    Judged(Term, Verdict),
    /// The client shuts down.
    ShutDown,
    /// Time has passed.
    Tick,
}

/// A call to the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// Read the newest state.
    Read,
    /// Apply a change.
    Apply(Change),
    /// Delete the object, if it is still in this state.
    Delete(Version),
}

// === impl Call ===

impl Call {
    /// Serves it as a store of one object does, whose next version has a number; what is stored then stands in `stored`.
    /// For those who need no more of a store than that.
    pub fn serve(&self, stored: &mut Option<Snapshot>, number: u64) -> Outcome {
        match self {
            Self::Read => Outcome::Read(stored.clone()),
            Self::Apply(change) => match change.apply(stored.as_ref().map(|stored| &stored.record)) {
                Err(refused) => Outcome::Refused(refused),
                Ok(record) => {
                    let uid = stored.as_ref().map_or_else(|| "uid".into(), |stored| stored.version.uid.clone());
                    let snapshot = Snapshot { version: Version { uid, number }, record };
                    *stored = Some(snapshot.clone());
                    Outcome::Applied(snapshot)
                }
            },
            Self::Delete(version) => match stored {
                None => Outcome::Refused(Refused::Absent),
                Some(other) if other.version != *version => Outcome::Refused(Refused::Mismatch),
                Some(_) => {
                    *stored = None;
                    Outcome::Deleted
                }
            },
        }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// A read's answer.
    Read(Option<Snapshot>),
    /// A change was applied and left this.
    Applied(Snapshot),
    /// The object was deleted.
    Deleted,
    /// A condition did not hold. With retries hidden below us, an earlier delivery may nevertheless have been applied.
    Refused(Refused),
    /// Certainly not applied; try again, after the time given if any.
    Busy(Option<Duration>),
    /// Never sent: it had to wait for its turn for too long.
    Unsent,
    /// Perhaps applied, perhaps later.
    Unknown,
    /// Certainly not applied: the rights, the credentials or the resource are missing. Final only when it lasts, for a
    /// server that has just started says so of everything.
    Denied,
    /// Certainly not applied, and trying again will not help.
    Fatal,
}

/// What the driver is to tell a local acquisition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Notice {
    /// It has the lock, once it [collects](Event::Collected) it.
    Acquired(Ticket, FencingToken),
    /// It has not collected the lock in time: [`Event::Cancel`] follows, or [`Event::Collected`] if it has after all.
    Recall(Ticket),
    /// Somebody else has it, and it did not want to wait.
    Busy(Ticket),
    /// The store failed; the driver knows how.
    Failed(Ticket),
    /// The client shuts down.
    ShutDown(Ticket),
    /// Its release has been acknowledged, or needed no write.
    Released(Ticket),
    /// The same, and the candidate that it named has the lock next.
    HandedOver(Ticket),
    /// Its release could not be made known; the ttl will.
    Abandoned(Ticket),
}

/// What guards see of a keeper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Standing {
    /// Whose turn it is.
    pub ticket: Option<Ticket>,
    /// Held until then, on the local clock.
    pub until: Moment,
    /// Set when the hold has ended before its user did.
    pub ended: Option<LossReason>,
    /// `until` is the end of `max_hold`, not of the lease.
    pub max_hold_ends: bool,
    /// The last renewal was refused, so that a loss by time is the server's will and not the network's.
    pub refused: bool,
    /// The newest believed version of the record.
    pub version: u64,
    /// The term of the hold.
    pub term: Term,
    /// It is a leadership, which is judged by its health.
    pub election: bool,
}

// === impl Standing ===

impl Standing {
    /// Says whether, and why, a ticket's hold is over.
    pub fn loss(&self, ticket: Ticket, now: Moment) -> Option<LossReason> {
        if self.ticket != Some(ticket) {
            return Some(self.ended.unwrap_or(LossReason::Released));
        }
        let late = match (self.max_hold_ends, self.refused) {
            (true, _) => LossReason::MaxHold,
            (false, true) => LossReason::Refused,
            (false, false) => LossReason::Deadline,
        };
        self.ended.or_else(|| (now >= self.until).then_some(late))
    }
}

/// What is to be done after a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Action {
    /// A call to send; its [`Event::Reply`] must follow: an [`Outcome::Unsent`] after [`Action::turn`] if it was not sent, an
    /// [`Outcome::Unknown`] after [`Action::timeout`] from the send.
    pub call: Option<Call>,
    /// How long the call may wait to be sent, before it is thought over.
    pub turn: Duration,
    /// How long it may take then.
    pub timeout: Duration,
    /// What to tell whom.
    pub notices: Vec<Notice>,
    /// What to tell people, once.
    pub report: Option<Report>,
    /// When to step again, if nothing happens before.
    pub wake: Option<Moment>,
    /// Whether this lock itself is to be watched, besides the inbox.
    pub watch: bool,
    /// Whether the user is to say so at once when it collects the lock: something waits for that.
    pub tell: bool,
    /// What is to be found out of a session of another engine.
    pub ask: Option<Ask>,
    /// A session would pay for locks of this timing, if more of them are held.
    pub opens: Option<Timing>,
}
