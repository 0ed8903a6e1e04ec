//! Installation of the `Lock` resource, complete when locks can really be stored.
//!
//! The API server says "established" before it can serve: for a moment reads answer 429 "storage is (re)initializing".
//! So the end is one successful list. It never removes a resource or an object.

use std::time::Duration;

use futures::future::{Either, select};
use json_patch::{PatchOperation, ReplaceOperation, jsonptr::PointerBuf};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::{
    Api, Client, CustomResourceExt,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{Lock, LockSpec};
use crate::{
    Error,
    clock::{BootClock, Clock},
    error::told,
    store::{Fatal, Fault, kube::FIELD_MANAGER},
};

/// The name of the resource.
const NAME: &str = "locks.metaparticle.io";
/// Longer than the API server takes to serve a new resource (a second or two), short enough for a deployment to notice.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at whether it is ready.
const PAUSE: Duration = Duration::from_millis(50);

/// Returns the definition of the `Lock` resource, for `kubectl apply` or [`install_crd`].
pub fn definition() -> CustomResourceDefinition {
    let mut definition = Lock::crd();
    for version in &mut definition.spec.versions {
        version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()).into_iter().for_each(complete);
    }
    definition
}

/// Gives the spec a default, so that the defaults of its fields also apply to a `Lock` without one.
fn complete(schema: &mut JSONSchemaProps) {
    schema.required = None;
    for spec in schema.properties.iter_mut().flatten().filter_map(|(name, spec)| (name == "spec").then_some(spec)) {
        spec.default = Some(JSON(json!({})));
    }
}

/// Installs the `Lock` resource, or updates it to this version of msync, and returns when locks can be stored.
///
/// # Errors
/// [`Error::Forbidden`], naming the missing rule; [`Error::Store`] when the API server refuses the resource or is not
/// ready within 30 seconds.
///
/// # Cancel safety
/// May be dropped and called again at any time; the resource may then be there already.
pub async fn install_crd(client: &Client) -> Result<(), Error> {
    let patience = BootClock.sleep_until(BootClock.now() + PATIENCE);
    let mut last = None;
    let outcome = {
        let work = Box::pin(install(client, &mut last));
        match select(work, patience).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(Fault::Unknown(told(format!("it is not ready after {PATIENCE:?}")))),
        }
    };
    let context = match (&outcome, last) {
        (Err(Fault::Unknown(_)), Some(last)) => format!("cannot install {NAME} (last answer: {last})"),
        _ => format!("cannot install {NAME}"),
    };
    outcome.map_err(|fault| Error::from_fault(context, &fault))
}

async fn install(client: &Client, last: &mut Option<String>) -> Result<(), Fault> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let locks: Api<Lock> = Api::default_namespaced(client.clone());
    // Selecting by engine: a server that still serves an older definition, or knows no selectable fields, refuses it.
    let one = ListParams::default().limit(1).fields("spec.engine=nobody");
    until(last, || put(&definitions)).await?;
    loop {
        let found = until(last, || definitions.get(NAME)).await?;
        if established(&found)? {
            break;
        }
        pause().await;
    }
    until(last, || locks.list(&one)).await?;
    until(last, || first_write(&locks)).await
}

/// Writes nothing, as a real write would. Measured on Kubernetes 1.36: the first write after the resource is established
/// and listed takes two seconds, longer than a lock with a short ttl waits for an answer; the next take milliseconds.
/// An installer without the right to make locks, or without that namespace, leaves that wait to the first lock.
async fn first_write(locks: &Api<Lock>) -> Result<(), kube::Error> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    match locks.create(&dry, &Lock::new("msync-probe", LockSpec::default())).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(()),
        answer => answer.map(drop),
    }
}

/// Replaces the whole spec or makes the object. Applying would merge: what an older definition said of a field, such as
/// a format that our default does not have, would stay.
async fn put(definitions: &Api<CustomResourceDefinition>) -> Result<(), kube::Error> {
    let spec = ReplaceOperation { path: PointerBuf::from_tokens(["spec"]), value: json!(definition().spec) };
    let patch = Patch::<()>::Json(json_patch::Patch(vec![PatchOperation::Replace(spec)]));
    let manager = || Some(FIELD_MANAGER.to_owned());
    let how = PatchParams { field_manager: manager(), ..PatchParams::default() };
    match definitions.patch(NAME, &how, &patch).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let how = PostParams { field_manager: manager(), ..PostParams::default() };
            definitions.create(&how, &definition()).await.map(drop)
        }
        answer => answer.map(drop),
    }
}

/// Repeats a call until it is answered, or refused for a reason that will not pass.
async fn until<T, F>(last: &mut Option<String>, call: impl Fn() -> F) -> Result<T, Fault>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        *last = Some(match error {
            kube::Error::Api(status) => match status.code {
                403 => return Err(Fault::Fatal(Fatal::Forbidden(forbidden(&status.message)))),
                405 | 422 => return Err(Fault::Fatal(Fatal::Other(told(status.message.clone())))),
                code => format!("{code}: {}", status.message),
            },
            kube::Error::Service(why) => why.to_string(),
            other => other.to_string(),
        });
        pause().await;
    }
}

async fn pause() {
    BootClock.sleep_until(BootClock.now() + PAUSE).await;
}

fn established(found: &CustomResourceDefinition) -> Result<bool, Fault> {
    let conditions = found.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let find = |kind: &str, value: &str| conditions.iter().find(|c| c.type_ == kind && c.status == value);
    if let Some(taken) = find("NamesAccepted", "False") {
        let why = taken.message.as_deref().unwrap_or("another resource has its names");
        return Err(Fault::Fatal(Fatal::Other(told(why.to_owned()))));
    }
    Ok(find("Established", "True").is_some())
}

fn forbidden(message: &str) -> String {
    format!(
        "cannot install {NAME}: {message}; missing is a ClusterRole with the rules {{apiGroups: [apiextensions.k8s.io], \
         resources: [customresourcedefinitions], verbs: [create, get, patch]}} and {{apiGroups: [metaparticle.io], \
         resources: [locks], verbs: [list]}}, as in examples/manifests/rbac-install.yaml or \
         msync::manifests::RBAC_INSTALL"
    )
}
