//! The record of a lock and the changes it can undergo: the one definition of their semantics.
//!
//! Pure: no clock, no I/O. The memory store and the model checker call [`Change::apply`]; the Kubernetes store sends
//! the same change as one JSON patch whose `test` operations are the conditions, and a property test holds both equal.

mod advert;
mod identity;
pub mod leased;
mod succession;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

pub use advert::Advert;
pub use identity::{EngineId, Role};

use crate::{
    clock::Wall,
    config::{MAX_TTL, MIN_TTL},
};

/// The most waiters that a record holds.
pub const MAX_WAITERS: usize = 64;

/// What a challenger waits when a record's ttl is missing or absurd: longer than most holders' own ttl.
pub const FALLBACK_TTL: Duration = Duration::from_secs(300);

/// A random 64-bit number, written as 16 hexadecimal digits; nothing at all is written as "".
macro_rules! nonce {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl $name {
            /// Stands for "nobody": written as an empty string.
            pub const NONE: Self = Self(0);

            /// Makes one of random bits.
            pub fn random(bits: u64) -> Self {
                Self(bits.max(1))
            }

            /// Says whether this is [`Self::NONE`].
            pub fn is_none(self) -> bool {
                self == Self::NONE
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.is_none() { Ok(()) } else { write!(f, "{:016x}", self.0) }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:x})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Illegible;

            fn from_str(text: &str) -> Result<Self, Illegible> {
                parse_nonce(text).map(Self).ok_or(Illegible)
            }
        }
    };
}

nonce! {
    /// Identifies one acquisition, from its first write to its release.
    Term
}
nonce! {
    /// Identifies one attempt to make or prolong a hold.
    Beat
}

/// A text in a record that nobody of ours has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not of the form that msync writes")]
pub struct Illegible;

fn parse_nonce(text: &str) -> Option<u64> {
    let canonical = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match text.len() {
        0 => Some(0),
        // Sixteen zeros would read as nobody while conditions compare texts: then no change would ever fit.
        16 if text.bytes().all(canonical) => u64::from_str_radix(text, 16).ok().filter(|n| *n != 0),
        _ => None,
    }
}

/// How far the wall clocks of a cluster may be apart before a [reservation](Record::is_reserved) is cut short.
pub const WALL_SKEW: Duration = Duration::from_secs(2);

/// What a holder or a waiter puts down: who, for which acquisition, for how long, and whether a grant counts at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// The engine that claims.
    pub engine: EngineId,
    /// Its acquisition.
    pub term: Term,
    /// How long others must see no change before they may take over. Whole milliseconds.
    pub ttl: Duration,
    /// A grant to this claim counts as held at once.
    pub instant: bool,
}

// === impl Claim ===

impl Claim {
    /// Writes the claim as an entry of the queue, with the date of who joins.
    pub fn entry(&self, wall: Wall) -> Entry {
        let how = if self.instant { "instant" } else { "accept" };
        Entry(format!("{} {} {} {how} {wall}", self.term, self.engine, self.ttl.as_millis()).into())
    }
}

/// One place in the queue, as the text that stands in the record: `<term> <engine> <ttl ms> instant|accept <date>`.
///
/// Kept as text because the conditions of a change compare texts, and because an entry that does not parse must still
/// be removable. The date is for people: nothing is decided by it, and an entry without a legible one waits as well as any.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry(Arc<str>);

// === impl Entry ===

impl Entry {
    /// Takes an entry as it stands in a record.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the claim; `None` for a dead waiter, whom nobody can grant anything.
    pub fn claim(&self) -> Option<Claim> {
        let mut parts = self.0.split(' ');
        let (term, engine, ttl, how) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let term: Term = term.parse().ok().filter(|t: &Term| !t.is_none())?;
        let digits = Some(ttl).filter(|ttl| ttl.bytes().all(|b| b.is_ascii_digit()))?;
        let ttl = Duration::from_millis(digits.parse().ok()?);
        let instant = match how {
            "instant" => true,
            "accept" => false,
            _ => return None,
        };
        let legible = !engine.is_empty() && (MIN_TTL..=MAX_TTL).contains(&ttl);
        legible.then(|| Claim { engine: EngineId::from_text(engine), term, ttl, instant })
    }

    /// Reads when it joined, by its own wall clock. For people.
    pub fn since(&self) -> Option<Wall> {
        Wall::parse(self.0.split(' ').nth(4)?)
    }

    /// Says whether an engine has written it, legibly.
    pub fn is_of(&self, engine: &EngineId) -> bool {
        self.0.split(' ').nth(1) == Some(engine.as_str()) && self.claim().is_some()
    }

    /// Reads the term alone, which is what a challenger ages entries by.
    pub fn term(&self) -> Option<Term> {
        self.0.split(' ').next()?.parse().ok().filter(|t: &Term| !t.is_none())
    }
}

/// The pair that every write which makes or prolongs a hold changes: what a challenger watches for a sign of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// The acquisition that holds; none when free.
    pub term: Term,
    /// Its newest beat.
    pub beat: Beat,
}

impl Pair {
    /// The pair of a free record.
    pub const FREE: Self = Self { term: Term::NONE, beat: Beat::NONE };
}

/// The content of a `Lock`, as the protocol sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    /// The engine that holds; "" when free.
    pub engine: EngineId,
    /// The acquisition that holds; none when free.
    pub term: Term,
    /// The nonce of the last write that made or prolonged the hold.
    pub beat: Beat,
    /// How many such writes this term has had; 0 is granted and not yet confirmed by the holder.
    pub renewals: u64,
    /// A grant to this claim counts as held at once.
    pub instant: bool,
    /// The holder's ttl as it stands there; see [`Record::patience`].
    pub ttl: Duration,
    /// When this term began, or ended if the lock is free, by the writer's wall clock; `None` when unreadable. For people.
    pub acquired: Option<Wall>,
    /// When it would end without another renewal, by the writer's wall clock; `None` when unreadable.
    pub expiry: Option<Wall>,
    /// The queue, first come first.
    pub waiters: Vec<Entry>,
    /// The engine that was the first of the queue when the holder was granted the lock; "" when nobody was. A hint: it tells
    /// whom to watch from then on, who else would look once per ttl. Nobody believes anything because of it.
    pub next: EngineId,
    /// The owner who was first in the queue at the last write that made or prolonged the hold, if anybody was. For people.
    pub next_owner: Option<Arc<str>>,
    /// What a holder says of itself; of another term, it is out of date.
    pub advertised: Option<Advert>,
    /// The session that keeps the hold alive instead of renewals of its own, if one does; the pair says nothing then.
    pub under: Term,
}

// === impl Record ===

impl Record {
    /// Says that nobody holds the lock.
    pub fn is_free(&self) -> bool {
        self.term.is_none()
    }

    /// Says whether no process holds it any more, and `at_least` of the last one keeps it until its expiry: nobody believes
    /// in it, so the wall clock may end it.
    pub fn is_reserved(&self) -> bool {
        !self.is_free() && self.engine.is_reserved()
    }

    /// Returns what a challenger watches.
    pub fn pair(&self) -> Pair {
        Pair { term: self.term, beat: self.beat }
    }

    /// Returns how long a challenger must see no change: the record's ttl, not the challenger's own.
    pub fn patience(&self) -> Duration {
        if (MIN_TTL..=MAX_TTL).contains(&self.ttl) { self.ttl } else { FALLBACK_TTL }
    }

    /// Returns what the holder says of itself.
    pub fn advert(&self) -> Option<&str> {
        self.advertised.as_ref().filter(|advert| advert.term == self.term).map(|advert| &*advert.text)
    }

    /// Finds the place of a term in the queue.
    pub fn rank_of(&self, term: Term) -> Option<usize> {
        self.waiters.iter().position(|entry| entry.term() == Some(term))
    }

    /// Names the session that it is held under. Only a hold with a beat of its own says when it would end.
    fn put_under(&mut self, session: Term) {
        self.under = session;
        self.expiry = self.expiry.filter(|_| session.is_none());
    }

    fn held_by(claim: &Claim, beat: Beat, renewals: u64, wall: Wall) -> Self {
        Self {
            engine: claim.engine.clone(),
            term: claim.term,
            beat,
            renewals,
            instant: claim.instant,
            ttl: claim.ttl,
            acquired: Some(wall),
            expiry: Some(wall + claim.ttl),
            waiters: Vec::new(),
            next: EngineId::default(),
            next_owner: None,
            advertised: None,
            under: Term::NONE,
        }
    }
}

/// A change of one lock, applied atomically or refused as a whole.
///
/// Each carries its date, because the server computes no field.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Change {
    /// Makes the object, held by the claim. Condition: there is none.
    Create {
        /// Who is to hold.
        claim: Claim,
        /// The nonce of this attempt.
        beat: Beat,
        /// The session that keeps the hold alive; none when it is to be renewed by itself.
        under: Term,
        /// The writer's date.
        wall: Wall,
    },
    /// Takes a record that is free, or whose holder showed no life. Condition: the pair is the one seen, and each entry
    /// to be removed stands where it was seen.
    Claim {
        /// Who is to hold.
        claim: Claim,
        /// The nonce of this attempt.
        beat: Beat,
        /// The pair that was watched.
        seen: Pair,
        /// The entries that leave the queue, by ascending index: the claimer's own, and on a take-over those ahead.
        removes: Vec<(usize, Entry)>,
        /// The session that keeps the hold alive; none when it is to be renewed by itself.
        under: Term,
        /// The writer's date.
        wall: Wall,
    },
    /// Joins the queue. Condition: the object exists and the queue has room.
    Enqueue {
        /// Who joins.
        claim: Claim,
        /// The writer's date.
        wall: Wall,
    },
    /// Leaves the queue, or removes a dead entry. Condition: the entry stands at the index.
    Leave {
        /// Where it was seen.
        index: usize,
        /// What was seen.
        entry: Entry,
    },
    /// Prolongs a hold, or accepts a grant. Condition: the term, and the newest beat.
    Renew {
        /// The holder's term.
        term: Term,
        /// The newest beat that the holder knows.
        previous: Beat,
        /// The nonce of this attempt.
        beat: Beat,
        /// How many confirmed writes the term will have had.
        renewals: u64,
        /// The ttl from here on.
        ttl: Duration,
        /// The owner who is first in the queue then, as far as the holder has seen.
        next_owner: Option<Arc<str>>,
        /// The session that keeps the hold alive from here on; none when it is renewed by itself.
        under: Term,
        /// The writer's date.
        wall: Wall,
    },
    /// Leaves a hold behind without a holder, to be kept until a date. Condition: the term, and the newest beat.
    Reserve {
        /// The holder's term.
        term: Term,
        /// The newest beat that the holder knows.
        previous: Beat,
        /// The nonce of this attempt.
        beat: Beat,
        /// The holder, whose owner the reservation names.
        engine: EngineId,
        /// What those must see no change for who cannot tell a reservation, or cannot read its date.
        ttl: Duration,
        /// The date of its end, by the writer's wall clock.
        until: Wall,
    },
    /// Hands the lock to a waiter. Condition: the term, and the entry at the index.
    Grant {
        /// The holder's term.
        term: Term,
        /// The nonce of this attempt.
        beat: Beat,
        /// Where the successor stands in the queue.
        index: usize,
        /// The successor, whose entry must parse.
        entry: Entry,
        /// Other entries of the successor's term, by ascending index, which leave with it.
        duplicates: Vec<(usize, Entry)>,
        /// The engine that is first in the queue then, as far as the holder has seen.
        next: EngineId,
        /// The writer's date.
        wall: Wall,
    },
    /// Says something of the holder. Condition: the term.
    Advertise(Advert),
    /// Leaves the record free. Condition: the term, and nobody waits.
    Free {
        /// The holder's term.
        term: Term,
        /// The writer's date.
        wall: Wall,
    },
}

/// Why a change was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refused {
    /// There is an object already.
    Exists,
    /// There is no object.
    Absent,
    /// A condition did not hold.
    Mismatch,
    /// The queue is full.
    Full,
}

// === impl Change ===

impl Change {
    /// Applies the change to what is stored, as the API server would.
    ///
    /// # Errors
    /// The condition that did not hold; nothing is changed then.
    pub fn apply(&self, stored: Option<&Record>) -> Result<Record, Refused> {
        if let Self::Create { claim, beat, under, wall } = self {
            let mut made = Record::held_by(claim, *beat, 1, *wall);
            made.put_under(*under);
            return if stored.is_some() { Err(Refused::Exists) } else { Ok(made) };
        }
        let record = stored.ok_or(Refused::Absent)?;
        self.check(record)?;
        Ok(self.effect(record))
    }

    /// Returns the term that this change makes or prolongs a hold for, with the beat it would leave.
    pub fn makes(&self) -> Option<(Term, Beat)> {
        match self {
            Self::Create { claim, beat, .. } | Self::Claim { claim, beat, .. } => Some((claim.term, *beat)),
            Self::Renew { term, beat, .. } => Some((*term, *beat)),
            Self::Grant { .. }
            | Self::Enqueue { .. }
            | Self::Leave { .. }
            | Self::Advertise(_)
            | Self::Reserve { .. }
            | Self::Free { .. } => None,
        }
    }

    fn check(&self, record: &Record) -> Result<(), Refused> {
        let stands = |index: &usize, entry: &Entry| record.waiters.get(*index) == Some(entry);
        let holds = match self {
            Self::Create { .. } => false,
            Self::Claim { seen, removes, .. } => record.pair() == *seen && removes.iter().all(|(i, e)| stands(i, e)),
            Self::Enqueue { .. } if record.waiters.len() >= MAX_WAITERS => return Err(Refused::Full),
            Self::Enqueue { .. } => true,
            Self::Leave { index, entry } => stands(index, entry),
            Self::Renew { term, previous, .. } | Self::Reserve { term, previous, .. } => {
                record.pair() == Pair { term: *term, beat: *previous }
            }
            Self::Grant { term, index, entry, duplicates, .. } => {
                let legible = entry.claim().is_some();
                legible && record.term == *term && stands(index, entry) && duplicates.iter().all(|(i, e)| stands(i, e))
            }
            Self::Advertise(advert) => record.term == advert.term && !advert.term.is_none(),
            Self::Free { term, .. } => record.term == *term && record.waiters.is_empty(),
        };
        if holds { Ok(()) } else { Err(Refused::Mismatch) }
    }

    fn effect(&self, record: &Record) -> Record {
        let mut next = record.clone();
        match self {
            Self::Create { .. } => {}
            Self::Enqueue { claim, wall } => next.waiters.push(claim.entry(*wall)),
            Self::Leave { index, .. } => {
                next.waiters.remove(*index);
            }
            Self::Renew { beat, renewals, ttl, next_owner, under, wall, .. } => {
                (next.beat, next.renewals, next.ttl) = (*beat, *renewals, *ttl);
                (next.next_owner, next.expiry) = (next_owner.clone(), Some(*wall + *ttl));
                next.put_under(*under);
            }
            Self::Reserve { beat, engine, ttl, until, .. } => {
                (next.engine, next.beat, next.ttl) = (engine.reserved(), *beat, *ttl);
                (next.expiry, next.under) = (Some(*until), Term::NONE);
            }
            Self::Claim { claim, beat, removes, under, wall, .. } => {
                next = Record { advertised: next.advertised, ..Record::held_by(claim, *beat, 1, *wall) };
                next.put_under(*under);
                next.waiters = without(&record.waiters, removes.iter().map(|(index, _)| *index));
            }
            Self::Grant { beat, index, entry, duplicates, next: first, wall, .. } => {
                let claim = entry.claim().expect("checked: only a legible entry is granted to");
                next = Record { advertised: next.advertised, ..Record::held_by(&claim, *beat, 0, *wall) };
                let gone = duplicates.iter().map(|(index, _)| *index).chain([*index]);
                (next.waiters, next.next) = (without(&record.waiters, gone), first.clone());
                next.next_owner = first.named_owner();
            }
            Self::Advertise(advert) => next.advertised = Some(advert.clone()),
            Self::Free { wall, .. } => {
                (next.engine, next.term, next.beat, next.under) = Default::default();
                (next.next, next.next_owner) = (EngineId::default(), None);
                (next.acquired, next.expiry) = (Some(*wall), Some(*wall));
            }
        }
        next
    }
}

fn without(waiters: &[Entry], gone: impl Iterator<Item = usize>) -> Vec<Entry> {
    let gone: Vec<usize> = gone.collect();
    waiters.iter().enumerate().filter(|(index, _)| !gone.contains(index)).map(|(_, entry)| entry.clone()).collect()
}

#[cfg(test)]
mod tests;
