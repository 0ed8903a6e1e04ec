//! Starting the server's processes, the first time and again.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::{Options, Own, assets, binary};
use crate::{
    loudly,
    process::{ChildProcess, Spawn},
};

/// A server is ready in three seconds on an idle machine; a busy one gets time.
pub(super) const READY_LIMIT: Duration = Duration::from_secs(150);

/// How a server is started.
#[derive(Debug)]
pub(super) struct Launch {
    programs: Programs,
    options: Options,
}

#[derive(Debug)]
enum Programs {
    /// Our own program: API server and etcd in one process.
    Binary(PathBuf),
    /// The directory of `kube-apiserver` and `etcd`.
    Assets(PathBuf),
}

/// A started server; dropping it kills its processes.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) api_server: ChildProcess,
    /// Empty when etcd is in the API server's process.
    pub(super) etcd: Option<ChildProcess>,
    pub(super) addr: SocketAddr,
}

/// The line our program prints when it is ready.
#[derive(Deserialize)]
struct Ready {
    server: String,
}

// === impl Running ===

impl Running {
    pub(super) fn api_server(&self) -> &ChildProcess {
        &self.api_server
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn kill(mut self) -> Result<()> {
        self.api_server.kill()?;
        if let Some(mut etcd) = self.etcd {
            etcd.kill()?;
        }
        Ok(())
    }
}

// === impl Launch ===

impl Launch {
    /// Starts the server in a directory, which says who it is: a second start is the same server again.
    pub(super) async fn start(&self, dir: &Path) -> Result<Running> {
        let started = match &self.programs {
            Programs::Binary(binary) => start_binary(binary, &self.options, dir).await,
            Programs::Assets(programs) => assets::start(programs, &self.options, dir).await,
        };
        started
            .map_err(|error| anyhow!("start a test server: {error:#}; the end of its log:\n{}", end_of(&log_file(dir))))
    }
}

/// What a server can be made of on this machine.
pub(super) async fn find(options: Options) -> Result<Option<Launch>> {
    if let Some(dir) = std::env::var_os("KUBEBUILDER_ASSETS").filter(|dir| !dir.is_empty()) {
        return Ok(Some(Launch { programs: Programs::Assets(dir.into()), options }));
    }
    let binary = tokio::task::spawn_blocking(binary::apiserver).await.context("build the API server")??;
    Ok(binary.map(|binary| Launch { programs: Programs::Binary(binary), options }))
}

/// Starts a new server. More than one try: between choosing a free port and listening another process can take it.
pub(super) async fn first_start(launch: Launch) -> Result<Own> {
    let mut tries = 0;
    loop {
        let dir = TempDir::with_prefix("msync-testbed-").context("make a directory for the server")?;
        tries += 1;
        match launch.start(dir.path()).await {
            Ok(running) => return Ok(Own { running: Mutex::new(Some(running)), launch, dir }),
            Err(error) if tries < 3 => loudly(&format!("trying again: {error:#}")),
            Err(error) => return Err(error),
        }
    }
}

async fn start_binary(binary: &Path, options: &Options, dir: &Path) -> Result<Running> {
    let mut api_server = Spawn::program(binary)
        .args(["up", "--stdin-lease", "--remove-dir", "--dir"])
        .arg(dir)
        .arg(format!("--fsync={}", options.fsync))
        .arg(format!("--watch-cache={}", options.watch_cache))
        .arg(format!("--users={}", options.users.join(",")))
        .args(options.etcd_quota.map(|bytes| format!("--etcd-quota-bytes={bytes}")))
        .arg("--")
        .args(apiserver_flags(options))
        .stderr_to(&log_file(dir))?
        .spawn()?;
    let line = api_server.line_with("\"server\"", READY_LIMIT).await?;
    let ready: Ready = serde_json::from_str(&line).context("the line of a ready server")?;
    let addr = ready.server.trim_start_matches("https://").parse().context("the server's address")?;
    Ok(Running { api_server, etcd: None, addr })
}

/// The flags of kube-apiserver that the options ask for; the caller's come last and win.
pub(super) fn apiserver_flags(options: &Options) -> Vec<String> {
    let compaction = options.compaction.map(|every| format!("--etcd-compaction-interval={}s", every.as_secs()));
    compaction.into_iter().chain(options.flags.iter().cloned()).collect()
}

pub(super) fn log_file(dir: &Path) -> PathBuf {
    dir.join("apiserver.log")
}

fn end_of(log: &Path) -> String {
    let log = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
