//! The command itself, the innermost process: started by the warden as a child that becomes it.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use nix::{
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal},
    },
    unistd::{Pid, getppid},
};

use super::terminal::Terminal;

/// This very program, even after its file was replaced.
pub(super) const SELF: &str = "/proc/self/exe";
/// The first argument by which the program knows that it is to become the command.
pub(super) const EXEC: &str = "__exec";
/// There is such a file, and it cannot be run; there is none. As in every shell.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Starts the command as a child of the warden, as the leader of a process group of its own.
pub(super) fn start(foreground: bool, command: &[OsString]) -> io::Result<Pid> {
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
pub(super) fn exec(args: Vec<OsString>) -> ExitCode {
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
