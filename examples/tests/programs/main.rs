//! The example programs as a user runs them: one process with the store in memory, and several on a real API server.
#![allow(missing_docs, reason = "a test binary")]
#![allow(clippy::disallowed_methods, reason = "processes run in real time")]

mod controller;
mod nightly;
mod postgres;
mod service;
mod worker;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use kube::config::Kubeconfig;
use tests::{
    cluster::Cluster,
    process::{ChildProcess, Spawn},
    testbed::ADMIN,
};

/// Long enough for a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(60);

fn in_memory(program: &str) -> Spawn {
    Spawn::program(program).env("MSYNC_STORE", "memory")
}

/// One pod of several.
fn pod(cluster: &Cluster, program: &str, name: &str) -> Result<Spawn> {
    let spawn = Spawn::program(program).env("KUBECONFIG", cluster.server().kubeconfig(ADMIN)?);
    let spawn = spawn.env("MSYNC_STORE", "kube").env("MSYNC_NAMESPACE", cluster.namespace());
    Ok(spawn.env("MSYNC_OWNER", name))
}

/// A kubeconfig whose namespace is that of the test, for what asks nothing else about it.
fn kubeconfig(cluster: &Cluster) -> Result<PathBuf> {
    let mut config = Kubeconfig::read_from(cluster.server().kubeconfig(ADMIN)?)?;
    for context in config.contexts.iter_mut().filter_map(|named| named.context.as_mut()) {
        context.namespace = Some(cluster.namespace().to_owned());
    }
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubeconfig-{}", cluster.namespace()));
    fs::write(&file, serde_json::to_string(&config)?)?; // JSON is YAML
    Ok(file)
}

async fn ends_well(mut child: ChildProcess) -> Result<()> {
    let status = child.wait(LIMIT).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// As long as they were before msync had calls for what they do, or shorter: comments and empty lines count.
#[test]
fn the_programs_are_short() {
    let programs = [
        ("service", include_str!("../../src/bin/service.rs"), 47),
        ("controller", include_str!("../../src/bin/controller.rs"), 48),
        ("nightly", include_str!("../../src/bin/nightly.rs"), 22),
        ("worker", include_str!("../../src/bin/worker.rs"), 57),
    ];
    for (name, text, most) in programs {
        let lines = text.lines().count();
        assert!(lines <= most, "{name} has {lines} lines, and had {most}");
    }
}
