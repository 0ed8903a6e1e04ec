use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use tests::{
    process::{Spawn, is_child},
    testbed::{TestServer, build_once},
};

use crate::LIMIT;

const DIR: &str = "MSYNC_TESTBED_DIR";

#[tokio::test]
async fn of_processes_that_race_to_build_one_builds() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut children = Vec::new();
    for _ in 0..3 {
        children.push(Spawn::this_test("build::child_builds")?.env(DIR, dir.path()).spawn()?);
    }
    for child in &mut children {
        child.line_with("found the built file", LIMIT).await?;
    }
    assert_eq!(fs::read_to_string(dir.path().join("builders"))?.lines().count(), 1);
    Ok(())
}

#[test]
#[ignore = "a child of of_processes_that_race_to_build_one_builds"]
fn child_builds() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let dir = PathBuf::from(std::env::var(DIR)?);
    build_once(&dir.join("built"), |output| {
        let mut builders = fs::read_to_string(dir.join("builders")).unwrap_or_default();
        builders.push_str("one\n");
        fs::write(dir.join("builders"), builders)?;
        std::thread::sleep(Duration::from_millis(500)); // the others come meanwhile
        Ok(fs::write(output, "built")?)
    })?;
    assert_eq!(fs::read_to_string(dir.join("built"))?, "built");
    println!("\nfound the built file");
    Ok(())
}

#[test]
fn failed_build_leaves_nothing_and_the_next_one_succeeds() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("built");
    let failed = build_once(&file, |output| {
        fs::write(output, "half")?;
        bail!("no space")
    });
    assert!(failed.is_err());
    assert_eq!(fs::read_dir(dir.path())?.count(), 1, "only the lock stays");
    build_once(&file, |output| Ok(fs::write(output, "whole")?))?;
    assert_eq!(fs::read_to_string(file)?, "whole");
    Ok(())
}

#[tokio::test]
async fn without_go_a_test_is_skipped_loudly() -> Result<()> {
    let (status, stderr) = run_without_go("").await?;
    assert!(status, "a skipped test passes:\n{stderr}");
    assert!(stderr.contains("SKIPPED") && stderr.contains("install Go"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn without_go_a_test_fails_in_ci() -> Result<()> {
    let (status, stderr) = run_without_go("true").await?;
    assert!(!status && stderr.contains("install Go"), "{stderr}");
    Ok(())
}

/// Runs a test on a server from a copy of this executable that finds neither a built server nor Go.
async fn run_without_go(ci: &str) -> Result<(bool, String)> {
    let dir = tempfile::tempdir()?;
    let (exe, log) = (dir.path().join("copy"), dir.path().join("stderr"));
    fs::copy(std::env::current_exe()?, &exe)?;
    let mut child = Spawn::program(&exe)
        .args(["build::child_needs_a_server", "--exact", "--ignored"])
        .env("CARGO_TARGET_DIR", dir.path())
        .env("PATH", dir.path())
        .env("CI", ci)
        .env("KUBEBUILDER_ASSETS", "")
        .env("USE_EXISTING_CLUSTER", "false")
        .stderr_to(&log)?
        .spawn()?;
    let mut output = String::new();
    while let Some(line) = child.line().await {
        output.push_str(&line); // libtest shows a failed test's panic on stdout
    }
    let status = child.wait(LIMIT).await?;
    Ok((status.success(), output + &fs::read_to_string(log)?))
}

#[tokio::test]
#[ignore = "a child of run_without_go"]
async fn child_needs_a_server() -> Result<()> {
    assert!(TestServer::shared().await?.is_none(), "there is no Go to make a server");
    Ok(())
}
