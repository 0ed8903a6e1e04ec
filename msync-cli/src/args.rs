//! The command line: flags as kubectl has them, each verb with an example.

use std::{ffi::OsString, time::Duration};

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use msync::LockName;

/// Distributed locks and leader election on Kubernetes: run commands under a lock, see who holds what, free what is stuck.
///
/// Data goes to standard output, everything else to standard error. Ends with 0 when all went well, 2 when the command line
/// is wrong, 75 when somebody else has the lock, 77 when a right is missing, 69 when the cluster gives no answer, 78 when
/// the Lock resource is not installed, 1 otherwise; `msync run` with the code of its command.
#[derive(Debug, Parser)]
#[command(
    name = "msync",
    version,
    max_term_width = 100,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs"
)]
pub struct Args {
    /// Which locks are meant.
    #[command(flatten)]
    pub cluster: Cluster,
    /// What is to be done.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which locks are meant.
#[derive(Debug, Clone, Group)]
#[command(next_help_heading = "Cluster")]
pub struct Cluster {
    /// Namespace of the locks. Default: that of the kubeconfig or the pod.
    #[arg(short, long, global = true, env = "MSYNC_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,

    /// Context of the kubeconfig. Default: its current one, or the pod's service account.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command while holding a lock.
    Run(Run),
}

/// Where the locks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// In the cluster of the kubeconfig or of the pod.
    Kube,
    /// In this process, shared with nobody: to try a script without a cluster.
    Memory,
}

/// Takes the lock NAME, runs the command, and gives the lock back.
///
/// The command runs in a process group of its own, with this terminal; signals are passed on to it. Should the lock be
/// about to get lost, the command is told to end (SIGTERM) in time for it to be gone before anybody else can have the
/// lock. Whatever the command leaves running in the background is ended before the lock is given back.
///
/// The command finds in its environment MSYNC_LOCK (the name), MSYNC_TOKEN (the fencing token: give it to what the lock
/// protects) and MSYNC_DEADLINE (Unix time in seconds: held at least until then, without a further renewal).
///
/// Ends with the code of the command, 128 + N if signal N ended it or msync; 126 if the command cannot be run, 127 if there
/// is none; 75 if the lock was busy, 76 if it was lost, 77 if a right is missing, 78 if the Lock resource is not
/// installed, 69 if the cluster could not be used.
#[derive(Debug, Clone, Group)]
#[command(after_help = "Examples:
  msync run nightly -- ./backup.sh                       waits its turn, for as long as it takes
  msync run nightly --no-wait -E 0 -- ./backup.sh        somewhere else already? then all is well
  msync run nightly --wait 5m --at-least 1h -- ./job     at the most once an hour in the whole cluster
  msync run scheduler --leader -- ./scheduler            the next one takes over when it ends")]
pub struct Run {
    /// Name of the lock or election.
    #[arg(value_parser = name)]
    pub name: LockName,

    /// Give up if the lock cannot be had within this time, as in `90s` or `5m`. Default: wait for ever.
    #[arg(long, value_parser = duration, value_name = "TIME", conflicts_with = "no_wait")]
    pub wait: Option<Duration>,

    /// Give up at once if somebody has the lock. A holder that looks dead is watched for its ttl at most.
    #[arg(long)]
    pub no_wait: bool,

    /// How long others wait for a sign of life of this process before they take the lock over.
    #[arg(long, value_parser = duration, value_name = "TIME", default_value = "30s")]
    pub ttl: Duration,

    /// Keep the lock at least so long after it was taken, even when the command ends before.
    #[arg(long, value_parser = duration, value_name = "TIME", conflicts_with = "leader")]
    pub at_least: Option<Duration>,

    /// End the command after this time: a stuck one must not keep the lock for ever.
    #[arg(long, value_parser = duration, value_name = "TIME", conflicts_with = "leader")]
    pub max_hold: Option<Duration>,

    /// Campaign in an election instead: the record stays when the command ends, and waiting may take days.
    #[arg(long, conflicts_with = "no_wait")]
    pub leader: bool,

    /// How long the command may take to end after SIGTERM before it is killed. Default: 10s, or what the ttl allows.
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub grace: Option<Duration>,

    /// The code to end with when somebody else has the lock.
    #[arg(short = 'E', long, value_name = "CODE", default_value_t = crate::exit::BUSY)]
    pub busy_code: u8,

    /// The name under which the lock is held. Default: the host name.
    #[arg(long, env = "MSYNC_OWNER", value_name = "NAME")]
    pub owner: Option<String>,

    /// Where the lock is.
    #[arg(long, env = "MSYNC_STORE", value_enum, default_value_t = Store::Kube)]
    pub store: Store,

    /// Say nothing but errors.
    #[arg(short, long)]
    pub quiet: bool,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

fn name(text: &str) -> Result<LockName, String> {
    LockName::new(text).map_err(|error| error.to_string())
}

/// Reads `90s`, `5m`, `1h30m`, `1d`; a bare number would leave its unit to luck.
fn duration(text: &str) -> Result<Duration, String> {
    const HELP: &str = "write a time such as 500ms, 90s, 5m or 1h30m";
    if text.bytes().all(|byte| byte.is_ascii_digit()) && text != "0" {
        return Err(format!("the unit is missing: {HELP}"));
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    let parsed = match days {
        Some(days) => SignedDuration::try_from_hours(24_i64.saturating_mul(days)),
        None => text.parse().ok(),
    };
    parsed.and_then(|parsed| Duration::try_from(parsed).ok()).ok_or_else(|| HELP.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn times_need_a_unit_and_have_the_usual_ones() {
        let seconds = |text| duration(text).map(|time| time.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("7d"), Ok(7 * 86_400));
        assert_eq!(seconds("0"), Ok(0));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["5", "", "-5s", "soon", "5 apples", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
