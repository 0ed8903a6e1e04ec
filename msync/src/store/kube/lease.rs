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
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};

pub use self::object::Lease;
use super::{
    FIELD_MANAGER, PAGE,
    fault::{Call, LEASES, Verb},
    form::Form,
    lingering, watch,
};
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
    leases: Api<Lease>,
    namespace: Arc<str>,
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
        let leases = Api::namespaced(client, namespace);
        Self { leases, namespace: namespace.into(), known: Known::default() }
    }

    fn call(&self, verb: Verb) -> Call {
        Call { verb, namespace: Arc::clone(&self.namespace), resource: &LEASES }
    }

    async fn create(&self, name: &LockName, change: &Change) -> Result<Lease, Fault> {
        let record = change.apply(None).map_err(Fault::Refused)?;
        let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.leases.create(&how, &Lease::of(name, &record)).await {
            Ok(lease) => Ok(lease),
            Err(error) if lingering::is_named_by(&error) => match self.leases.get(name.as_str()).await {
                Ok(lease) => Err(lingering::fault(&lease).unwrap_or_else(|| self.call(Verb::Create).fault(error))),
                Err(error) => Err(self.call(Verb::Get).fault(error)),
            },
            Err(error) => Err(self.call(Verb::Create).fault(error)),
        }
    }

    /// Sends a change as one who has seen the Lease so.
    async fn patch(&self, name: &LockName, change: &Change, seen: &Leased) -> Result<Lease, Fault> {
        self.send(name, seen.send(change)).await
    }

    async fn send(&self, name: &LockName, approach: Approach) -> Result<Lease, Fault> {
        let Approach::Send(ops) = approach else { return Err(Fault::Refused(Refused::Mismatch)) };
        let how = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::<()>::Json(object::patch(ops));
        self.leases.patch(name.as_str(), &how, &patch).await.map_err(|error| self.call(Verb::Patch).fault(error))
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
        let lease = self.leases.get(name.as_str()).await.map_err(|error| self.call(Verb::Get).fault(error))?;
        self.learned(name, &lease)
    }

    fn learned(&self, name: &LockName, lease: &Lease) -> Result<Leased, Fault> {
        let leased = lease.leased()?;
        self.known.learn(name, leased.clone());
        Ok(leased)
    }

    /// Frees what could only be marked as deleted, so that nobody waits for its ttl.
    async fn free(&self, name: &LockName, lease: &Lease) -> Result<(), Fault> {
        tracing::warn!(lock = %name, "{}", lingering::reason(lease));
        let term = lease.snapshot()?.1.record.term;
        let freed = Change::Free { term, wall: lingering::since(lease) };
        self.patch(name, &freed, &lease.leased()?).await.map(drop)
    }
}

impl fmt::Debug for LeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseStore").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Store for LeaseStore {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        Box::pin(async move {
            match self.leases.get(name.as_str()).await.map_err(|error| self.call(Verb::Get).fault(error)) {
                Ok(lease) => {
                    self.learned(name, &lease)?;
                    lingering::read(&lease)
                }
                Err(Fault::Refused(Refused::Absent)) => {
                    self.known.forget(name);
                    Ok(None)
                }
                Err(fault) => Err(fault),
            }
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
            self.squeeze(name, change, &lease).await?;
            if matches!(change, Change::Claim { .. }) {
                lingering::refuse(&lease)?;
            }
            Ok(lease.snapshot()?.1)
        })
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        let preconditions =
            Preconditions { resource_version: Some(version.number.to_string()), uid: Some(version.uid.to_string()) };
        let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        Box::pin(async move {
            let deleted = self.leases.delete(name.as_str(), &how).await;
            let left = deleted.map_err(|error| self.call(Verb::Delete).fault(error))?.left();
            if let Some(lease) = left.filter(lingering::is) {
                return self.free(name, &lease).await;
            }
            self.known.forget(name);
            Ok(())
        })
    }

    /// Leases in which nothing of msync stands are not listed: they are others'.
    fn list(&self) -> BoxFuture<'_, Result<Vec<(LockName, Snapshot)>, Fault>> {
        Box::pin(async move {
            let mut found = Vec::new();
            let mut how = ListParams::default().limit(PAGE);
            loop {
                let page = self.leases.list(&how).await.map_err(|error| self.call(Verb::List).fault(error))?;
                let marked = page.items.iter().filter(|lease| lease.leased().is_ok_and(|leased| leased.is_marked()));
                found.extend(marked.filter_map(|lease| lease.snapshot().ok()));
                how.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
                if how.continue_token.is_none() {
                    return Ok(found);
                }
            }
        })
    }

    fn watch(&self, scope: Scope) -> Watch {
        let known = self.known.clone();
        let seen = move |lease: &Lease| {
            if let (Ok(name), Ok(leased)) = (lease.lock_name(), lease.leased()) {
                known.update(&name, leased);
            }
        };
        let watch = watch::open(self.leases.clone(), Arc::clone(&self.namespace), scope.clone(), seen);
        inbox::filtered(watch, scope).boxed()
    }
}
