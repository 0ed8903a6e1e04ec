//! The binary: reads the configuration, opens the store and runs a sidecar over it.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use msync_compat_sidecar::config::{Config, Store};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let config = Config::parse();
    match start(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(config: &Config) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log).context("--log is no filter")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match config.store {
        Store::Memory | Store::Kube => bail!("this build has no lock engine yet"),
    }
}
