//! The program `msync`: locks and elections from a shell.
//!
//! Data goes to standard output, everything said to people to standard error. Nothing is asked where standard input is no
//! terminal. Each command is a module; what a lock is, who may hold it and what a release does is the library's to know.

pub mod args;
mod connect;
mod doctor;
mod exit;
mod free;
mod gc;
mod install;
mod list;
mod look;
mod paper;
mod row;
mod run;
mod show;
mod talk;
mod watch;

use std::process::ExitCode;

use clap::{
    CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};

use crate::{
    args::{Args, Verb},
    exit::Failure,
};

/// Reads the command line, does what it says, and returns the code that the process is to end with.
pub fn main() -> ExitCode {
    if let Some(code) = run::inner() {
        return code;
    }
    let read = command().try_get_matches().and_then(|matches| Args::from_arg_matches(&matches));
    let args = read.unwrap_or_else(|error| with_tip(error).exit());
    match perform(args) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

/// Who forgets the `--` before the command of `run`, as everybody does once, is told so.
fn with_tip(mut error: clap::Error) -> clap::Error {
    let of = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let (usage, argument) = (of(ContextKind::Usage), of(ContextKind::InvalidArg));
    if error.kind() == ErrorKind::UnknownArgument && usage.contains(" run ") && !argument.starts_with('-') {
        let tip = "the command goes behind `--`, as in `msync run NAME -- COMMAND`";
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// The definition of the command line, under the name that the program was called by.
pub fn command() -> clap::Command {
    let called = std::env::args_os().next().unwrap_or_default();
    let plugin = std::path::Path::new(&called).file_name().is_some_and(|name| name == "kubectl-msync");
    Args::command().bin_name(if plugin { "kubectl msync" } else { "msync" })
}

fn perform(args: Args) -> Result<ExitCode, Failure> {
    // One thread: a child's death signal is tied to the thread that made it, and this one lives as long as the process.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cluster = args.cluster;
    let done = runtime.block_on(async {
        match args.verb {
            Verb::Run(run) => return run::run(&cluster, run).await,
            Verb::Ls(list) => list::ls(&cluster, &list).await,
            Verb::Get(get) => list::get(&cluster, &get).await,
            Verb::Watch(watch) => watch::watch(&cluster, &watch).await,
            Verb::Release(release) => free::release(&cluster, &release).await,
            Verb::HandOver(hand_over) => free::hand_over(&cluster, &hand_over).await,
            Verb::Gc(gc) => gc::gc(&cluster, &gc).await,
            Verb::Doctor(doctor) => doctor::doctor(&cluster, &doctor).await,
            Verb::Install(install) => install::install(&cluster, &install).await,
            Verb::Completion { shell } => paper::completion(shell),
            Verb::Man { verb } => paper::man(verb.as_deref()),
        }
        .map(|()| ExitCode::SUCCESS)
    });
    runtime.shutdown_background();
    done
}
