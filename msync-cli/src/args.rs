//! The command line: flags as kubectl has them, each verb with an example.
#![allow(clippy::doc_markdown, reason = "`--help` shows these comments as they stand")]

use std::{ffi::OsString, time::Duration};

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use jiff::SignedDuration;
use msync::{LockName, unstable::record::Term};

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

    /// Where the locks are.
    #[arg(long, global = true, env = "MSYNC_STORE", value_enum, default_value_t = Store::Kube)]
    pub store: Store,
}

/// The verbs. What they do is told at their arguments, and that is what `--help` shows.
#[expect(missing_docs, reason = "a line here would take the place of what stands at the arguments")]
#[derive(Debug, Subcommand)]
pub enum Verb {
    Run(Run),
    #[command(visible_alias = "list")]
    Ls(List),
    Get(Get),
    Watch(Watch),
    Release(Release),
    HandOver(HandOver),
    Gc(Gc),
    Doctor(Doctor),
    Install(Install),
    /// Write a completion script for a shell, as in `source <(msync completion bash)`.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Write the manual page of this program, or of one verb, as in `msync man run | man -l -`.
    Man {
        /// The verb.
        verb: Option<String>,
    },
}

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For people with wide screens.
    Wide,
    /// For programs; names and meanings of its fields stay.
    Json,
    /// The same as YAML.
    Yaml,
}

impl Output {
    pub(crate) fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Where the locks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// In the cluster of the kubeconfig or of the pod.
    Kube,
    /// There, in Leases, which need no resource to be installed. All who share a lock must use the same.
    Leases,
    /// In this process, shared with nobody: to try a script without a cluster. Only for `run`.
    Memory,
}

/// Run a command while holding a lock.
///
/// Takes the lock, waiting for its turn, runs the command, and gives the lock back.
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
  Wait for its turn, for as long as it takes:
    msync run nightly -- ./backup.sh
  Somewhere else already? Then all is well:
    msync run nightly --no-wait -E 0 -- ./backup.sh
  At the most once an hour in the whole cluster:
    msync run nightly --wait 5m --at-least 1h -- ./job
  The next one takes over when it ends:
    msync run scheduler --leader -- ./scheduler")]
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

    /// Say nothing but errors.
    #[arg(short, long)]
    pub quiet: bool,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// List locks: who has them, and whether the holder is alive.
///
/// STATE is what can be seen, by the API server's clock: a holder is `alive` while it writes as often as it has to,
/// `silent` when it should have done so by now, `dead` when it was silent for its ttl, so that others may take over.
#[derive(Debug, Clone, Group)]
#[command(after_help = "Examples:
  msync ls -A
  msync ls -o json | jq '.items[] | select(.state == \"dead\") | .name'")]
pub struct List {
    /// The locks of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// How they are written.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Show one lock with its queue.
///
/// Its holder, for how long, the term that `msync release` wants to know, and who waits.
#[derive(Debug, Clone, Group)]
#[command(after_help = "Example:
  msync get nightly -o json | jq .queue")]
pub struct Get {
    /// Name of the lock or election.
    #[arg(value_parser = name)]
    pub name: LockName,

    /// How it is written.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Follow locks: a line whenever one changes hands, its queue changes, or its holder falls silent.
///
/// Goes on until it is interrupted, and outlives failures of the cluster.
/// Here states are told by what this process has seen, and its own clock counts.
#[derive(Debug, Clone, Group)]
#[command(after_help = "Examples:
  msync watch scheduler
  msync watch -A -o json | jq -r 'select(.state == \"dead\") | .name'
  msync watch scheduler --exec 'logger \"$MSYNC_LOCK: $MSYNC_STATE\"'")]
pub struct Watch {
    /// Only these.
    #[arg(value_parser = name)]
    pub names: Vec<LockName>,

    /// The locks of all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// How they are written; JSON is one line for each change.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// Run this by `sh -c` at every line: with MSYNC_LOCK, MSYNC_LOCK_NAMESPACE, MSYNC_STATE, MSYNC_HOLDER and MSYNC_TERM
    /// in its environment, and the JSON on its standard input. One after the other.
    #[arg(long, value_name = "SCRIPT")]
    pub exec: Option<String>,
}

/// Take a lock away from its holder: the first in the queue gets it.
///
/// A holder that is alive is not stopped by it at once: it notices within moments, or by its ttl where it is cut off, and
/// until then both work. Look first (`msync get`), and name the term that you have seen: another hold is left alone.
#[derive(Debug, Clone, Group)]
#[command(after_help = "Example:
  msync release nightly --term 5f0c9c0c2f7e4b16")]
pub struct Release {
    /// Name of the lock or election.
    #[arg(value_parser = name)]
    pub name: LockName,

    /// The term that is to end, as `msync get` shows it.
    #[arg(long, value_parser = term)]
    pub term: Option<Term>,

    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

/// Take a lock away from its holder and give it to one who waits.
///
/// Those who wait before it are passed over. As `msync release`, it does not stop a holder at once.
#[derive(Debug, Clone, Group)]
#[command(after_help = "Example:
  msync hand-over scheduler web-2")]
pub struct HandOver {
    /// Name of the lock or election.
    #[arg(value_parser = name)]
    pub name: LockName,

    /// Who is to have it, as `msync get` shows the queue.
    pub owner: String,

    /// The term that is to end; whichever it is now, if not given.
    #[arg(long, value_parser = term)]
    pub term: Option<Term>,

    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

/// Remove what crashed holders left behind and nobody asks for.
///
/// Names that are used again heal themselves; those made for one job stay for ever without this. A holder counts as dead
/// when this process saw it do nothing for its ttl. Writes the names of what it removed on standard output.
#[derive(Debug, Clone, Group)]
#[command(after_help = "Examples:
  msync gc --dry-run
  msync gc --older-than 1h
See examples/manifests/gc.yaml for a CronJob.")]
pub struct Gc {
    /// Only holds that ended so long ago, by the date in the record.
    #[arg(long, value_parser = duration, value_name = "TIME", default_value = "1d")]
    pub older_than: Duration,

    /// Watch for so long at the most; holders with a longer ttl are left alone.
    #[arg(long, value_parser = duration, value_name = "TIME", default_value = "5m")]
    pub patience: Duration,

    /// Only write what would be removed.
    #[arg(long)]
    pub dry_run: bool,

    /// How it is written.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,

    /// Say nothing but errors.
    #[arg(short, long)]
    pub quiet: bool,
}

/// Check whether locks can work here, and say what to do where they cannot.
///
/// That is: the API server, the Lock resource, each right, the clocks, and that watches deliver.
/// Takes and gives back one lock with a random name. Takes some six seconds, most of them to see how fast the clocks run.
#[derive(Debug, Clone, Group)]
#[command(after_help = "Example:
  msync doctor -n billing")]
pub struct Doctor {
    /// Leave out how fast the clocks run.
    #[arg(long)]
    pub quick: bool,

    /// How it is written.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// Install the Lock resource, once per cluster, and the rights to use it.
///
/// Updates it where it is there already; existing locks stay. Needs the rights of an administrator.
#[derive(Debug, Clone, Group)]
#[command(after_help = "Examples:
  msync install
  msync install --rbac billing,reports
  msync install --rbac billing --print yaml | kubectl apply --server-side -f -")]
pub struct Install {
    /// Allow a service account of these namespaces to use locks there.
    #[arg(long, value_delimiter = ',', value_name = "NAMESPACE")]
    pub rbac: Vec<String>,

    /// The service account.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub service_account: String,

    /// Change nothing; write what would be installed.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub print: Option<Output>,
}

fn term(text: &str) -> Result<Term, String> {
    let term: Option<Term> = text.parse().ok().filter(|term: &Term| !term.is_none());
    term.ok_or_else(|| "a term has 16 hexadecimal digits, as `msync get` shows".to_owned())
}

/// Any text but none names a lock, as in the library: what Kubernetes allows stays, the rest is escaped.
fn name(text: &str) -> Result<LockName, String> {
    if text.is_empty() {
        return LockName::new(text).map_err(|error| error.to_string());
    }
    Ok(LockName::escaped(text))
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

    /// A name in a script and in a program is one lock.
    #[test]
    fn a_name_that_is_none_of_kubernetes_is_the_one_that_the_library_makes_of_it() {
        assert_eq!(name("nightly").unwrap().as_str(), "nightly");
        assert_eq!(name("Nightly_Job").unwrap(), LockName::escaped("Nightly_Job"));
        assert!(name("").is_err(), "an empty variable in a script is a mistake");
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
