//! The kustomize base and component: they list what is there, and render, by the library of `kubectl kustomize`, to what they say.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{skipped, testbed::kustomize};

use crate::{documents, manifest, sidecar::pod};

/// Service of a user, with an init container and a volume of its own; and one that is to be left alone.
const SERVICES: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: billing, labels: {msync/sidecar: native}}
spec:
  selector: {matchLabels: {app: billing}}
  template:
    metadata: {labels: {app: billing}}
    spec:
      initContainers: [{name: migrate, image: billing}]
      containers: [{name: billing, image: billing}]
      volumes: [{name: other, emptyDir: {}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: alone}
spec:
  selector: {matchLabels: {app: alone}}
  template:
    metadata: {labels: {app: alone}}
    spec:
      containers: [{name: alone, image: alone}]
";
const OVERLAY: &str = "\
namespace: invoices
resources: [manifests, services.yaml]
components: [manifests/component]
images: [{name: msync-sidecar, newName: registry.example/msync-sidecar, newTag: '7'}]
";

#[test]
fn every_file_that_is_listed_exists() -> Result<()> {
    let base = documents("kustomization.yaml")?.remove(0);
    let listed: Vec<String> = serde_json::from_value(base["resources"].clone())?;
    assert_eq!(listed, ["crd.yaml", "rbac.yaml"], "the resource, and what a namespace needs");
    let component = documents("component/kustomization.yaml")?.remove(0);
    assert_eq!(component["kind"], "Component");
    let patches = component["patches"].as_array().context("patches")?;
    let patches = patches.iter().map(|patch| format!("component/{}", patch["path"].as_str().unwrap_or_default()));
    let files: Vec<String> = listed.into_iter().chain(patches).collect();
    assert_eq!(files.len(), 3);
    for file in files {
        ensure!(manifest(&file).is_file(), "{file} does not exist");
    }
    Ok(())
}

/// What kustomize makes of a user's overlay; `None`, said loudly, where there is no Go to build it with.
fn rendered() -> Result<Option<Vec<Value>>> {
    let Some(kustomize) = kustomize()? else {
        skipped("rendering by kustomize: there is no Go to build it with");
        return Ok(None);
    };
    let overlay = tempfile::tempdir()?;
    copy(&manifest("."), &overlay.path().join("manifests"))?;
    fs::write(overlay.path().join("kustomization.yaml"), OVERLAY)?;
    fs::write(overlay.path().join("services.yaml"), SERVICES)?;
    let output = Command::new(kustomize).arg(overlay.path()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(Some(serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[test]
fn an_overlay_gets_the_base_and_the_sidecar_where_it_asks_for_it() -> Result<()> {
    let Some(made) = rendered()? else { return Ok(()) };
    let find = |kind: &str, name: &str| {
        let found = made.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
        found.with_context(|| format!("{kind} {name}"))
    };
    find("CustomResourceDefinition", "locks.metaparticle.io")?;
    assert_eq!(find("RoleBinding", "msync")?["subjects"][0]["namespace"], "invoices");

    let mut expected = pod("component/sidecar.yaml")?["spec"]["initContainers"][0].clone();
    expected["image"] = json!("registry.example/msync-sidecar:7");
    let billing = &find("Deployment", "billing")?["spec"]["template"]["spec"];
    assert_eq!(billing["initContainers"][0], expected, "before what may need a lock");
    assert_eq!(billing["initContainers"][1]["name"], "migrate");
    assert_eq!(billing["volumes"].as_array().map(Vec::len), Some(2));

    let alone = &find("Deployment", "alone")?["spec"]["template"]["spec"];
    assert_eq!(alone["initContainers"], Value::Null);
    Ok(())
}
