//! What tests do by hand to a `Lock`, done to a Lease, or to whichever the suites run on.

use anyhow::{Context, Result};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use msync::unstable::{
    crd::{Lock, LockSpec},
    store::Lease,
};
use serde_json::Value;

use super::{illegible, on_leases};

/// The group and the plural of what the locks of the suites stand in.
pub fn resource() -> (&'static str, &'static str) {
    if on_leases() { ("coordination.k8s.io", "leases") } else { ("metaparticle.io", "locks") }
}

/// Asks the server to make such an object, and to keep nothing of it.
///
/// # Errors
///
/// What the server says to it, admission included.
///
/// # Cancel safety
///
/// Nothing is left behind.
pub async fn probe(client: &kube::Client, namespace: &str) -> kube::Result<()> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    if on_leases() {
        let metadata = ObjectMeta { name: Some("probe".to_owned()), ..ObjectMeta::default() };
        let lease = Lease { metadata, ..Lease::default() };
        return Api::namespaced(client.clone(), namespace).create(&dry, &lease).await.map(drop);
    }
    Api::namespaced(client.clone(), namespace).create(&dry, &Lock::new("probe", LockSpec::default())).await.map(drop)
}

/// Writes into a Lease what the same edit of a `Lock` would say; what nobody could read afterwards is not written.
pub(super) async fn edit(leases: &Api<Lease>, lock: &str, spec: &Value) -> Result<()> {
    loop {
        let lease = leases.get(lock).await?;
        let mut object = serde_json::to_value(lease.as_lock().map_err(|fault| illegible(&fault))?)?;
        let fields = object["spec"].as_object_mut().context("a lock has a spec")?;
        fields.extend(spec.as_object().cloned().unwrap_or_default());
        let Some((name, edited)) = serde_json::from_value::<Lock>(object)?.snapshot().ok() else { return Ok(()) };
        let Lease { metadata, spec } = Lease::of(&name, &edited.record);
        let (mut annotations, labels) = (metadata.annotations, metadata.labels);
        if let Some(notes) = &mut annotations {
            // An entry without a term needs a name all the same, where it stands under one.
            let nameless = notes.remove("msync.dev/w.");
            notes.extend(nameless.map(|text| ("msync.dev/w.nameless".to_owned(), text)));
        }
        let metadata = ObjectMeta { annotations, labels, ..lease.metadata };
        match leases.replace(lock, &PostParams::default(), &Lease { metadata, spec }).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            answer => return answer.map(drop).map_err(Into::into),
        }
    }
}
