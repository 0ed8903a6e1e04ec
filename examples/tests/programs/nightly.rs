//! A job that one of several replicas runs.

use anyhow::{Result, ensure};
use tests::{
    cluster::Cluster,
    process::{ChildProcess, Spawn},
};

use crate::{LIMIT, in_memory, kubeconfig};

const PROGRAM: &str = env!("CARGO_BIN_EXE_nightly");

#[tokio::test]
async fn the_nightly_job_runs_every_night() -> Result<()> {
    let mut job = in_memory(PROGRAM).arg("1").spawn()?;
    for _ in 0..2 {
        job.line_with("reported", LIMIT).await?;
    }
    Ok(())
}

/// Nights of four seconds.
#[tokio::test]
async fn of_three_replicas_one_runs_the_nightly_job() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let replica = || {
        let spawn = Spawn::program(PROGRAM).arg("4").env("MSYNC_STORE", "kube");
        spawn.env("KUBECONFIG", kubeconfig(&cluster)?).spawn()
    };
    let mut jobs = (0..3).map(|_| replica()).collect::<Result<Vec<ChildProcess>>>()?;
    for job in &mut jobs {
        job.line_with("", LIMIT).await?; // of the first night some may have come too late
    }
    for night in 1..3 {
        let mut said = Vec::new();
        for job in &mut jobs {
            said.push(job.line_with("", LIMIT).await?);
        }
        let ran = said.iter().filter(|said| *said == "reported").count();
        ensure!(ran == 1, "night {night}: {said:?}");
    }
    Ok(())
}
