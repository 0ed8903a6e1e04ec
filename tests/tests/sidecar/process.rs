//! A sidecar as a process of its own.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{
    process::{ChildProcess, Spawn},
    testbed::{ADMIN, TestServer},
};

use crate::http::{Reply, ask};

/// Long enough for a machine that does other things as well, an installation of the resource included.
const START: Duration = Duration::from_secs(60);

/// A running sidecar; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) process: ChildProcess,
    pub(crate) ports: Vec<u16>,
    pub(crate) owner: String,
}

/// Where sidecars hold their locks.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    kubeconfig: std::path::PathBuf,
    pub(crate) namespace: String,
}

// === impl Place ===

impl Place {
    /// A new namespace of a server.
    pub(crate) async fn new(server: &TestServer) -> Result<Self> {
        Ok(Self { kubeconfig: server.kubeconfig(ADMIN)?, namespace: server.namespace().await? })
    }

    /// A sidecar of an owner, to be told more.
    pub(crate) fn prepared(&self, owner: &str) -> Spawn {
        prepared(owner).env("KUBECONFIG", &self.kubeconfig).args(["--namespace", &self.namespace])
    }

    /// A sidecar of an owner, perhaps in a pod with a uid.
    pub(crate) async fn sidecar(&self, owner: &str, pod: Option<&str>) -> Result<Sidecar> {
        let mut spawn = self.prepared(owner);
        if let Some(uid) = pod {
            spawn = spawn.env("POD_UID", uid);
        }
        Sidecar::started(spawn).await
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// A sidecar over a store of its own.
    pub(crate) async fn in_memory(owner: &str) -> Result<Self> {
        Self::started(prepared(owner).args(["--store", "memory"])).await
    }

    pub(crate) async fn started(spawn: Spawn) -> Result<Self> {
        let mut process = spawn.spawn()?;
        let line = process.line_with("\"ports\"", START).await?;
        let started: Value = serde_json::from_str(&line)?;
        let ports: Vec<u16> = serde_json::from_value(started["ports"].clone())?;
        let owner = started["owner"].as_str().context("the owner")?.to_owned();
        Ok(Self { process, ports, owner })
    }

    pub(crate) fn port(&self) -> u16 {
        self.ports[0]
    }

    pub(crate) async fn ask(&self, method: &str, name: &str) -> Result<Reply> {
        ask(self.port(), method, name).await
    }

    pub(crate) async fn put(&self, name: &str) -> Result<u16> {
        Ok(self.ask("PUT", name).await?.status)
    }
}

/// The program, told to take free ports.
pub(crate) fn prepared(owner: &str) -> Spawn {
    Spawn::program(Path::new(env!("CARGO_BIN_EXE_tested-sidecar")))
        .args(["--ports", "0,0", "--owner", owner])
        .env("MSYNC_LOG", "warn")
        .env("NO_COLOR", "1")
}
