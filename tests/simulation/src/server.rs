//! The API server: one object, changed atomically, versions that grow over all objects.

use std::sync::Arc;

use msync::{
    clock::Wall,
    unstable::{
        protocol::{Call, Outcome},
        record::{Change, Claim, EngineId, Entry, MAX_WAITERS, Record, Refused, Term},
        store::{Snapshot, Version},
    },
};

use crate::rng::Rng;

/// What is stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Server {
    stored: Option<Snapshot>,
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
                self.stored = None;
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
