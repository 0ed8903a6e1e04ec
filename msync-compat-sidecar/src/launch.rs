//! From the command line to a running sidecar, and to its end.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser, error::ErrorKind};
use tracing_subscriber::{EnvFilter, filter::ParseError};

use crate::{
    check::{Probe, check},
    config::Config,
    engine,
    front::Limits,
    janitor,
    run::{Ended, run},
    session::Identity,
    sidecar::Bound,
    store,
};

/// Threads that serve; a beat is answered from memory, so two are plenty.
const THREADS: usize = 2;
/// What answers say, as the original's always do: old clients know no namespaces.
const NAMESPACE: &str = "default";

/// Reads the command line and runs until told to end.
pub fn main() -> ExitCode {
    let config = Config::parse();
    if let Some(probe) = config.check {
        return checked(&config, probe);
    }
    match start(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A kubelet shows what a failed probe has printed.
fn checked(config: &Config, probe: Probe) -> ExitCode {
    match check(config, probe) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends as clap does when an option is wrong: without a filter no log would tell.
fn unheard(error: &ParseError) -> ! {
    Config::command().error(ErrorKind::ValueValidation, format_args!("--log is no filter: {error}")).exit()
}

fn start(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|error| unheard(&error));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let ended = runtime.block_on(launch(config));
    runtime.shutdown_background();
    ended
}

/// The ports come first: only the process that has them may take its predecessor's locks back.
async fn launch(config: &Config) -> Result<()> {
    let limits = Limits::default().afforded().context("too few descriptors are allowed")?;
    let bound = Bound::bind(&config.bind, &config.ports).context("cannot listen")?;
    let store = store::open(config).await?;
    let engine = engine::engine(config, &store)?;
    let janitor = tokio::spawn(janitor::run(engine.sweep(), config.store));
    let identity = Identity { owner: engine.owner().to_owned(), namespace: NAMESPACE.into() };
    let ended = run(config, limits, bound, identity, engine.clone()).await?;
    janitor.abort();
    if ended == Ended::Drained {
        engine.shutdown().await;
    }
    Ok(())
}
