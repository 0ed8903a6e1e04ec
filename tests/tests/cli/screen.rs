//! A pseudo-terminal with a process on it: what a person would see and type.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use anyhow::{Context, Result};
use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::eventually;

use crate::child::{LIMIT, children, heed_signals, pid_of};

/// A terminal; whoever is on it is killed on drop.
pub(crate) struct Screen {
    pub(crate) keys: File,
    seen: Arc<Mutex<String>>,
    child: Child,
}

impl Screen {
    /// Starts a command as the leader of a session with this terminal.
    pub(crate) fn start(command: &Command, columns: u16) -> Result<Self> {
        heed_signals()?;
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None)?;
        let mut wrapped = Command::new("setsid");
        wrapped.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        let stdio = || Ok::<_, std::io::Error>(Stdio::from(pty.slave.try_clone()?));
        let child =
            wrapped.stdin(stdio()?).stdout(stdio()?).stderr(stdio()?).spawn().context("setsid of util-linux")?;
        let keys = File::from(pty.master);
        let seen = Arc::new(Mutex::new(String::new()));
        let (mut shown, kept) = (keys.try_clone()?, Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Ends with EIO when nobody is on the terminal any more.
            while let Ok(read @ 1..) = shown.read(&mut bytes) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
            }
        });
        Ok(Self { keys, seen, child })
    }

    /// All that was ever shown, with its control characters.
    pub(crate) fn seen(&self) -> String {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) async fn shows(&self, text: &str) -> Result<()> {
        let shown = eventually(text, LIMIT, async || self.seen().contains(text)).await;
        shown.with_context(|| format!("the screen: {:?}", self.seen()))
    }

    pub(crate) fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    /// Waits for the end, and returns the code that a shell would show.
    pub(crate) async fn end(&mut self) -> Result<i32> {
        let child = Mutex::new(&mut self.child);
        let ended = async || child.lock().unwrap().try_wait().is_ok_and(|ended| ended.is_some());
        let in_time = eventually("the session ends", LIMIT, ended).await;
        in_time.with_context(|| format!("the screen: {:?}", self.seen()))?;
        self.child.wait()?.code().context("setsid tells the code")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        kill_all(pid_of(&self.child));
        let _ = self.child.wait();
    }
}

/// Kills a process and all its descendants, from the root on.
fn kill_all(pid: Pid) {
    let below = children(pid);
    let _ = kill(pid, Signal::SIGKILL);
    below.into_iter().for_each(kill_all);
}
