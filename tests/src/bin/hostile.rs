//! `cargo build --release -p tests && target/release/hostile [MINUTES [SEED]]`: puts a sidecar under hostile loads and judges it.
//!
//! Minutes are 60 unless told otherwise. It prints its seed, a line for every round, and what came of it, and fails when a
//! beat of a paced holder was lost or a bound was passed. It runs the `tested-sidecar`
//! beside itself.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use tests::hostile::{Plan, run};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match hostile().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn hostile() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let minutes: u64 = arguments.next().map_or(Ok(60), |text| text.parse()).context("minutes are a whole number")?;
    let seed = match arguments.next() {
        Some(text) => text.parse().context("a seed is a whole number")?,
        None => getrandom::u64()?,
    };
    let program = std::env::current_exe()?.with_file_name("tested-sidecar");
    let length = Duration::from_secs(60 * minutes);
    println!("seed {seed}, {minutes} minutes, {}", program.display());
    let report = run(&Plan { program, seed, length, verbose: true }).await?;
    println!("{report:#?}");
    report.judge(length)?;
    println!("no beat was lost, and every bound was kept");
    Ok(())
}
