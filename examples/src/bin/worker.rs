//! A worker with a lock per account: 500 tasks read a balance and write it back one greater, each under its account's lock,
//! and the database refuses the fencing tokens of the past. It is SQLite, or PostgreSQL if `--database` is the URL of one.
//! `cargo run --bin worker -- --msync-store memory`
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use examples::ledger::Ledger;
use msync::{Client, locked};
use tokio::task::JoinSet;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "accounts.db")]
    database: String,
    #[command(flatten)]
    locks: msync::Args,
}

#[locked("account-{id}", via = client, guard = lease)]
async fn add_one(client: &Client, ledger: &Ledger, id: &str) -> Result<()> {
    let balance = ledger.read(id).await?;
    ledger.write(id, balance + 1, lease.token()).await
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let client = options.locks.client().await?;
    let ledger = Arc::new(Ledger::open(&options.database).await?);
    let work = async {
        let mut tasks = JoinSet::new();
        for task in 0..500 {
            let (client, ledger) = (client.clone(), Arc::clone(&ledger));
            tasks.spawn(async move { add_one(&client, &ledger, &format!("{}", task % 50)).await });
        }
        let mut done = 0;
        while let Some(ended) = tasks.join_next().await {
            ended??;
            done += 1;
        }
        anyhow::Ok(done)
    };
    let done = client.run_until_signal(work).await?.unwrap_or(Ok(0))?; // 0: a signal came first
    println!("{done} tasks done");
    Ok(())
}
