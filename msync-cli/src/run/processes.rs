//! Descendants of this process, found in `/proc`: what a command has started, however far it got away.
//!
//! This process is their subreaper, so whoever loses its parent becomes a child of it and stays a descendant.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::{io::retry_on_intr, process::WaitOptions};

/// What has become of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) child: Pid,
    pub(super) status: Status,
}

/// How a child ended, or by what it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// It exited with a code, or what a shell shows of a signal.
    Ended(u8),
    /// By a signal, as its number.
    Stopped(i32),
}

/// Buries the children that have ended, and tells of those that were stopped.
pub(super) fn fates() -> Vec<Fate> {
    let how = WaitOptions::NOHANG | WaitOptions::UNTRACED;
    let mut found = Vec::new();
    while let Ok(Some((child, status))) = retry_on_intr(|| rustix::process::wait(how)) {
        let status = match (status.exit_status(), status.terminating_signal(), status.stopping_signal()) {
            (Some(code), ..) => Status::Ended(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            (_, Some(signal), _) => Status::Ended(super::signals::exit_code(signal)),
            (.., Some(signal)) => Status::Stopped(signal),
            _ => continue,
        };
        found.push(Fate { child: Pid::from_raw(child.as_raw_nonzero().get()), status });
    }
    found
}

/// All descendants that are alive, zombies left out.
pub(super) fn descendants() -> Vec<Pid> {
    let all = all();
    let mut family = vec![Pid::this()];
    // A child may stand before its parent in the list: go on until nobody new is found.
    loop {
        let is_new = |(pid, parent): &&(Pid, Pid)| family.contains(parent) && !family.contains(pid);
        let new: Vec<_> = all.iter().filter(is_new).map(|(pid, _)| *pid).collect();
        if new.is_empty() {
            family.remove(0);
            return family;
        }
        family.extend(new);
    }
}

/// Sends a signal to every descendant, and says to how many.
pub(super) fn signal_all(signal: Signal) -> usize {
    let all = descendants();
    for pid in &all {
        let _ = kill(*pid, signal);
    }
    all.len()
}

/// Every living process with its parent.
fn all() -> Vec<(Pid, Pid)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parent_of(&stat).map(|parent| (Pid::from_raw(pid), parent))
    })
    .collect()
}

/// Reads `pid (name) state parent …`; the name may contain anything, parentheses included. `None` for a zombie.
fn parent_of(stat: &str) -> Option<Pid> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then(|| Pid::from_raw(parent))
}

/// Says whether a process stands still.
pub(super) fn is_stopped(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    matches!(state, Some("T" | "t"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        assert_eq!(parent_of("7 (sh) S 3 7 7"), Some(Pid::from_raw(3)));
        assert_eq!(parent_of("7 (a) Z 9 ) R 3 7"), Some(Pid::from_raw(3)));
        assert_eq!(parent_of("7 (sh) Z 3 7 7"), None, "it is dead already");
        assert_eq!(parent_of(""), None);
    }

    #[test]
    fn children_are_descendants() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert!(descendants().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants().contains(&pid));
    }
}
