//! A worker with a lock per account, and databases that compare its fencing tokens.

use std::time::Duration;

use anyhow::{Result, ensure};
use examples::ledger::Ledger;
use msync::FencingToken;
use tempfile::TempDir;
use tests::cluster::Cluster;

use crate::{LIMIT, ends_well, in_memory, pod, postgres::Postgres};

const PROGRAM: &str = env!("CARGO_BIN_EXE_worker");

#[tokio::test]
async fn five_hundred_tasks_of_one_worker_lose_no_update() -> Result<()> {
    let dir = TempDir::new()?;
    let database = dir.path().join("accounts.db");
    let mut worker = in_memory(PROGRAM).arg("--database").arg(&database).spawn()?;
    worker.line_with("500 tasks done", LIMIT).await?;
    ends_well(worker).await?;
    all_there(&database.display().to_string(), 10).await
}

#[tokio::test]
async fn the_tasks_of_three_workers_lose_no_update_in_sqlite() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let dir = TempDir::new()?;
    work(&cluster, &dir.path().join("accounts.db").display().to_string()).await
}

#[tokio::test]
async fn the_tasks_of_three_workers_lose_no_update_in_postgres() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let Some(postgres) = Postgres::start()? else {
        println!("skipped: there is no PostgreSQL on this machine");
        return Ok(());
    };
    work(&cluster, &postgres.url()).await
}

async fn work(cluster: &Cluster, database: &str) -> Result<()> {
    Ledger::open(database).await?; // the table is there before three make it at once
    let mut workers = Vec::new();
    for name in ["worker-1", "worker-2", "worker-3"] {
        workers.push(pod(cluster, PROGRAM, name)?.args(["--database", database]).spawn()?);
    }
    for mut worker in workers {
        worker.line_with("500 tasks done", Duration::from_secs(180)).await?;
        ends_well(worker).await?;
    }
    all_there(database, 30).await
}

async fn all_there(database: &str, each: i64) -> Result<()> {
    let ledger = Ledger::open(database).await?;
    for account in 0..50 {
        let balance = ledger.read(&account.to_string()).await?;
        ensure!(balance == each, "account {account} has {balance}, not {each}");
    }
    let late = ledger.write("0", 7, FencingToken::from(1)).await;
    ensure!(late.is_err(), "an old token is refused");
    Ok(())
}
