//! `msync-sidecar --check`, as a kubelet runs it.

use std::{path::Path, process::Output};

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::{LIMIT, eventually, sidecar::Sidecar};

async fn check(sidecar: &Sidecar, what: &str) -> Result<Output> {
    let mut program = Command::new(Path::new(env!("CARGO_BIN_EXE_tested-sidecar")));
    Ok(program.args(["--check", what]).env("MSYNC_PORTS", sidecar.port.to_string()).output().await?)
}

#[tokio::test]
async fn a_probe_asks_the_sidecar_that_runs() -> Result<()> {
    let sidecar = Sidecar::start().await?;
    for what in ["healthz", "readyz"] {
        let well = check(&sidecar, what).await?;
        ensure!(well.status.success() && well.stdout.is_empty(), "{well:?}");
    }
    ensure!(sidecar.ask("PUT", "/locks/kept", "test").await?.0 == 200);
    sidecar.process.terminate()?;
    eventually("it takes no new locks, and says so", LIMIT, async || {
        check(&sidecar, "readyz").await.is_ok_and(|ready| {
            !ready.status.success() && String::from_utf8_lossy(&ready.stderr).contains("/readyz answers 503")
        })
    })
    .await?;
    let well = check(&sidecar, "healthz").await?;
    ensure!(well.status.success(), "it serves who has a lock: {well:?}");
    Ok(())
}
