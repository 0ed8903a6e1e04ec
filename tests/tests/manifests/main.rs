//! The manifests that users apply: what the code says, what the API server takes, and what the sidecar understands.
// Servers run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

use std::{ffi::OsStr, fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

mod definition;
mod kustomize;
mod server;
mod sidecar;

/// A file of `examples/manifests`.
fn manifest(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/manifests").join(name)
}

/// The documents of a manifest.
fn documents(name: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(manifest(name)).with_context(|| format!("read {name}"))?;
    let found: Vec<Value> = serde_saphyr::from_multiple(&text).with_context(|| format!("parse {name}"))?;
    ensure!(
        !found.is_empty() && found.iter().all(Value::is_object),
        "{name} has no documents, or one that is no object"
    );
    Ok(found)
}

/// Every manifest that is to be applied: those that are not for kustomize alone.
fn applicable() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(manifest("."))? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).context("a file name is text")?;
        if path.extension().is_some_and(|extension| extension == "yaml") && name != "kustomization.yaml" {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
