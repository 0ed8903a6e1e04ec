//! What an engine believes of one lock: the newest record it has seen, and since when it looks as it does.
//!
//! Belief moves forward by `resourceVersion`. Only a read that was sent after the newest believed thing arrived may move
//! it back (an etcd restore), so a late reply cannot.

use std::collections::BTreeMap;

use super::session::{NEVER, Verdict};
use crate::{
    clock::{Moment, Now, Wall},
    config::{ACCEPT_TIMEOUT, MAX_TTL},
    record::{EngineId, Pair, Record, Term, WALL_SKEW},
    store::{Snapshot, Version},
};

/// What is known of the stored object.
#[allow(clippy::large_enum_variant, reason = "what is held or waited for is there: a box would only add to it")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Nothing.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// There is one, whose content is not known or no longer.
    Exists,
    /// There is this one.
    Present(Snapshot),
}

/// The newest believed pair.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Sight {
    pair: Pair,
    /// When it was first seen.
    since: Moment,
    engine: EngineId,
    /// Its engine has written while this one looked on: it is no incarnation that is long dead.
    alive: bool,
    /// It is a grant that counts only once its holder has accepted it.
    awaits: bool,
}

/// The belief of one keeper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct View {
    state: State,
    /// The newest believed version.
    version: u64,
    /// When the newest believed thing arrived.
    arrived: Moment,
    sight: Option<Sight>,
    /// When each entry of the queue was first seen *as an entry*: an instant grant is aged by it.
    entries: BTreeMap<Term, Moment>,
    /// What is known of the session that a record named, and since when.
    judged: Option<(Term, Verdict, Moment)>,
}

// === impl View ===

impl View {
    /// Returns what is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns the record, where its content is known.
    pub fn record(&self) -> Option<&Record> {
        match &self.state {
            State::Present(snapshot) => Some(&snapshot.record),
            State::Unknown | State::Absent | State::Exists => None,
        }
    }

    /// Returns the record with its version, where its content is known.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        match &self.state {
            State::Present(snapshot) => Some(snapshot),
            State::Unknown | State::Absent | State::Exists => None,
        }
    }

    /// Returns the version of the record, where its content is known.
    pub fn snapshot_version(&self) -> Option<&Version> {
        match &self.state {
            State::Present(snapshot) => Some(&snapshot.version),
            State::Unknown | State::Absent | State::Exists => None,
        }
    }

    /// Returns what outlives a keeper: since when the lock looks as it does. Its content is to be read anew.
    pub(super) fn recalled(self) -> Self {
        Self { state: State::Unknown, ..self }
    }

    /// Returns the version up to which nothing that is shown of a lock is news, where it is known to be gone or to look
    /// otherwise. What was given up may still be there as it was: to be shown it once more is news.
    pub fn outdated(&self) -> Option<u64> {
        matches!(self.state, State::Absent | State::Exists).then_some(self.version)
    }

    /// Returns when the newest believed thing arrived.
    pub fn arrived(&self) -> Moment {
        self.arrived
    }

    /// Takes an event, or the reply of a write. Says whether it was believed: an older one is not.
    pub fn believe(&mut self, snapshot: &Snapshot, now: Moment) -> bool {
        let number = snapshot.version.number;
        let complements = number == self.version && self.record().is_none() && self.state != State::Absent;
        let newer = number > self.version || complements;
        if newer {
            self.take(snapshot, now);
        }
        newer
    }

    /// Takes the reply of a read. `overtaken` says that something else was believed since it was sent.
    pub fn believe_read(&mut self, found: Option<&Snapshot>, overtaken: bool, now: Moment) -> bool {
        match found {
            Some(snapshot) if overtaken => self.believe(snapshot, now),
            Some(snapshot) => {
                self.take(snapshot, now);
                true
            }
            None if overtaken => false,
            None => {
                self.vanish(self.version, now);
                true
            }
        }
    }

    /// Takes the news that the object was deleted at a version.
    pub fn believe_gone(&mut self, version: u64, now: Moment) -> bool {
        let newer = version > self.version;
        if newer {
            self.vanish(version, now);
        }
        newer
    }

    /// Takes the news that the object looks otherwise since a version, without saying how.
    pub fn believe_changed(&mut self, version: u64, now: Moment) -> bool {
        let news = version > self.version && matches!(self.state, State::Present(_));
        if news {
            (self.version, self.arrived) = (version, now);
            self.state = State::Exists;
        }
        news
    }

    /// Takes the acknowledgement of our own deletion, which names no version.
    pub fn deleted(&mut self, now: Moment) {
        self.vanish(self.version, now);
    }

    /// Forgets the content after a refusal: it is not what we thought.
    pub fn doubt(&mut self, to: State) {
        self.state = to;
    }

    /// Returns from when on a challenger may claim this record (design 4.2), staggering apart.
    ///
    /// The holder's deadline is anchored before the send of the beat that we see, so counting from the first sight of the
    /// pair is safe. A grant that nobody confirmed may be claimed sooner, since its holder believes nothing (accept), or
    /// believes from an anchor before its entry was there (instant). Nobody believes in a reservation: its date ends it.
    pub fn claimable_at(&self, record: &Record, now: Now) -> Moment {
        if !record.under.is_none() {
            // The pair says nothing: it does not change while the session lives.
            return self.dead_since(record.under);
        }
        let Some(Sight { since, .. }) = self.sight else { return NEVER };
        let (ttl, accept) = (record.patience(), ACCEPT_TIMEOUT);
        let full = since + ttl;
        if record.is_reserved() {
            // The rest of a long one does not fit into a ttl.
            let unchanged = if record.ttl < MAX_TTL { full } else { NEVER };
            return record.expiry.map_or(full, |until| unchanged.min(local(until + WALL_SKEW, now)));
        }
        if record.renewals > 0 {
            return full;
        }
        if !record.instant {
            return full.min(since + accept);
        }
        match self.entries.get(&record.term) {
            Some(entry_since) => full.min((*entry_since + ttl).max(since + accept)),
            None => full,
        }
    }

    /// Takes what is known of a session. Dead is for ever.
    pub fn judge(&mut self, session: Term, verdict: Verdict, now: Moment) {
        let known = self.judged.filter(|(known, ..)| *known == session).map(|(_, verdict, _)| verdict);
        if known != Some(verdict) && known != Some(Verdict::Dead) {
            self.judged = Some((session, verdict, now));
        }
    }

    /// Returns what is known of a session.
    pub fn verdict(&self, session: Term) -> Verdict {
        self.judged.filter(|(known, ..)| *known == session).map(|(_, verdict, _)| verdict).unwrap_or_default()
    }

    /// Returns the newest pair that was seen, whatever is known now.
    pub fn last_pair(&self) -> Option<Pair> {
        self.sight.as_ref().map(|sight| sight.pair)
    }

    /// Returns since when the pair is as it is, as far as it was seen.
    pub fn unchanged_since(&self) -> Option<Moment> {
        self.sight.as_ref().map(|sight| sight.since)
    }

    /// Says since when the newest that was seen is a grant that its holder has yet to accept.
    pub(super) fn granted_since(&self) -> Option<Moment> {
        self.sight.as_ref().filter(|sight| sight.awaits).map(|sight| sight.since)
    }

    /// Says since when a session is known to be dead.
    fn dead_since(&self, session: Term) -> Moment {
        let dead = self.judged.filter(|(known, verdict, _)| *known == session && *verdict == Verdict::Dead);
        dead.map_or(NEVER, |(.., since)| since)
    }

    /// Says whether the holder has shown that it lives: it has written since this engine first looked at the lock. What it
    /// was granted is another's write.
    pub fn shows_life(&self) -> bool {
        self.sight.as_ref().is_some_and(|sight| sight.alive)
    }

    fn has_written(&self, record: &Record) -> bool {
        let looked_before = self.version > 0;
        let known = self.sight.as_ref().is_some_and(|sight| sight.alive && sight.engine == record.engine);
        known || (looked_before && record.renewals > 0)
    }

    fn take(&mut self, snapshot: &Snapshot, now: Moment) {
        let record = &snapshot.record;
        let pair = record.pair();
        if self.sight.as_ref().is_none_or(|sight| sight.pair != pair) {
            let alive = self.has_written(record);
            let (engine, awaits) = (record.engine.clone(), record.is_to_be_accepted());
            self.sight = Some(Sight { pair, since: now, engine, alive, awaits });
        }
        self.age_entries(record, now);
        (self.version, self.arrived) = (snapshot.version.number, now);
        self.state = State::Present(snapshot.clone());
    }

    /// Remembers when each entry was first seen, and of the holder only what was seen of it as an entry.
    fn age_entries(&mut self, record: &Record, now: Moment) {
        let old = std::mem::take(&mut self.entries);
        let seen = |term: Term| old.get(&term).copied();
        self.entries = record
            .waiters
            .iter()
            .filter_map(super::record_term)
            .map(|term| (term, seen(term).unwrap_or(now)))
            .chain(seen(record.term).map(|since| (record.term, since)))
            .collect();
    }

    fn vanish(&mut self, version: u64, now: Moment) {
        (self.version, self.arrived) = (version, now);
        (self.sight, self.state) = (None, State::Absent);
        self.entries.clear();
    }
}

/// Says when a date comes, or has come, on the local clock.
fn local(date: Wall, now: Now) -> Moment {
    now.local + date.since(now.wall) - now.wall.since(date)
}
