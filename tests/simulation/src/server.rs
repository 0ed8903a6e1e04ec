//! The API server: one object, changed atomically, versions that grow over all objects.

use std::sync::Arc;

use msync::{
    clock::Wall,
    unstable::{
        protocol::{Call, Outcome},
        record::{
            Change, Claim, EngineId, Entry, MAX_WAITERS, Record, Refused, Term,
            leased::{Leased, Op},
        },
        store::{Snapshot, Version},
    },
};

use crate::rng::Rng;

/// What is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    stored: Option<Snapshot>,
    /// The object itself, where it is a Lease.
    leased: Option<Leased>,
    version: u64,
}

/// A write that took effect: what watches tell of.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// What was there before.
    pub(crate) before: Option<Record>,
    /// What is there now.
    pub(crate) after: Option<Snapshot>,
    /// At which version.
    pub(crate) version: u64,
}

// === impl Server ===

impl Server {
    /// Returns what is stored.
    pub(crate) fn stored(&self) -> Option<&Snapshot> {
        self.stored.as_ref()
    }

    /// Takes at which version all objects together are: versions grow over all of them.
    pub(crate) fn at(&mut self, version: u64) -> &mut Self {
        self.version = self.version.max(version);
        self
    }

    /// Returns the newest version.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Carries out a call; the outcome is what an undisturbed reply says.
    pub(crate) fn serve(&mut self, call: &Call, rng: &mut Rng) -> (Outcome, Option<Commit>) {
        self.version += rng.below(3);
        match call {
            Call::Read => (Outcome::Read(self.stored.clone()), None),
            Call::Apply(change) => self.apply(change),
            Call::Delete(version) => self.delete(version),
        }
    }

    /// Somebody edits the queue by hand.
    pub(crate) fn scribble(&mut self, rng: &mut Rng) -> Option<Commit> {
        let mut record = self.stored.as_ref()?.record.clone();
        let fills = rng.chance(150);
        let free = MAX_WAITERS.saturating_sub(record.waiters.len());
        for _ in 0..if fills { free } else { free.min(1) } {
            let place = usize::try_from(rng.below(record.waiters.len() as u64 + 1)).unwrap_or(0);
            record.waiters.insert(place, scribbled(rng));
        }
        Some(self.commit(record))
    }

    /// Returns the Lease, where it is one.
    pub(crate) fn leased(&self) -> Option<&Leased> {
        self.leased.as_ref()
    }

    /// Carries out a call on a Lease, by the operations that its sender has made of it.
    pub(crate) fn serve_lease(&mut self, call: &Call, ops: &[Op], rng: &mut Rng) -> (Outcome, Option<Commit>) {
        self.version += rng.below(3);
        let left = match (call, &self.leased) {
            (Call::Read, _) => return (Outcome::Read(self.stored.clone()), None),
            (Call::Delete(version), _) => return self.delete(version),
            (Call::Apply(change @ Change::Create { .. }), None) => change.apply(None).map(|record| Leased::of(&record)),
            (Call::Apply(Change::Create { .. }), Some(_)) => Err(Refused::Exists),
            (Call::Apply(_), None) => Err(Refused::Absent),
            (Call::Apply(change), Some(leased)) => leased.run(ops).and_then(|left| match change {
                Change::Enqueue { claim, .. } if left.has_no_room_for(claim.term) => Err(Refused::Full),
                _ => Ok(left),
            }),
        };
        match left {
            Err(refused) => (Outcome::Refused(refused), None),
            Ok(left) => {
                let commit = self.put(left);
                (Outcome::Applied(commit.after.clone().expect("just stored")), Some(commit))
            }
        }
    }

    /// Stores a Lease, whoever has written it.
    pub(crate) fn put(&mut self, mut leased: Leased) -> Commit {
        let commit = self.commit(leased.record().expect("nobody here asks the API server to decide"));
        leased.version = commit.version;
        self.leased = Some(leased);
        commit
    }

    fn apply(&mut self, change: &Change) -> (Outcome, Option<Commit>) {
        match change.apply(self.stored.as_ref().map(|snapshot| &snapshot.record)) {
            Err(refused) => (Outcome::Refused(refused), None),
            Ok(record) => {
                let commit = self.commit(record);
                (Outcome::Applied(commit.after.clone().expect("just stored")), Some(commit))
            }
        }
    }

    fn delete(&mut self, version: &Version) -> (Outcome, Option<Commit>) {
        match &self.stored {
            None => (Outcome::Refused(Refused::Absent), None),
            Some(snapshot) if snapshot.version != *version => (Outcome::Refused(Refused::Mismatch), None),
            Some(snapshot) => {
                self.version += 1;
                let before = Some(snapshot.record.clone());
                (self.stored, self.leased) = (None, None);
                (Outcome::Deleted, Some(Commit { before, after: None, version: self.version }))
            }
        }
    }

    fn commit(&mut self, record: Record) -> Commit {
        self.version += 1;
        let before = self.stored.take();
        let uid = match &before {
            Some(snapshot) => Arc::clone(&snapshot.version.uid),
            None => self.version.to_string().into(),
        };
        let snapshot = Snapshot { version: Version { uid, number: self.version }, record };
        self.stored = Some(snapshot.clone());
        Commit { before: before.map(|snapshot| snapshot.record), after: Some(snapshot), version: self.version }
    }
}

/// An entry that nobody alive has written: illegible, or of an engine long gone.
fn scribbled(rng: &mut Rng) -> Entry {
    let claim = Claim {
        engine: EngineId::new("gone", rng.bits()),
        term: Term::random(rng.bits()),
        ttl: std::time::Duration::from_secs(1),
        instant: rng.chance(500),
    };
    match rng.below(4) {
        0 => claim.entry(Wall::default()),
        1 => Entry::from_text(""),
        2 => Entry::from_text(&format!("{} {} 1000 perhaps", claim.term, claim.engine)),
        _ => Entry::from_text("nobody writes this"),
    }
}
