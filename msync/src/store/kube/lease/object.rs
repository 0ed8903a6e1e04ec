//! The Lease as it travels: read so that no field that somebody else writes can keep a list from being read.

use std::{borrow::Cow, collections::BTreeMap, fmt::Display};

use json_patch::{
    AddOperation, Patch, PatchOperation, RemoveOperation, TestOperation,
    jsonptr::{PointerBuf, Token},
};
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    FencingToken, LockName,
    error::told,
    record::{
        Record,
        leased::{ENGINE_LABEL, Leased, NEXT_LABEL, Op, badge},
    },
    store::{
        Fatal, Fault, Scope, Sighting, Snapshot, Version,
        kube::{
            crd::{Lock, ORIGINAL_NAME, SESSION_LABEL},
            fault::{LEASES, Resource},
            form::{Form, Selector},
        },
    },
};

/// A `coordination.k8s.io/v1` Lease. Its dates are texts: one beyond the calendar would make a whole list unreadable.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Lease {
    /// The object's metadata.
    pub metadata: ObjectMeta,
    /// Each field of the spec as it stands there.
    pub spec: BTreeMap<String, Value>,
}

/// With what every object says of itself.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default, skip_deserializing)]
    api_version: &'static str,
    #[serde(default, skip_deserializing)]
    kind: &'static str,
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Option<BTreeMap<String, Value>>,
}

impl From<Wire> for Lease {
    fn from(wire: Wire) -> Self {
        Self { metadata: wire.metadata, spec: wire.spec.unwrap_or_default() }
    }
}

impl From<Lease> for Wire {
    fn from(lease: Lease) -> Self {
        Self { api_version: "coordination.k8s.io/v1", kind: "Lease", metadata: lease.metadata, spec: Some(lease.spec) }
    }
}

impl kube::Resource for Lease {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Lease".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "coordination.k8s.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "leases".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

// === impl Lease ===

impl Lease {
    /// Makes the object of a record.
    pub fn of(name: &LockName, record: &Record) -> Self {
        let Leased { spec, mut annotations, mut labels, version: _ } = Leased::of(record);
        if let (Some(notes), Some(original)) = (&mut annotations, name.original()) {
            notes.insert(ORIGINAL_NAME.to_owned(), original.to_owned());
        }
        if name.is_session() {
            let label = (SESSION_LABEL.0.to_owned(), SESSION_LABEL.1.to_owned());
            labels.get_or_insert_default().extend([label]);
        }
        let name = Some(name.as_str().to_owned());
        Self { metadata: ObjectMeta { name, annotations, labels, ..ObjectMeta::default() }, spec }
    }

    /// Returns what matters of it to who holds it.
    ///
    /// # Errors
    /// [`Fatal::Other`] when its version is not one that fencing tokens can be made of.
    pub fn leased(&self) -> Result<Leased, Fault> {
        let (annotations, labels) = (self.metadata.annotations.clone(), self.metadata.labels.clone());
        Ok(Leased { spec: self.spec.clone(), annotations, labels, version: Form::version(self)? })
    }

    /// Reads the object.
    ///
    /// # Errors
    /// [`Fatal::Other`], naming the Lease, when its version is not one that the protocol can use, or when the API server
    /// itself decides who holds it.
    pub fn snapshot(&self) -> Result<(LockName, Snapshot), Fault> {
        let record = self.leased()?.record().map_err(|why| self.unusable(why))?;
        let uid = self.uid().unwrap_or_default().into();
        Ok((self.lock_name()?, Snapshot { version: Version { uid, number: Form::version(self)? }, record }))
    }

    /// Shows it as the custom resource would: for whoever lists locks, wherever they stand.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    pub fn as_lock(&self) -> Result<Lock, Fault> {
        let (name, snapshot) = self.snapshot()?;
        Ok(Lock { metadata: self.metadata.clone(), ..Lock::of(&name, &snapshot.record) })
    }

    fn unusable(&self, why: impl Display) -> Fault {
        let namespace = self.namespace().unwrap_or_default();
        Fault::Fatal(Fatal::Other(told(format!("lease {namespace}/{}: {why}", self.name_any()))))
    }
}

impl Form for Lease {
    const RESOURCE: &'static Resource = &LEASES;

    fn snapshot(&self) -> Result<(LockName, Snapshot), Fault> {
        Self::snapshot(self)
    }

    fn lock_name(&self) -> Result<LockName, Fault> {
        let name = LockName::stored(&self.name_any()).map_err(|error| self.unusable(error))?;
        Ok(name.with_original(self.annotations().get(ORIGINAL_NAME).map(String::as_str)))
    }

    fn version(&self) -> Result<u64, Fault> {
        let text = self.resource_version().unwrap_or_default();
        let number = text.parse().ok().filter(|number| *number < FencingToken::VERSION_LIMIT);
        number.ok_or_else(|| {
            self.unusable(format_args!("its resourceVersion is {text:?}; fencing tokens need an integer below 2^48"))
        })
    }

    fn selector(scope: &Scope) -> Selector {
        match scope {
            Scope::Lock(name) => Selector::Field(format!("metadata.name={name}")),
            Scope::Engine(engine) => Selector::Label(format!("{ENGINE_LABEL}={}", badge(engine.as_str()))),
            Scope::Next(engine) => Selector::Label(format!("{NEXT_LABEL}={}", badge(engine.as_str()))),
            Scope::Sessions => Selector::sessions(),
            Scope::All => Selector::Everything,
        }
    }

    /// A Lease that is not for msync says nothing to who looks at many.
    fn sighting(&self, scope: &Scope) -> Result<Sighting, Fault> {
        match (Self::snapshot(self), scope) {
            (Ok((name, snapshot)), _) => Ok(Sighting::Changed(name, snapshot)),
            (Err(fault), Scope::Lock(_)) => Err(fault),
            (Err(_), _) => Ok(Sighting::Alive),
        }
    }
}

/// Writes operations as the patch that is sent.
pub(super) fn patch(ops: Vec<Op>) -> Patch {
    let pointer = |place: Vec<String>| PointerBuf::from_tokens(place.into_iter().map(Token::from));
    let operation = |op| match op {
        Op::Test(place, value) => PatchOperation::Test(TestOperation { path: pointer(place), value }),
        Op::Set(place, value) => PatchOperation::Add(AddOperation { path: pointer(place), value }),
        Op::Remove(place) => PatchOperation::Remove(RemoveOperation { path: pointer(place) }),
    };
    Patch(ops.into_iter().map(operation).collect())
}

#[cfg(test)]
mod tests;
