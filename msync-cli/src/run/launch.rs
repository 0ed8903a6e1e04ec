//! The start of the three processes, and the side of `msync` towards the other two.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    thread::sleep,
    time::Duration,
};

use msync::clock::{BootClock, Clock, Moment};
use nix::{
    sys::{
        prctl::set_child_subreaper,
        signal::{Signal, kill},
    },
    unistd::{Pid, getpgrp},
};

use super::{
    Plan,
    command::{self, SELF},
    hold::Hold,
    processes::{self, Status},
    terminal::{Settings, Terminal, stay_in_background},
    warden,
    word::Word,
};
use crate::{
    args::Run,
    exit::{FAILED, Failure},
};

/// The first argument by which the program knows that it is the warden.
const WARDEN: &str = "__warden";
/// How long processes that were killed may take to be gone, and between two looks.
const BURIAL: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// The running command, behind its warden.
#[derive(Debug)]
pub(super) struct Launched {
    warden: Pid,
    word: Word,
    terminal: Option<Terminal>,
    settings: Option<Settings>,
    broken: bool,
}

// === impl Launched ===

impl Launched {
    /// Starts the warden, which starts the command.
    pub(super) fn start(args: &Run, hold: &Hold, plan: Plan) -> Result<Self, Failure> {
        stay_in_background()?;
        set_child_subreaper(true).map_err(io::Error::from)?;
        let until = hold.until();
        let word = Word::new(until)?;
        let terminal = Terminal::open();
        let foreground = terminal.as_ref().is_some_and(|terminal| terminal.is_of(getpgrp()));
        let settings = terminal.as_ref().filter(|_| foreground).and_then(Terminal::settings);
        let child = Command::new(SELF)
            .arg0("msync")
            .args([WARDEN, &Pid::this().to_string(), &word.path(), &plan.grace.as_millis().to_string()])
            .args([if foreground { "foreground" } else { "background" }, args.name.as_str()])
            .args(&args.command)
            // Last, so that nothing of the environment speaks for another lock.
            .env("MSYNC_LOCK", args.name.as_str())
            .env("MSYNC_TOKEN", hold.token().to_string())
            .env("MSYNC_DEADLINE", deadline(until).to_string())
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::new(FAILED, format_args!("cannot start {SELF}: {error}; is /proc mounted?")))?;
        let warden = Pid::from_raw(i32::try_from(child.id()).expect("process ids are small"));
        Ok(Self { warden, word, terminal, settings, broken: false })
    }

    /// Tells the warden until when the command may run.
    pub(super) fn hold_until(&self, until: Moment) {
        // Memory that was written once can be written again; if not, the old word ends the command too early.
        let _ = self.word.write(until);
    }

    /// Returns the code that the warden ended with, once it has.
    pub(super) fn ended(&mut self) -> Option<u8> {
        let ended = processes::fates().into_iter().find_map(|fate| match fate.status {
            Status::Ended(code) if fate.child == self.warden => Some(code),
            _ => None,
        });
        self.broken |= ended.is_some_and(|code| code > 128);
        ended
    }

    pub(super) fn forward(&self, signal: Signal) {
        let _ = kill(self.warden, signal);
    }

    /// Lets a command that was stopped go on.
    pub(super) fn go_on(&self) {
        let _ = kill(self.warden, Signal::SIGCONT);
    }

    /// Ends everything at once: somebody else may have the lock.
    pub(super) fn kill(&mut self) {
        self.broken = true;
        processes::signal_all(Signal::SIGKILL);
    }

    /// Sees to it that nothing lives that has run under the lock, whatever became of the warden, and that the terminal is
    /// as it was.
    pub(super) fn clean_up(&self) {
        let limit = BootClock.now() + BURIAL;
        while processes::signal_all(Signal::SIGKILL) > 0 {
            processes::fates();
            if BootClock.now() > limit {
                eprintln!("msync: processes of the command cannot be killed: {:?}", processes::descendants());
                break;
            }
            sleep(PAUSE);
        }
        let Some(terminal) = &self.terminal else { return };
        terminal.take_back();
        if let Some(settings) = self.settings.as_ref().filter(|_| self.broken) {
            terminal.restore(settings);
        }
    }
}

/// A moment of the local clock as Unix time, rounded down.
fn deadline(until: Moment) -> i64 {
    let now = BootClock.read();
    (now.wall + until.since(now.local)).as_millis().div_euclid(1000)
}

/// Does what an inner process is for; `None` for a process that a user has started.
pub(crate) fn inner() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    match args.next()?.to_str()? {
        WARDEN => Some(warden::main(&args.collect::<Vec<_>>()).unwrap_or_else(|error| {
            eprintln!("msync: the warden of the command cannot work: {error}");
            ExitCode::from(FAILED)
        })),
        command::EXEC => Some(command::exec(args.collect())),
        _ => None,
    }
}
