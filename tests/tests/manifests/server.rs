//! What a real API server says of the manifests, without keeping any of them.

use anyhow::{Context, Result, anyhow};
use k8s_openapi::{
    api::core::v1::{Namespace, Pod, ServiceAccount},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    discovery::{Scope, pinned_kind},
};
use msync::unstable::crd::{Lock, install_crd};
use serde_json::{Value, json};
use tests::testbed::{ADMIN, TestServer};

use crate::{applicable, documents, sidecar::pod};

const SIDECARS: [&str; 2] = ["native-sidecar.yaml", "ordinary-sidecar.yaml"];

/// A dry run of `kubectl apply --server-side` that refuses what the schema does not know.
async fn apply(client: &Client, namespace: &str, document: &Value) -> Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(document.clone())?;
    let types = object.types.clone().context("it says what it is")?;
    let (resource, abilities) = pinned_kind(client, &GroupVersionKind::try_from(&types)?).await?;
    let api = match abilities.scope {
        Scope::Cluster => Api::<DynamicObject>::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let dry = PatchParams { dry_run: true, ..PatchParams::apply("msync-test").force().validation_strict() };
    Ok(api.patch(&object.name_any(), &dry, &Patch::Apply(&object)).await?)
}

#[tokio::test]
async fn the_server_takes_every_manifest() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let (client, namespace) = (server.client(ADMIN).await?, server.namespace().await?);
    let files = applicable()?;
    assert!(SIDECARS.iter().all(|file| files.iter().any(|found| found == file)), "{files:?}");
    for file in files {
        for document in documents(&file)? {
            let taken = apply(&client, &namespace, &document).await;
            let taken = taken.with_context(|| format!("{file}: {}", document["kind"]))?;
            assert_eq!(Some(taken.name_any().as_str()), document["metadata"]["name"].as_str());
        }
    }
    Ok(())
}

/// Whoever upgrades by a manifest what `msync install` or a sidecar has installed is asked to force it, and told by whom it is.
#[tokio::test]
async fn another_definition_than_msync_has_installed_is_applied_by_force_only() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let (client, namespace) = (server.client(ADMIN).await?, server.namespace().await?);
    install_crd(&client).await?;
    let mut other = documents("crd.yaml")?.remove(0);
    let version = &mut other["spec"]["versions"][0];
    version["schema"]["openAPIV3Schema"]["description"] = json!("of another version");
    let definitions =
        Api::<DynamicObject>::all_with(client.clone(), &ApiResource::erase::<CustomResourceDefinition>(&()));
    let plain = PatchParams { dry_run: true, ..PatchParams::apply("kubectl-of-the-test") };
    let refused = definitions.patch("locks.metaparticle.io", &plain, &Patch::Apply(&other)).await;
    let told = refused.expect_err("the fields are msync's").to_string();
    assert!(told.contains("conflict with \"msync\""), "{told}");
    apply(&client, &namespace, &other).await?;
    Ok(())
}

#[tokio::test]
async fn the_dry_run_finds_a_misspelt_field() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let (client, namespace) = (server.client(ADMIN).await?, server.namespace().await?);
    let mut deployment = documents(SIDECARS[0])?.remove(0);
    let sidecar = &mut deployment["spec"]["template"]["spec"]["initContainers"][0];
    sidecar["restartPolicies"] = json!("Always");
    let error = apply(&client, &namespace, &deployment).await.expect_err("no such field");
    assert!(format!("{error:#}").contains("restartPolicies"), "{error:#}");
    Ok(())
}

/// The upgrade guide promises that old sidecars go on with the new definition: they write nothing else.
#[tokio::test]
async fn what_metaparticle_sync_writes_is_taken_and_reads_as_free() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let (client, namespace) = (server.client(ADMIN).await?, server.namespace().await?);
    install_crd(&client).await?;
    let locks: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &ApiResource::erase::<Lock>(&()));
    let mut old = DynamicObject::new("old", &ApiResource::erase::<Lock>(&()));
    old.data = json!({"spec": {"owner": "pod-1", "expiry": "2099-01-01T00:00:00.000Z"}});
    let mut made = locks.create(&PostParams::default(), &old).await?;
    made.data["spec"] = json!({"owner": "pod-2", "expiry": "2099-01-01T00:00:30.000Z"});
    locks.replace("old", &PostParams::default(), &made).await?;
    let found = Api::<Lock>::namespaced(client, &namespace).get("old").await?;
    assert_eq!(found.spec.owner, "pod-2");
    let (_, snapshot) = found.snapshot().map_err(|fault| anyhow!("{fault:?}"))?;
    assert!(snapshot.record.is_free(), "so both kinds of sidecar must not serve one lock");
    Ok(())
}

/// A namespace that enforces the strictest of the pod security standards.
async fn restricted(server: &TestServer) -> Result<Api<Pod>> {
    let client = server.client(ADMIN).await?;
    let name = server.namespace().await?;
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.patch(&name, &PatchParams::default(), &Patch::Merge(label)).await?;
    // What a controller makes elsewhere; the test bed has none.
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "default"}}))?;
    match Api::namespaced(client.clone(), &name).create(&PostParams::default(), &account).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        made => drop(made?),
    }
    Ok(Api::namespaced(client, &name))
}

fn as_pod(mut template: Value) -> Result<Pod> {
    template["metadata"]["name"] = json!("one");
    Ok(serde_json::from_value(template)?)
}

#[tokio::test]
async fn the_pods_meet_the_restricted_security_standard() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let pods = restricted(server).await?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for file in SIDECARS {
        pods.create(&dry, &as_pod(pod(file)?)?).await.with_context(|| file.to_owned())?;
    }
    let mut lax = pod(SIDECARS[0])?;
    lax["spec"]["initContainers"][0]["securityContext"]["capabilities"] = Value::Null;
    let error = pods.create(&dry, &as_pod(lax)?).await.expect_err("capabilities are not dropped");
    assert!(error.to_string().contains("restricted"), "{error}");
    Ok(())
}
