//! The store on Kubernetes: one `Lock` per record, one request per call.
//!
//! A change is one JSON patch whose `test` operations are its conditions, so the API server decides, on the newest
//! object. Nothing here waits, retries or sets a time-out: the engine does, who knows the deadlines.

use std::fmt;

use futures::future::BoxFuture;
use kube::Client;

use self::{crd::Lock, table::Table};
use crate::{
    LockName,
    record::{Change, Refused},
    store::{Fatal, Fault, Scope, Snapshot, Store, Version, Watch},
};

pub mod crd;
mod fault;
mod form;
mod lease;
mod lingering;
mod objects;
mod patch;
mod table;
mod watch;

pub(crate) use fault::is_failed_condition;
use form::Form;
pub use lease::{Lease, LeaseStore};
pub use objects::{Events, Objects};

/// One name for all writers, whatever their programs are called: the API server keeps one entry of `managedFields` each.
pub(crate) const FIELD_MANAGER: &str = "msync";

/// How many locks one request of a list brings.
const PAGE: u32 = 500;

/// The locks of one namespace.
#[derive(Clone)]
pub struct KubeStore {
    locks: Table<Lock>,
}

// === impl KubeStore ===

impl KubeStore {
    /// Makes a store of a client and a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { locks: Table::new(client, namespace) }
    }

    async fn create(&self, name: &LockName, change: &Change) -> Result<Lock, Fault> {
        let record = change.apply(None).map_err(Fault::Refused)?;
        let made = self.locks.create(name, &Lock::of(name, &record)).await?;
        if let Err(fault) = made.snapshot() {
            self.locks.take_back(name, &made).await;
            return Err(fault);
        }
        Ok(made)
    }

    async fn patch(&self, name: &LockName, change: &Change) -> Result<Lock, Fault> {
        self.locks.patch(name, patch::of(change).ok_or(Fault::Refused(Refused::Mismatch))?).await
    }
}

/// Reads what a list has brought. An illegible lock is left out: who reads it is told, and the others must not suffer for
/// it. An outdated resource makes all of them illegible.
fn legible<F: Form>(locks: &[F]) -> Result<Vec<(LockName, Snapshot)>, Fault> {
    let mut found = Vec::with_capacity(locks.len());
    for lock in locks {
        match lock.snapshot() {
            Ok(lock) => found.push(lock),
            Err(fault @ Fault::Fatal(Fatal::CrdOutdated(_))) => return Err(fault),
            Err(_) => {}
        }
    }
    Ok(found)
}

impl fmt::Debug for KubeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeStore").field("namespace", &self.locks.namespace).finish_non_exhaustive()
    }
}

impl Store for KubeStore {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        Box::pin(async move {
            let found = self.locks.find(name).await?;
            found.map_or(Ok(None), |lock| lingering::read(&lock))
        })
    }

    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        Box::pin(async move {
            let lock = match change {
                Change::Create { .. } => self.create(name, change).await?,
                _ => self.patch(name, change).await?,
            };
            if matches!(change, Change::Claim { .. }) {
                lingering::refuse(&lock)?;
            }
            Ok(lock.snapshot()?.1)
        })
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            match self.locks.delete(name, version).await? {
                Some((_, freed)) => self.patch(name, &freed).await.map(drop),
                None => Ok(()),
            }
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<(LockName, Snapshot)>, Fault>> {
        Box::pin(async move {
            let mut found = Vec::new();
            self.locks.list(|page| legible(page).map(|page| found.extend(page))).await?;
            Ok(found)
        })
    }

    fn watch(&self, scope: Scope) -> Watch {
        self.locks.watch(scope, |_| {})
    }
}
