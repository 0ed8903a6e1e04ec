//! The terminal: whose input it reads, and who is told of its keys.

use std::{
    fs::{File, OpenOptions},
    io,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, killpg},
        termios::{SetArg, Termios, tcgetattr, tcsetattr},
    },
    unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp},
};

/// The terminal that controls this process.
#[derive(Debug)]
pub(super) struct Terminal(File);

/// How a terminal was set before a command had it.
#[derive(Debug)]
pub(super) struct Settings(Termios);

// === impl Terminal ===

impl Terminal {
    /// Opens it; `None` for a process without one.
    pub(super) fn open() -> Option<Self> {
        OpenOptions::new().read(true).write(true).open("/dev/tty").ok().map(Self)
    }

    /// Says whether a process group is its foreground.
    pub(super) fn is_of(&self, group: Pid) -> bool {
        tcgetpgrp(&self.0) == Ok(group)
    }

    /// Makes a process group its foreground. Only where [`stay_in_background`] was called: Unix stops others for this.
    pub(super) fn give(&self, group: Pid) -> io::Result<()> {
        tcsetpgrp(&self.0, group).map_err(io::Error::from)
    }

    /// Takes it back from a group in which nobody lives. Whoever else has it, such as the shell, keeps it.
    pub(super) fn take_back(&self) {
        let abandoned = tcgetpgrp(&self.0).is_ok_and(|group| killpg(group, None) == Err(Errno::ESRCH));
        if abandoned {
            let _ = self.give(getpgrp());
        }
    }

    pub(super) fn settings(&self) -> Option<Settings> {
        tcgetattr(&self.0).ok().map(Settings)
    }

    /// Sets it as it was: a command that was killed has not.
    pub(super) fn restore(&self, settings: &Settings) {
        let _ = tcsetattr(&self.0, SetArg::TCSADRAIN, &settings.0);
    }
}

/// Lets this process, and its threads to come, change and write to the terminal from the background.
pub(super) fn stay_in_background() -> io::Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTTOU);
    set.thread_block().map_err(io::Error::from)
}
