//! Clients that run, and what they tell. All clients of a [`Log`] write to one file, so that its order is that of time.

use std::{
    fs::{self, File},
    io,
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::{process::Child, time::timeout};

use crate::{LIMIT, TTL, language::Language};

/// What the clients of one lock tell.
pub(crate) struct Log {
    dir: TempDir,
}

/// A client that is to run.
pub(crate) struct Client<'a> {
    log: &'a Log,
    language: &'a Language,
    port: u16,
    id: &'a str,
    wait: u16,
}

/// Tells a client to end (SIGTERM).
pub(crate) fn terminate(client: &Child) -> Result<()> {
    let pid = client.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).context("it runs")?;
    Ok(rustix::process::kill_process(pid, Signal::TERM)?)
}

// === impl Log ===

impl Log {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    /// A client with this id of the sidecar at this port. Its requests wait for a short time, to be repeated.
    pub(crate) fn client<'a>(&'a self, language: &'a Language, port: u16, id: &'a str) -> Client<'a> {
        Client { log: self, language, port, id, wait: 2 }
    }

    /// What was told, in order.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.read("told").lines().map(str::to_owned).collect()
    }

    pub(crate) fn says(&self, text: &str) -> bool {
        self.read("told").contains(text)
    }

    pub(crate) fn complains(&self, text: &str) -> bool {
        self.read("complaints").contains(text)
    }

    /// How a client ended.
    pub(crate) async fn ended(&self, mut client: Child) -> Result<ExitStatus> {
        let ended = timeout(LIMIT, client.wait()).await;
        Ok(ended.with_context(|| format!("still running: {self:?}"))??)
    }

    pub(crate) async fn succeeds(&self, client: Child) -> Result<()> {
        let status = self.ended(client).await?;
        ensure!(status.success(), "{status}: {self:?}");
        Ok(())
    }

    fn append(&self, file: &str) -> io::Result<File> {
        File::options().create(true).append(true).open(self.dir.path().join(file))
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it told {:?} and complained {:?}", self.read("told"), self.read("complaints"))
    }
}

// === impl Client ===

impl Client<'_> {
    /// With requests that wait for so many seconds.
    pub(crate) fn waiting(self, wait: u16) -> Self {
        Self { wait, ..self }
    }

    /// Takes the lock and works for so many seconds; killed when it is dropped.
    pub(crate) fn spawn(self, lock: &str, seconds: f64) -> Result<Child> {
        let mut command = self.language.command(lock, seconds);
        command.env("MSYNC_URL", format!("http://localhost:{}", self.port)).env("MSYNC_CLIENT_ID", self.id);
        command.env("MSYNC_TTL", TTL.to_string()).env("MSYNC_WAIT", self.wait.to_string());
        command.stdin(Stdio::null()).stdout(self.log.append("told")?).stderr(self.log.append("complaints")?);
        command.kill_on_drop(true).spawn().with_context(|| format!("start {command:?}"))
    }
}
