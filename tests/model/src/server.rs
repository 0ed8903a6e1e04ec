//! The server: one record that [`Change::apply`] changes, and a counter of versions that survives deletion.

use std::sync::Arc;

use msync::unstable::{
    protocol::{Call, Outcome},
    record::{Change, Pair, Record, Refused, leased::Leased},
    store::{Snapshot, Version},
};

use crate::{Known, Ops, Seen};

/// How the present term came to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// There is no object, or it is free.
    #[default]
    Nobody,
    /// It made the object, or found it free.
    Found,
    /// It took over from a term that showed no life.
    TookOver,
    /// It was granted: the so many-th of a chain of grants.
    Granted(u8),
}

/// What the API server knows of the one lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    /// The object.
    pub stored: Option<Snapshot>,
    /// The newest version of any object.
    pub version: u64,
    /// How the present term came to hold.
    pub origin: Origin,
    /// The object itself, where it is a Lease.
    pub leased: Seen,
    creations: u64,
}

// === impl Server ===

impl Server {
    /// Serves a call to its end.
    pub fn serve(&mut self, call: &Call) -> Outcome {
        match call {
            Call::Read => Outcome::Read(self.stored.clone()),
            Call::Apply(change) => self.apply(change),
            Call::Delete(version) => match &self.stored {
                None => Outcome::Refused(Refused::Absent),
                Some(stored) if stored.version != *version => Outcome::Refused(Refused::Mismatch),
                Some(_) => {
                    self.remove();
                    Outcome::Deleted
                }
            },
        }
    }

    /// Serves a call on a Lease, by the operations that its sender made of it.
    pub fn serve_lease(&mut self, call: &Call, ops: &Ops) -> Outcome {
        let Call::Apply(change) = call else { return self.serve(call) };
        let left = match (change, &self.leased.0) {
            (Change::Create { .. }, None) => change.apply(None).map(|record| Leased::of(&record)),
            (Change::Create { .. }, Some(_)) => Err(Refused::Exists),
            (_, None) => Err(Refused::Absent),
            (_, Some(leased)) => leased.run(ops.0.as_deref().map(Vec::as_slice).unwrap_or_default()),
        };
        match left {
            Ok(left) => {
                self.origin = self.origin.after(change);
                Outcome::Applied(self.put(left))
            }
            Err(refused) => Outcome::Refused(refused),
        }
    }

    /// Stores a Lease, whoever writes it.
    ///
    /// # Panics
    /// When the API server is to decide who leads.
    pub fn put(&mut self, mut leased: Leased) -> Snapshot {
        // For people: it would only multiply the states.
        leased.annotations.iter_mut().for_each(|notes| drop(notes.remove("msync.dev/next-owner")));
        let record = leased.record().expect("nobody lets the API server decide");
        let snapshot = self.store(record);
        self.leased = Known(Some(Arc::new(Leased { version: self.version, ..leased })));
        snapshot
    }

    /// Deletes the object.
    pub fn remove(&mut self) {
        self.version += 1;
        self.leased = Seen::default();
        (self.stored, self.origin) = (None, Origin::Nobody);
    }

    /// Says whether a call that asks for the end of a term would end another one's.
    pub fn is_misled_by(&self, call: &Call) -> bool {
        let (Call::Apply(Change::Grant { term, .. } | Change::Free { term, .. }), Some(stored)) = (call, &self.stored)
        else {
            return false;
        };
        stored.record.term != *term
    }

    fn apply(&mut self, change: &Change) -> Outcome {
        let record = match change.apply(self.stored.as_ref().map(|stored| &stored.record)) {
            // For people: it would only multiply the states.
            Ok(record) => Record { next_owner: None, ..record },
            Err(refused) => return Outcome::Refused(refused),
        };
        self.origin = self.origin.after(change);
        Outcome::Applied(self.store(record))
    }

    fn store(&mut self, record: Record) -> Snapshot {
        self.version += 1;
        let uid = self.stored.as_ref().map_or_else(
            || {
                self.creations += 1;
                self.creations.to_string().into()
            },
            |stored| Arc::clone(&stored.version.uid),
        );
        let snapshot = Snapshot { version: Version { uid, number: self.version }, record };
        self.stored = Some(snapshot.clone());
        snapshot
    }
}

// === impl Origin ===

impl Origin {
    fn after(self, change: &Change) -> Self {
        match change {
            Change::Create { .. } => Self::Found,
            Change::Claim { seen, .. } if *seen == Pair::FREE => Self::Found,
            Change::Claim { .. } => Self::TookOver,
            Change::Grant { .. } => match self {
                Self::Granted(before) => Self::Granted(before.saturating_add(1).min(3)),
                Self::Nobody | Self::Found | Self::TookOver => Self::Granted(1),
            },
            Change::Free { .. } => Self::Nobody,
            Change::Enqueue { .. }
            | Change::Leave { .. }
            | Change::Renew { .. }
            | Change::Reserve { .. }
            | Change::Advertise(_) => self,
        }
    }
}
