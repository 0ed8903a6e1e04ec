//! A running `msync`, and what is to be known of it.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tests::{eventually, process::without_proxies};
use tokio::signal::unix::{SignalKind, signal};

/// Long enough for a machine that does other things as well.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// The program under test.
pub(crate) const MSYNC: &str = env!("CARGO_BIN_EXE_tested-msync");

/// A process with its output; it and its group are killed on drop.
pub(crate) struct Running {
    child: Child,
    out: Arc<Mutex<String>>,
    err: Arc<Mutex<String>>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What a shell would show.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// `msync` with arguments, and none of this process's own settings.
pub(crate) fn msync(args: &[&str]) -> Command {
    let mut command = Command::new(MSYNC);
    command.args(args);
    for name in ["MSYNC_NAMESPACE", "MSYNC_OWNER", "MSYNC_STORE"] {
        command.env_remove(name);
    }
    without_proxies(&mut command);
    command
}

/// `msync run x` on a store of its own, with more arguments and a shell script.
pub(crate) fn alone(flags: &[&str], script: &str) -> Command {
    msync(&[&["run", "x", "--store", "memory"], flags, &["--", "sh", "-c", script]].concat())
}

/// Makes programs that are started from now on heed the signals of a terminal, however the tests were started: what a script
/// starts in its background ignores them, and so would all its children. A signal that is listened to is not passed on so.
pub(crate) fn heed_signals() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    let mask = u64::from_str_radix(mask.trim(), 16)?;
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()] {
        if mask & (1 << (kind.as_raw_value() - 1)) != 0 {
            drop(signal(kind)?);
        }
    }
    Ok(())
}

/// Runs to the end.
pub(crate) async fn ended(command: Command) -> Result<Ended> {
    Running::start(command)?.end().await
}

// === impl Running ===

impl Running {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        heed_signals()?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        drop(child.stdin.take());
        let out = collect(child.stdout.take().context("it is piped")?);
        let err = collect(child.stderr.take().context("it is piped")?);
        Ok(Self { child, out, err })
    }

    pub(crate) fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(self.pid(), signal)?)
    }

    pub(crate) fn out(&self) -> String {
        self.out.lock().unwrap().clone()
    }

    pub(crate) fn err(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// Waits until something was written to standard output.
    pub(crate) async fn says(&self, text: &str) -> Result<()> {
        let said = eventually(text, LIMIT, async || self.out().contains(text)).await;
        said.with_context(|| format!("out: {}\nerr: {}", self.out(), self.err()))
    }

    /// Waits until something was written to standard error.
    pub(crate) async fn tells(&self, text: &str) -> Result<()> {
        let told = eventually(text, LIMIT, async || self.err().contains(text)).await;
        told.with_context(|| format!("out: {}\nerr: {}", self.out(), self.err()))
    }

    /// Waits for the end of the process and of its output.
    pub(crate) async fn end(mut self) -> Result<Ended> {
        let child = Mutex::new(&mut self.child);
        let ended = async || child.lock().unwrap().try_wait().is_ok_and(|ended| ended.is_some());
        let in_time = eventually("msync ends", LIMIT, ended).await;
        in_time.with_context(|| format!("out: {}\nerr: {}", self.out(), self.err()))?;
        let status = self.child.wait()?;
        let code = status.code().or(status.signal().map(|signal| 128 + signal)).context("it ended")?;
        // Whoever holds the pipes beyond the end of the process is caught by the next line.
        let only_we = async || Arc::strong_count(&self.out) == 1 && Arc::strong_count(&self.err) == 1;
        eventually("its output ends", LIMIT, only_we).await?;
        Ok(Ended { code, out: self.out(), err: self.err() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGCONT);
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            kept.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}

pub(crate) fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process ids are small"))
}

/// Says whether a process is there and not dead already.
pub(crate) fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    kill(pid, None) != Err(Errno::ESRCH) && !zombie
}

pub(crate) async fn is_gone(pid: Pid) -> Result<()> {
    eventually(&format!("process {pid} is gone"), LIMIT, async || !lives(pid)).await
}

/// The children of a process.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect()
}

/// A place where a script leaves notes.
pub(crate) struct Notes(tempfile::TempDir);

impl Notes {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir()?))
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// Waits for a process id that a script leaves in a file.
    pub(crate) async fn pid(&self, name: &str) -> Result<Pid> {
        eventually(name, LIMIT, async || self.text(name).ends_with('\n')).await?;
        match self.text(name).trim().parse() {
            Ok(pid) => Ok(Pid::from_raw(pid)),
            Err(_) => bail!("{name} is {:?}", self.text(name)),
        }
    }
}
