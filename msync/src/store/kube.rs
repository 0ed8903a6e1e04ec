//! The store on Kubernetes: one `Lock` per record, one request per call.
//!
//! A change is one JSON patch whose `test` operations are its conditions, so the API server decides, on the newest
//! object. Nothing here waits, retries or sets a time-out: the engine does, who knows the deadlines.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};

use self::crd::Lock;
use self::fault::{Call, LOCKS, Verb};
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
mod watch;

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
    locks: Api<Lock>,
    namespace: Arc<str>,
}

// === impl KubeStore ===

impl KubeStore {
    /// Makes a store of a client and a namespace.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { locks: Api::namespaced(client, namespace), namespace: namespace.into() }
    }

    fn call(&self, verb: Verb) -> Call {
        Call { verb, namespace: Arc::clone(&self.namespace), resource: &LOCKS }
    }

    async fn create(&self, name: &LockName, change: &Change) -> Result<Lock, Fault> {
        let record = change.apply(None).map_err(Fault::Refused)?;
        let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let made = match self.locks.create(&how, &Lock::of(name, &record)).await {
            Ok(lock) => lock,
            Err(error) if lingering::is_named_by(&error) => return Err(self.lingers(name, error).await),
            Err(error) => return Err(self.call(Verb::Create).fault(error)),
        };
        if let Err(fault) = made.snapshot() {
            self.take_back(name, &made).await;
            return Err(fault);
        }
        Ok(made)
    }

    /// Deletes what was made and is of no use, as under an outdated resource. One try: the fault is told anyway.
    async fn take_back(&self, name: &LockName, made: &Lock) {
        let preconditions = Preconditions { resource_version: made.resource_version(), uid: made.uid() };
        let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        if let Err(error) = self.locks.delete(name.as_str(), &how).await {
            tracing::debug!(lock = %name, %error, "an unusable lock is left behind");
        }
    }

    async fn patch(&self, name: &LockName, change: &Change) -> Result<Lock, Fault> {
        let patch = patch::of(change).ok_or(Fault::Refused(Refused::Mismatch))?;
        let how = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let call = self.call(Verb::Patch);
        self.locks.patch(name.as_str(), &how, &Patch::<()>::Json(patch)).await.map_err(|error| call.fault(error))
    }
}

impl KubeStore {
    /// Looks why an object that is deleted is in the way.
    async fn lingers(&self, name: &LockName, refused: kube::Error) -> Fault {
        match self.locks.get(name.as_str()).await {
            Ok(lock) => lingering::fault(&lock).unwrap_or_else(|| self.call(Verb::Create).fault(refused)),
            Err(error) => self.call(Verb::Get).fault(error),
        }
    }

    /// Frees what could only be marked as deleted, so that nobody waits for its ttl.
    async fn free(&self, name: &LockName, lock: &Lock) -> Result<(), Fault> {
        tracing::warn!(lock = %name, "{}", lingering::reason(lock));
        let term = lock.snapshot()?.1.record.term;
        let freed = Change::Free { term, wall: lingering::since(lock) };
        self.patch(name, &freed).await.map(drop)
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
        f.debug_struct("KubeStore").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Store for KubeStore {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        Box::pin(async move {
            match self.locks.get(name.as_str()).await.map_err(|error| self.call(Verb::Get).fault(error)) {
                Ok(lock) => lingering::read(&lock),
                Err(Fault::Refused(Refused::Absent)) => Ok(None),
                Err(fault) => Err(fault),
            }
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
        let preconditions =
            Preconditions { resource_version: Some(version.number.to_string()), uid: Some(version.uid.to_string()) };
        let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        Box::pin(async move {
            let deleted = self.locks.delete(name.as_str(), &how).await;
            let left = deleted.map_err(|error| self.call(Verb::Delete).fault(error))?.left();
            match left.filter(lingering::is) {
                Some(lock) => self.free(name, &lock).await,
                None => Ok(()),
            }
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<(LockName, Snapshot)>, Fault>> {
        Box::pin(async move {
            let mut found = Vec::new();
            let mut how = ListParams::default().limit(PAGE);
            loop {
                let page = self.locks.list(&how).await.map_err(|error| self.call(Verb::List).fault(error))?;
                found.extend(legible(&page.items)?);
                how.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
                if how.continue_token.is_none() {
                    return Ok(found);
                }
            }
        })
    }

    fn watch(&self, scope: Scope) -> Watch {
        watch::open(self.locks.clone(), Arc::clone(&self.namespace), scope, |_| {})
    }
}
