//! The calls of a store on Kubernetes, whatever its records stand in: one request each, and what is to be told of a refusal.

use std::sync::Arc;

use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
};

use super::{
    FIELD_MANAGER, PAGE,
    fault::{Call, Verb},
    form::Form,
    lingering, watch,
};
use crate::{
    LockName,
    record::{Change, Refused},
    store::{Fault, Scope, Version, Watch},
};

/// The objects of one namespace.
#[derive(Clone)]
pub(super) struct Table<F> {
    objects: Api<F>,
    pub(super) namespace: Arc<str>,
}

// === impl Table ===

impl<F: Form> Table<F> {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { objects: Api::namespaced(client, namespace), namespace: namespace.into() }
    }

    fn fault(&self, verb: Verb, error: kube::Error) -> Fault {
        Call { verb, namespace: Arc::clone(&self.namespace), resource: F::RESOURCE }.fault(error)
    }

    /// Reads one that must be there.
    pub(super) async fn get(&self, name: &LockName) -> Result<F, Fault> {
        self.objects.get(name.as_str()).await.map_err(|error| self.fault(Verb::Get, error))
    }

    pub(super) async fn find(&self, name: &LockName) -> Result<Option<F>, Fault> {
        match self.get(name).await {
            Ok(found) => Ok(Some(found)),
            Err(Fault::Refused(Refused::Absent)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Makes one. Where one that is deleted is in the way, looks why.
    pub(super) async fn create(&self, name: &LockName, object: &F) -> Result<F, Fault> {
        let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.objects.create(&how, object).await {
            Ok(made) => Ok(made),
            Err(error) if lingering::is_named_by(&error) => {
                let left = self.get(name).await?;
                Err(lingering::fault(&left).unwrap_or_else(|| self.fault(Verb::Create, error)))
            }
            Err(error) => Err(self.fault(Verb::Create, error)),
        }
    }

    pub(super) async fn patch(&self, name: &LockName, patch: json_patch::Patch) -> Result<F, Fault> {
        let how = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = self.objects.patch(name.as_str(), &how, &Patch::<()>::Json(patch)).await;
        patched.map_err(|error| self.fault(Verb::Patch, error))
    }

    /// Deletes one at a version. Returns the change that is still to be made where it could only be marked as deleted: it is
    /// freed, so that nobody waits for its ttl.
    pub(super) async fn delete(&self, name: &LockName, version: &Version) -> Result<Option<(F, Change)>, Fault> {
        let Some(left) = self.remove(name, version.number.to_string(), version.uid.to_string()).await? else {
            return Ok(None);
        };
        tracing::warn!(lock = %name, "{}", lingering::reason(&left));
        let freed = Change::Free { term: left.snapshot()?.1.record.term, wall: lingering::since(&left) };
        Ok(Some((left, freed)))
    }

    /// Deletes what was just made and is of no use, as under an outdated resource. One try: the fault is told anyway.
    pub(super) async fn take_back(&self, name: &LockName, made: &F) {
        let uid = made.meta().uid.clone().unwrap_or_default();
        if let Err(fault) = self.remove(name, made.version_text(), uid).await {
            tracing::debug!(lock = %name, ?fault, "an unusable lock is left behind");
        }
    }

    /// Deletes one at a version, and returns it if it stays nevertheless.
    async fn remove(&self, name: &LockName, version: String, uid: String) -> Result<Option<F>, Fault> {
        let preconditions = Preconditions { resource_version: Some(version), uid: Some(uid) };
        let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let deleted = self.objects.delete(name.as_str(), &how).await;
        Ok(deleted.map_err(|error| self.fault(Verb::Delete, error))?.left().filter(lingering::is))
    }

    /// Lists all, page by page.
    pub(super) async fn list(&self, mut take: impl FnMut(&[F]) -> Result<(), Fault> + Send) -> Result<(), Fault> {
        let mut how = ListParams::default().limit(PAGE);
        loop {
            let page = self.objects.list(&how).await.map_err(|error| self.fault(Verb::List, error))?;
            take(&page.items)?;
            how.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if how.continue_token.is_none() {
                return Ok(());
            }
        }
    }

    /// Watches a scope; each object is handed to `seen` before it is reported.
    pub(super) fn watch(&self, scope: Scope, seen: impl Fn(&F) + Send + Sync + 'static) -> Watch {
        watch::open(self.objects.clone(), Arc::clone(&self.namespace), scope, seen)
    }
}
