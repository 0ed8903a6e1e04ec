//! The warden: the parent of the command, and the one who ends it.
//!
//! It knows until when the hold lasts by the [word](super::word) that `msync` keeps to it, and needs nothing else of it: a
//! `msync` that is stopped, swapped out or dead keeps no command alive beyond its hold. It is a subreaper, so whatever the
//! command leaves behind becomes its child. It does not hold the lock, speak to the cluster or know why.

use std::{ffi::OsString, io, os::fd::AsFd, process::ExitCode, time::Duration};

use msync::clock::{BootClock, Clock, Moment};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl::{set_child_subreaper, set_name, set_pdeathsig},
        signal::{SigSet, Signal, kill, killpg},
        signalfd::{SfdFlags, SignalFd},
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd::{Pid, getpgid, getppid},
};

use super::{
    command,
    processes::{self, Status},
    terminal::Terminal,
    word::Reading,
};
use crate::exit::LOST;

/// So long before the end of the hold the last process has been sent SIGKILL: what its end takes. The hold itself ends
/// a margin, a tenth of the ttl, before others may take the lock.
const SLACK: Duration = Duration::from_millis(50);
/// Between two looks at processes that were killed.
const PAUSE: Duration = Duration::from_millis(5);
/// How long `msync` may take to stop after its command has.
const TO_STOP: Duration = Duration::from_millis(300);

struct Warden {
    parent: Pid,
    name: String,
    word: Reading,
    grace: Duration,
    command: Pid,
    /// The code of the command, once it has ended.
    ended: Option<u8>,
    told: Option<Told>,
    /// When to look whether `msync` has stopped as its command has.
    stopping: Option<Moment>,
}

/// The command, or what it has left, was told to end.
#[derive(Clone, Copy)]
struct Told {
    kill_at: Moment,
    lost: bool,
}

/// What is to be done after a step.
enum Next {
    Wait(Moment),
    Exit(u8),
}

/// Runs as the warden: parent, word, grace, foreground, name of the lock, command.
pub(super) fn main(args: &[OsString]) -> io::Result<ExitCode> {
    let bad = || io::Error::new(io::ErrorKind::InvalidInput, "it was started by hand");
    let text = |index: usize| args.get(index).and_then(|arg| arg.to_str()).ok_or_else(bad);
    let parent = Pid::from_raw(text(0)?.parse().map_err(|_| bad())?);
    let grace = Duration::from_millis(text(2)?.parse().map_err(|_| bad())?);
    let foreground = text(3)? == "foreground";

    SigSet::all().thread_block()?;
    let signals = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let timer = TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    set_child_subreaper(true)?;
    // Not to be found under the name of `msync` by who kills that.
    set_name(c"warden")?;
    // Wakes it when `msync` dies, which may have happened before this line: each step looks.
    set_pdeathsig(Signal::SIGCHLD)?;
    let word = Reading::open(text(1)?)?;
    let command = command::start(foreground, &args[5..])?;
    let (name, ended, told, stopping) = (text(4)?.to_owned(), None, None, None);
    let mut warden = Warden { parent, name, word, grace, command, ended, told, stopping };
    loop {
        match warden.step(BootClock.now()) {
            Next::Exit(code) => return Ok(ExitCode::from(code)),
            Next::Wait(until) => wait(&signals, &timer, until)?,
        }
        while let Some(info) = signals.read_signal()? {
            if let Some(signal) = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
                warden.hear(signal);
            }
        }
    }
}

/// Sleeps until a signal comes or a moment does; the timer goes on in suspend.
fn wait(signals: &SignalFd, timer: &TimerFd, until: Moment) -> nix::Result<()> {
    // Zero would switch the timer off.
    let at = TimeSpec::from_duration(Duration::from_nanos(until.as_nanos().max(1)));
    timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    let mut sources = [PollFd::new(signals.as_fd(), PollFlags::POLLIN), PollFd::new(timer.as_fd(), PollFlags::POLLIN)];
    match poll(&mut sources, PollTimeout::NONE) {
        Err(nix::errno::Errno::EINTR) => Ok(()),
        answer => answer.map(drop),
    }
}

// === impl Warden ===

impl Warden {
    fn step(&mut self, now: Moment) -> Next {
        let command = self.command;
        for fate in processes::fates().into_iter().filter(|fate| fate.child == command) {
            match fate.status {
                Status::Ended(code) => self.ended = Some(code),
                Status::Stopped(signal) => self.stopped(signal, now),
            }
        }
        if self.stopping.is_some_and(|at| now >= at) {
            self.stopping = None;
            if !processes::is_stopped(self.parent) {
                self.go_on();
            }
        }
        // A word that cannot be read is none.
        let last = self.word.read().unwrap_or_default() - SLACK;
        let orphaned = getppid() != self.parent;
        let late = now + self.grace >= last;
        if let Some(code) = self.ended.filter(|_| processes::descendants().is_empty()) {
            return Next::Exit(if self.told.is_some_and(|told| told.lost) { LOST } else { code });
        }
        if self.told.is_none() && (self.ended.is_some() || orphaned || late) {
            self.tell(now, last, late && self.ended.is_none());
        }
        let wake = match &mut self.told {
            None => last - self.grace,
            Some(told) => {
                told.kill_at = told.kill_at.min(last);
                told.kill_at
            }
        };
        if self.told.is_some() && now >= wake {
            processes::signal_all(Signal::SIGKILL);
            return Next::Wait(now + PAUSE);
        }
        Next::Wait(self.stopping.map_or(wake, |at| at.min(wake)))
    }

    /// Tells everybody to end: what was stopped must go on to hear it.
    fn tell(&mut self, now: Moment, last: Moment, lost: bool) {
        self.told = Some(Told { kill_at: (now + self.grace).min(last), lost });
        if lost {
            eprintln!("msync: lock {} is about to be lost; its command is told to end", self.name);
        }
        processes::signal_all(Signal::SIGTERM);
        processes::signal_all(Signal::SIGCONT);
    }

    fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::SIGCHLD | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU => {}
            Signal::SIGCONT => self.go_on(),
            signal if self.ended.is_none() => self.forward(signal),
            _ => {}
        }
    }

    fn forward(&self, signal: Signal) {
        let _ = killpg(self.command, signal);
        if getpgid(Some(self.command)) != Ok(self.command) {
            let _ = kill(self.command, signal);
        }
    }

    /// The terminal has stopped the command: the job that the shell knows, `msync`, stops as well, so that the shell goes
    /// on. Where there is no shell the kernel lets nobody stop so; then the command goes on.
    fn stopped(&mut self, signal: i32, now: Moment) {
        let by_terminal = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU].map(|signal| signal as i32);
        if by_terminal.contains(&signal)
            && let Ok(group) = getpgid(Some(self.parent))
        {
            let _ = killpg(group, Signal::SIGTSTP);
            self.stopping = Some(now + TO_STOP);
        }
    }

    fn go_on(&mut self) {
        self.stopping = None;
        let foreground = |terminal: &Terminal| getpgid(Some(self.parent)).is_ok_and(|group| terminal.is_of(group));
        if let Some(terminal) = Terminal::open().filter(foreground) {
            let _ = terminal.give(self.command);
        }
        self.forward(Signal::SIGCONT);
    }
}
