//! Child processes that tests stop, continue and kill, and that never outlive their parent.
//!
//! The parent holds the child's stdin as a lease: a child that calls [`follow_parent`] ends when it reads end of file,
//! however the parent died. Each child leads a process group of its own, so that a *stopped* child whose parent dies is
//! woken by the kernel (SIGHUP, SIGCONT: an orphaned process group) instead of sleeping for ever.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

/// How often a condition without a notification is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Set in children that re-run a test of the current executable.
const CHILD: &str = "MSYNC_TESTBED_CHILD";

/// A child process that has not been spawned yet.
#[derive(Debug)]
pub struct Spawn {
    command: Command,
}

/// A running child process, killed and reaped on drop.
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    target: Pid,
}

/// Keeps a program that speaks to this machine only from the proxies of the environment; an existing cluster may need them.
pub fn without_proxies(command: &mut Command) {
    if !crate::testbed::use_existing() {
        for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(name);
        }
    }
}

// === impl Spawn ===

impl Spawn {
    /// Prepares to run a program, for example a binary of this package (`env!("CARGO_BIN_EXE_name")`).
    pub fn program(path: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        without_proxies(&mut command);
        Self { command }
    }

    /// Prepares to run one test of the current test executable, which sees that it [`is_child`].
    ///
    /// # Errors
    ///
    /// When the path of the current executable is unknown.
    pub fn this_test(name: &str) -> Result<Self> {
        let exe = std::env::current_exe().context("the path of the test executable")?;
        let mut spawn = Self::program(exe);
        spawn.command.args([name, "--exact", "--nocapture", "--include-ignored"]).env(CHILD, "1");
        Ok(spawn)
    }

    /// Appends an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Appends arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Appends the child's stderr to a file, which is made if it is absent; without this it is the parent's.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened.
    pub fn stderr_to(mut self, file: &Path) -> Result<Self> {
        let log = std::fs::File::options().create(true).append(true).open(file);
        self.command.stderr(log.with_context(|| format!("open {}", file.display()))?);
        Ok(self)
    }

    /// Starts the child.
    ///
    /// # Errors
    ///
    /// When the program cannot be started.
    pub fn spawn(mut self) -> Result<ChildProcess> {
        let mut child =
            self.command.spawn().with_context(|| format!("start {}", self.command.get_program().display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the child's stdout was piped")?;
        let (sender, lines) = mpsc::unbounded_channel();
        // A thread, not a task: a child is shared by tests that have a runtime each, and its pipe must never fill up.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let target = Pid::from_child(&child);
        Ok(ChildProcess { child, stdin, lines, target })
    }
}

// === impl ChildProcess ===

impl ChildProcess {
    /// The process id that the signals go to.
    pub fn pid(&self) -> i32 {
        self.target.as_raw_nonzero().get()
    }

    /// Directs the signals to a grandchild instead of the child itself, which is then a mere supervisor.
    pub(crate) fn signal_instead(&mut self, pid: i32) -> Result<()> {
        self.target = Pid::from_raw(pid).context("a process id is positive")?;
        Ok(())
    }

    /// The next line of the child's stdout; `None` when it closed its stdout.
    ///
    /// # Cancel safety
    ///
    /// No line is lost.
    pub async fn line(&mut self) -> Option<String> {
        self.lines.recv().await
    }

    /// Skips lines until one contains `text`, and returns that line.
    ///
    /// # Errors
    ///
    /// When none came within `limit`, or the child closed its stdout before.
    ///
    /// # Cancel safety
    ///
    /// Lines skipped so far are lost.
    pub async fn line_with(&mut self, text: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        loop {
            match timeout_at(deadline, self.line()).await {
                Ok(Some(line)) if line.contains(text) => return Ok(line),
                Ok(Some(_)) => {}
                Ok(None) => bail!("the child ended before a line with {text:?}"),
                Err(_) => bail!("no line with {text:?} within {limit:?}"),
            }
        }
    }

    /// Sends the child a line on its stdin; [`follow_parent`] receives it.
    ///
    /// # Errors
    ///
    /// When the child does not read any more.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the child's stdin was closed")?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).context("write to the child's stdin")
    }

    /// Closes the child's stdin, as the parent's death would.
    pub fn end_lease(&mut self) {
        self.stdin = None;
    }

    /// Stops the child (SIGSTOP); returns once every thread of it stands still.
    ///
    /// # Errors
    ///
    /// When the child is gone, or does not stop.
    ///
    /// # Cancel safety
    ///
    /// The signal is sent at the first poll.
    pub async fn stop(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        for _ in 0..500 {
            match rustix::process::waitid(WaitId::Pid(self.target), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG) {
                Ok(None) => sleep(POLL).await,
                // Only children can be waited for; a grandchild stops as fast, unobserved.
                Ok(Some(_)) | Err(_) => return Ok(()),
            }
        }
        bail!("process {} did not stop", self.pid())
    }

    /// Lets a stopped child continue (SIGCONT).
    ///
    /// # Errors
    ///
    /// When the child is gone.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks the child to end (SIGTERM).
    ///
    /// # Errors
    ///
    /// When the child is gone.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Kills the child (SIGKILL), also a stopped one, and reaps it.
    ///
    /// # Errors
    ///
    /// When it cannot be killed or waited for; a child that has ended already is no error.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if self.child.try_wait()?.is_none() {
            let _ = self.signal(Signal::KILL); // a grandchild may be gone already
            self.child.kill().context("kill the child")?; // a supervisor, too, before it sees the lease end
        }
        let status = self.child.wait().context("wait for the killed child")?;
        self.wait_for_killed_target()?;
        Ok(status)
    }

    /// A killed grandchild is not ours to reap; until it is gone it still holds its port.
    fn wait_for_killed_target(&self) -> Result<()> {
        for _ in 0..1000 {
            if !is_alive(self.pid()) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("process {} outlives SIGKILL", self.pid())
    }

    /// The child's exit status if it has ended.
    ///
    /// # Errors
    ///
    /// When the operating system refuses to tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("ask for the child's status")
    }

    /// Waits until the child has ended by itself.
    ///
    /// # Errors
    ///
    /// When it still runs after `limit`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("process {} still runs after {limit:?}", self.pid());
            }
            sleep(POLL).await;
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.target, signal)
            .with_context(|| format!("send {signal:?} to process {}", self.pid()))
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Whether this process was started by [`Spawn::this_test`].
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Whether a process exists that has not ended (a zombie has).
pub fn is_alive(pid: i32) -> bool {
    let Some(known) = Pid::from_raw(pid) else { return false };
    rustix::process::test_kill_process(known).is_ok() && !is_zombie(pid)
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The main thread may be a zombie while others still end, and hold the files of all.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    // The state follows the name, which stands in parentheses and may contain some itself.
    threads <= 1 && stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// To be called first in a child: hands over the lines the parent says, and ends this process when the parent is gone.
pub fn follow_parent() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
        std::process::exit(3);
    });
    lines
}
