//! What a sidecar says of a start that fails, or of a cluster that is not there: words for people, which say what to mend.

use anyhow::{Result, ensure};
use tests::{eventually, process::Spawn};

use crate::process::{Sidecar, prepared};

const LIMIT: std::time::Duration = std::time::Duration::from_secs(60);

/// The code it ends with, and what it says.
async fn failed(spawn: Spawn) -> Result<(Option<i32>, String)> {
    let log = tempfile::NamedTempFile::new()?;
    let status = spawn.stderr_to(log.path())?.spawn()?.wait(LIMIT).await?;
    Ok((status.code(), std::fs::read_to_string(log.path())?))
}

/// Without a filter there is no log that could tell.
#[tokio::test]
async fn a_filter_of_the_log_that_is_none_is_told_all_the_same() -> Result<()> {
    let (code, said) = failed(prepared("a").args(["--store", "memory", "--log", "a=b=c"])).await?;
    ensure!(code == Some(2) && said.contains("--log is no filter"), "{code:?}: {said}");
    Ok(())
}

#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() -> Result<()> {
    let (code, said) = failed(prepared("a").env("KUBECONFIG", "/nowhere/config")).await?;
    ensure!(code == Some(1) && said.contains(": kubeconfig /nowhere/config cannot be read"), "{code:?}: {said}");
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_told_in_words() -> Result<()> {
    let (log, kubeconfig) = (tempfile::NamedTempFile::new()?, tempfile::NamedTempFile::new()?);
    std::fs::write(
        kubeconfig.path(),
        "{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}], \
         contexts: [{name: a, context: {cluster: a, user: a}}], users: [{name: a, user: {}}]}",
    )?;
    let spawn = prepared("a").env("KUBECONFIG", kubeconfig.path()).stderr_to(log.path())?;
    let _sidecar = Sidecar::started(spawn).await?;
    let said = || std::fs::read_to_string(log.path()).unwrap_or_default();
    eventually("it tells", LIMIT, async || said().contains("fault=cannot connect to https://127.0.0.1:1: ")).await
}
