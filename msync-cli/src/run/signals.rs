//! The signals of `msync run`: before it holds they end it, afterwards they are the command's.

use std::{fmt, fs, io};

use futures::future::select_all;
use nix::{libc, sys::signal::Signal as Number};
use tokio::signal::unix::{Signal as Listener, SignalKind, signal};

/// What is passed on. Not those that cannot be caught, that a broken program gets (SEGV and the like), or that stop: Unix
/// stops this process by them, and the warden sees to the command.
const FORWARDED: [Number; 13] = [
    Number::SIGHUP,
    Number::SIGINT,
    Number::SIGQUIT,
    Number::SIGUSR1,
    Number::SIGUSR2,
    Number::SIGALRM,
    Number::SIGTERM,
    Number::SIGVTALRM,
    Number::SIGPROF,
    Number::SIGIO,
    Number::SIGXCPU,
    Number::SIGWINCH,
    Number::SIGURG,
];
/// Those of them that end nobody who does not care.
const HARMLESS: [Number; 2] = [Number::SIGWINCH, Number::SIGURG];

/// All signals that matter, from the start of the process on.
pub(super) struct Signals {
    listeners: Vec<(Number, Listener)>,
}

/// A signal that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caught(pub(super) Number);

/// What a signal means while the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inbound {
    /// A child has ended.
    Child,
    /// This process was stopped and goes on.
    Continued,
    /// The command is meant.
    Forward(Number),
}

// === impl Signals ===

impl Signals {
    /// Listens. What was ignored when this process began stays so, for the command as well: that is how `nohup` works.
    pub(super) fn listen() -> io::Result<Self> {
        let ignored = ignored();
        let wanted = FORWARDED.into_iter().filter(|number| !is_in(ignored, *number));
        let all = wanted.chain([Number::SIGCHLD, Number::SIGCONT]);
        let listen = |number| Ok((number, signal(SignalKind::from_raw(number as libc::c_int))?));
        Ok(Self { listeners: all.map(listen).collect::<io::Result<_>>()? })
    }

    /// Waits for the next one. Dropping this loses none.
    pub(super) async fn next(&mut self) -> Inbound {
        match self.any().await {
            Number::SIGCHLD => Inbound::Child,
            Number::SIGCONT => Inbound::Continued,
            number => Inbound::Forward(number),
        }
    }

    /// Waits for one that ends a process which does not care for it.
    pub(super) async fn deadly(&mut self) -> Caught {
        loop {
            let number = self.any().await;
            if FORWARDED.contains(&number) && !HARMLESS.contains(&number) {
                return Caught(number);
            }
        }
    }

    async fn any(&mut self) -> Number {
        let each = self.listeners.iter_mut().map(|(number, listener)| {
            let number = *number;
            Box::pin(async move {
                listener.recv().await;
                number
            })
        });
        select_all(each).await.0
    }
}

// === impl Caught ===

impl Caught {
    /// The code that a shell would show.
    pub(super) fn exit_code(self) -> u8 {
        exit_code(self.0 as i32)
    }
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// What a shell shows of a process that a signal has ended.
pub(super) fn exit_code(signal: i32) -> u8 {
    u8::try_from(signal).unwrap_or(u8::MAX).saturating_add(128)
}

/// The signals that this process ignores, as a mask; none where `/proc` does not say.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

fn is_in(mask: u64, number: Number) -> bool {
    mask & (1 << (number as libc::c_int - 1)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(exit_code(15), 143);
        assert_eq!(exit_code(2), 130);
        assert_eq!(exit_code(9), 137);
    }

    #[test]
    fn what_rust_itself_ignores_is_found() {
        assert!(is_in(ignored(), Number::SIGPIPE), "the standard library ignores it at the start of each program");
        assert!(!is_in(ignored(), Number::SIGTERM));
    }
}
