//! What an engine believes of one lock: the newest record it has seen, and since when it looks as it does.
//!
//! Belief moves forward by `resourceVersion`. Only a read that was sent after the newest believed thing arrived may move
//! it back (an etcd restore), so a late reply cannot.

use std::collections::BTreeMap;

use crate::{
    clock::Moment,
    config::ACCEPT_TIMEOUT,
    record::{Pair, Record, Term},
    store::{Snapshot, Version},
};

/// What is known of the stored object.
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

/// The belief of one keeper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct View {
    state: State,
    /// The newest believed version.
    version: u64,
    /// When the newest believed thing arrived.
    arrived: Moment,
    /// The newest believed pair, and when it was first seen.
    pair: Option<(Pair, Moment)>,
    /// When each entry of the queue was first seen *as an entry*: an instant grant is aged by it.
    entries: BTreeMap<Term, Moment>,
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

    /// Returns the newest believed version; zero if there is none.
    pub fn version(&self) -> u64 {
        self.version
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
    /// believes from an anchor before its entry was there (instant).
    pub fn claimable_at(&self, record: &Record) -> Moment {
        let Some((_, since)) = self.pair else { return Moment::from_nanos(u64::MAX) };
        let (ttl, accept) = (record.patience(), ACCEPT_TIMEOUT);
        let full = since + ttl;
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

    fn take(&mut self, snapshot: &Snapshot, now: Moment) {
        let record = &snapshot.record;
        let pair = record.pair();
        if self.pair.is_none_or(|(seen, _)| seen != pair) {
            self.pair = Some((pair, now));
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
        (self.pair, self.state) = (None, State::Absent);
        self.entries.clear();
    }
}
