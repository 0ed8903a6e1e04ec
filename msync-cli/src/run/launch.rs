//! The start of the three processes, and the side of `msync` towards the other two.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    thread::sleep,
    time::Duration,
};

use msync::clock::{BootClock, Clock, Moment};
use nix::{
    sys::{
        prctl::{set_child_subreaper, set_pdeathsig},
        signal::{SigSet, Signal, kill},
    },
    unistd::{Pid, getpgrp, getppid},
};

use super::{
    Plan,
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

/// This very program, even after its file was replaced.
const SELF: &str = "/proc/self/exe";
/// First arguments by which it knows that it is one of the inner processes.
const WARDEN: &str = "__warden";
const EXEC: &str = "__exec";
/// There is such a file, and it cannot be run; there is none. As in every shell.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;
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
        EXEC => Some(exec(args.collect())),
        _ => None,
    }
}

/// Starts the command as a child of the warden, as the leader of a process group of its own.
pub(super) fn start_command(foreground: bool, command: &[OsString]) -> io::Result<Pid> {
    let child = Command::new(SELF)
        .arg0("msync")
        .args([OsStr::new(EXEC), Pid::this().to_string().as_ref()])
        .arg(if foreground { "foreground" } else { "background" })
        .args(command)
        .process_group(0)
        .spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).expect("process ids are small")))
}

/// Becomes the command. What has to be done between fork and exec is done here, where it needs no unsafe code.
fn exec(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let warden = args.next().and_then(|pid| pid.to_str()?.parse().ok()).map(Pid::from_raw);
    let foreground = args.next().is_some_and(|word| word == "foreground");
    let Some(program) = args.next() else { return ExitCode::from(CANNOT_RUN) };
    // Should the warden be killed, so is the command; it may have been before this line.
    if set_pdeathsig(Signal::SIGKILL).is_err() || warden != Some(getppid()) {
        return ExitCode::from(CANNOT_RUN);
    }
    if let Some(terminal) = Terminal::open().filter(|_| foreground) {
        let _ = terminal.give(Pid::this());
    }
    // The warden reads its signals from a descriptor, so they are blocked; that is inherited.
    let _ = SigSet::empty().thread_set_mask();
    let error = Command::new(&program).args(args).exec();
    let (code, next) = match error.kind() {
        io::ErrorKind::NotFound => (NOT_FOUND, "is it in the PATH?"),
        io::ErrorKind::PermissionDenied => (CANNOT_RUN, "is it executable?"),
        _ => (CANNOT_RUN, "is it a program for this machine?"),
    };
    eprintln!("msync: cannot run {}: {error}; {next}", program.display());
    ExitCode::from(code)
}
