//! What tests do by hand to a `Lock`, done to a Lease.

use anyhow::{Context, Result};
use kube::{Api, api::PostParams};
use msync::unstable::{crd::Lock, store::Lease};
use serde_json::Value;

use super::illegible;

/// Writes into a Lease what the same edit of a `Lock` would say; what nobody could read afterwards is not written.
pub(super) async fn edit(leases: &Api<Lease>, lock: &str, spec: &Value) -> Result<()> {
    loop {
        let lease = leases.get(lock).await?;
        let mut object = serde_json::to_value(lease.as_lock().map_err(|fault| illegible(&fault))?)?;
        let fields = object["spec"].as_object_mut().context("a lock has a spec")?;
        fields.extend(spec.as_object().cloned().unwrap_or_default());
        let Some((name, edited)) = serde_json::from_value::<Lock>(object)?.snapshot().ok() else { return Ok(()) };
        let Lease { metadata, spec } = Lease::of(&name, &edited.record);
        let (annotations, labels) = (metadata.annotations, metadata.labels);
        let metadata = kube::api::ObjectMeta { annotations, labels, ..lease.metadata };
        match leases.replace(lock, &PostParams::default(), &Lease { metadata, spec }).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            answer => return answer.map(drop).map_err(Into::into),
        }
    }
}
