//! The store on Leases, which every cluster has: one `coordination.k8s.io/v1` Lease per record, one request per call.
//!
//! Others write Leases as well, and a condition must name what they have written; a change of the protocol does not say
//! that. So this store keeps in mind how each Lease looked when it was last seen, and writes the conditions of a change from
//! that. What it has forgotten, or does not know as the change says, it reads first. The API server decides, as always.
//!
//! Who holds, and what a change does, is told in [`record::leased`](crate::record::leased).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt, future::BoxFuture};
use kube::Client;

pub use self::object::Lease;
use super::{form::Form, lingering, table::Table};
use crate::{
    LockName,
    record::{
        Change, Refused,
        leased::{Approach, Leased},
    },
    store::{Fault, Scope, Snapshot, Store, Version, Watch},
};

mod inbox;
mod object;

/// How many Leases are kept in mind; beyond, all are forgotten, which costs each a read.
const MOST_KNOWN: usize = 20_000;

/// The Leases of one namespace, as locks.
#[derive(Clone)]
pub struct LeaseStore {
    leases: Table<Lease>,
    known: Known,
}

/// How Leases looked when they were last seen.
#[derive(Clone, Default)]
struct Known(Arc<Mutex<HashMap<LockName, Leased>>>);

// === impl Known ===

impl Known {
    fn get(&self, name: &LockName) -> Option<Leased> {
        self.map().get(name).cloned()
    }

    /// Takes what the answer of a write has shown; a watch may have shown more since.
    fn written(&self, name: &LockName, leased: Leased) {
        if self.get(name).is_none_or(|known| known.version < leased.version) {
            self.learn(name, leased);
        }
    }

    /// Takes what a read has shown.
    fn learn(&self, name: &LockName, leased: Leased) {
        let mut map = self.map();
        if map.len() >= MOST_KNOWN && !map.contains_key(name) {
            map.clear();
        }
        map.insert(name.clone(), leased.pruned());
    }

    /// Takes what a watch has shown, of a Lease that is in use here.
    fn update(&self, name: &LockName, leased: Leased) {
        if let Some(known) = self.map().get_mut(name).filter(|known| known.version < leased.version) {
            *known = leased.pruned();
        }
    }

    fn forget(&self, name: &LockName) {
        self.map().remove(name);
    }

    fn map(&self) -> MutexGuard<'_, HashMap<LockName, Leased>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl LeaseStore ===

impl LeaseStore {
    /// Makes a store of a client and a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { leases: Table::new(client, namespace), known: Known::default() }
    }

    async fn create(&self, name: &LockName, change: &Change) -> Result<Lease, Fault> {
        let record = change.apply(None).map_err(Fault::Refused)?;
        self.leases.create(name, &Lease::of(name, &record)).await
    }

    /// Sends a change as one who has seen the Lease so.
    async fn patch(&self, name: &LockName, change: &Change, seen: &Leased) -> Result<Lease, Fault> {
        self.send(name, seen.send(change)).await
    }

    async fn send(&self, name: &LockName, approach: Approach) -> Result<Lease, Fault> {
        let Approach::Send(ops) = approach else { return Err(Fault::Refused(Refused::Mismatch)) };
        self.leases.patch(name, object::patch(ops)).await
    }

    async fn change(&self, name: &LockName, change: &Change) -> Result<Lease, Fault> {
        match Leased::approach(self.known.get(name).as_ref(), change) {
            Approach::Look => {
                let seen = self.look(name).await?;
                self.patch(name, change, &seen).await
            }
            approach => self.send(name, approach).await,
        }
    }

    /// Joins the queue. That needs no knowledge, but where nobody has ever written annotations.
    async fn join(&self, name: &LockName, change: &Change) -> Result<Lease, Fault> {
        match self.change(name, change).await {
            Err(Fault::Refused(Refused::Mismatch)) => {
                let seen = self.look(name).await?;
                self.patch(name, change, &seen).await
            }
            answer => answer,
        }
    }

    /// Moves behind those who came before, where the clock has put it ahead of them; that takes one more write. If it cannot be
    /// done it stays where it is, which is unfair and no more.
    async fn line_up(&self, name: &LockName, change: &Change, joined: Lease) -> Result<Lease, Fault> {
        let Change::Enqueue { claim, .. } = change else { return Ok(joined) };
        let Some(ops) = joined.leased()?.line_up(claim.term) else { return Ok(joined) };
        match self.leases.patch(name, object::patch(ops)).await {
            Ok(moved) => {
                self.known.written(name, moved.leased()?);
                Ok(moved)
            }
            Err(fault) => {
                tracing::debug!(lock = %name, ?fault, "stays ahead of who came before, where a clock has put it");
                Ok(joined)
            }
        }
    }

    /// Leaves the queue again if there was no room.
    async fn squeeze(&self, name: &LockName, change: &Change, joined: &Lease) -> Result<(), Fault> {
        let Change::Enqueue { claim, wall } = change else { return Ok(()) };
        let leased = joined.leased()?;
        if !leased.has_no_room_for(claim.term) {
            return Ok(());
        }
        let leave = Change::Leave { index: 0, entry: claim.entry(*wall) };
        match self.patch(name, &leave, &leased).await {
            Ok(_) | Err(Fault::Refused(_)) => Err(Fault::Refused(Refused::Full)),
            Err(fault) => Err(fault),
        }
    }

    /// Reads a Lease that must be there.
    async fn look(&self, name: &LockName) -> Result<Leased, Fault> {
        self.learned(name, &self.leases.get(name).await?)
    }

    fn learned(&self, name: &LockName, lease: &Lease) -> Result<Leased, Fault> {
        let leased = lease.leased()?;
        self.known.learn(name, leased.clone());
        Ok(leased)
    }
}

impl fmt::Debug for LeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseStore").field("namespace", &self.leases.namespace).finish_non_exhaustive()
    }
}

impl Store for LeaseStore {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        Box::pin(async move {
            let Some(lease) = self.leases.find(name).await? else {
                self.known.forget(name);
                return Ok(None);
            };
            self.learned(name, &lease)?;
            lingering::read(&lease)
        })
    }

    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        Box::pin(async move {
            let lease = match change {
                Change::Create { .. } => self.create(name, change).await?,
                Change::Enqueue { .. } => self.join(name, change).await?,
                _ => self.change(name, change).await?,
            };
            self.known.written(name, lease.leased()?);
            let lease = self.line_up(name, change, lease).await?;
            self.squeeze(name, change, &lease).await?;
            if matches!(change, Change::Claim { .. }) {
                lingering::refuse(&lease)?;
            }
            Ok(lease.snapshot()?.1)
        })
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if let Some((lease, freed)) = self.leases.delete(name, version).await? {
                return self.patch(name, &freed, &lease.leased()?).await.map(drop);
            }
            self.known.forget(name);
            Ok(())
        })
    }

    /// Leases in which nothing of msync stands are not listed: they are others'.
    fn list(&self) -> BoxFuture<'_, Result<Vec<(LockName, Snapshot)>, Fault>> {
        Box::pin(async move {
            let mut found = Vec::new();
            let take = |page: &[Lease]| {
                let marked = page.iter().filter(|lease| lease.leased().is_ok_and(|leased| leased.is_marked()));
                found.extend(marked.filter_map(|lease| lease.snapshot().ok()));
                Ok(())
            };
            self.leases.list(take).await?;
            Ok(found)
        })
    }

    fn watch(&self, scope: Scope) -> Watch {
        let known = self.known.clone();
        let seen = move |lease: &Lease| {
            if let (Ok(name), Ok(leased)) = (lease.lock_name(), lease.leased()) {
                known.update(&name, leased);
            }
        };
        inbox::filtered(self.leases.watch(scope.clone(), seen), scope).boxed()
    }
}
