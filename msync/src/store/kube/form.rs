//! What records are stored in: the custom resource, or a Lease. What both have in common is written once, for this.

use std::fmt;

use k8s_openapi::NamespaceResourceScope;
use serde::{Serialize, de::DeserializeOwned};

use super::fault::{LOCKS, Resource};
use crate::{
    LockName,
    store::kube::crd::{Lock, SESSION_LABEL},
    store::{Fault, Scope, Sighting, Snapshot},
};

/// How a watch asks for some of the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selector {
    Field(String),
    Label(String),
    Everything,
}

// === impl Selector ===

impl Selector {
    pub(super) fn sessions() -> Self {
        Self::Label(format!("{}={}", SESSION_LABEL.0, SESSION_LABEL.1))
    }
}

/// An object that a record stands in.
pub(super) trait Form:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// As errors name it.
    const RESOURCE: &'static Resource;

    /// Reads the object.
    fn snapshot(&self) -> Result<(LockName, Snapshot), Fault>;

    /// Reads the name alone.
    fn lock_name(&self) -> Result<LockName, Fault>;

    /// Reads the version alone.
    fn version(&self) -> Result<u64, Fault>;

    /// Says how the objects of a scope are asked for.
    fn selector(scope: &Scope) -> Selector;

    /// Says what a watch of a scope reports of the object, made or changed.
    fn sighting(&self, _: &Scope) -> Result<Sighting, Fault> {
        let (name, snapshot) = self.snapshot()?;
        Ok(Sighting::Changed(name, snapshot))
    }

    /// Returns the version as text, to watch from.
    fn version_text(&self) -> String {
        self.meta().resource_version.clone().unwrap_or_default()
    }
}

impl Form for Lock {
    const RESOURCE: &'static Resource = &LOCKS;

    fn snapshot(&self) -> Result<(LockName, Snapshot), Fault> {
        Self::snapshot(self)
    }

    fn lock_name(&self) -> Result<LockName, Fault> {
        Self::lock_name(self)
    }

    fn version(&self) -> Result<u64, Fault> {
        Self::version(self)
    }

    fn selector(scope: &Scope) -> Selector {
        match scope {
            Scope::Lock(name) => Selector::Field(format!("metadata.name={name}")),
            Scope::Engine(engine) => Selector::Field(format!("spec.engine={engine}")),
            Scope::Next(engine) => Selector::Field(format!("spec.next={engine}")),
            Scope::Sessions => Selector::sessions(),
            Scope::All => Selector::Everything,
        }
    }
}
