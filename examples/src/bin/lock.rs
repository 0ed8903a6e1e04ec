//! Guards by hand: acquiring, trying, waiting no longer than, running a body, several locks at once.
//!
//! `cargo run --bin lock`; `-- --store kube` or `-- --store testbed` for a real API server.
#![allow(clippy::disallowed_methods, reason = "an example shows real time to people")]

use std::{
    future::pending,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Parser;
use examples::{Args, Place};
use msync::{Client, Error};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<()> {
    let place = Place::open(Args::parse()).await?;
    let (web, batch) = (place.client("web")?, place.client("batch")?);
    one_holds_and_the_other_does_not(&web, &batch).await?;
    the_lock_is_handed_over(&web, &batch).await?;
    bodies_end_with_their_lock(&web).await?;
    several_at_once(&web, &batch).await?;
    web.shutdown().await; // what is still held would be released here, not after a ttl
    batch.shutdown().await;
    Ok(())
}

async fn one_holds_and_the_other_does_not(web: &Client, batch: &Client) -> Result<()> {
    let guard = web.lock("report")?.acquire().await?;
    println!("web holds `report`, fencing token {}", guard.token());
    guard.check()?; // still ours? one look at the clock
    guard.ensure(Duration::from_secs(5))?; // and safe for five seconds, even if the API server is gone

    let tried = batch.lock("report")?.try_acquire().await?;
    println!("batch tries:    {}", if tried.is_some() { "it is free" } else { "busy" });

    match batch.lock("report")?.acquire_timeout(Duration::from_millis(500)).await {
        Err(error @ Error::Timeout { .. }) => println!("batch waits:    {error}"),
        other => println!("batch waits:    {other:?}"),
    }
    guard.release().await?; // dropping it does the same, without waiting for the acknowledgement
    Ok(())
}

async fn the_lock_is_handed_over(web: &Client, batch: &Client) -> Result<()> {
    let guard = web.lock("report")?.acquire().await?;
    let lock = batch.lock("report")?;
    let waiting = tokio::spawn(async move { lock.acquire().await });
    sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    guard.release().await?;
    let guard = waiting.await??;
    println!(
        "handed over:    batch holds it {:.1?} after web began to release, token {}",
        start.elapsed(),
        guard.token()
    );
    guard.release().await?;
    Ok(())
}

async fn bodies_end_with_their_lock(web: &Client) -> Result<()> {
    let lock = web.lock("export")?.max_hold(Duration::from_secs(1));
    let pages = lock.run(async |guard| format!("written under token {}", guard.token())).await?;
    println!("a body:         {pages}");
    let stuck: Result<(), Error> = lock.run(async |_| pending().await).await;
    println!("a stuck body:   {}", stuck.expect_err("it is dropped after max_hold"));
    Ok(())
}

async fn several_at_once(web: &Client, batch: &Client) -> Result<()> {
    let transfer = async |client: &Client, from: &str, to: &str| {
        let both = client.lock_all([from, to])?;
        both.run(async |guards| guards.guards().len()).await
    };
    // In opposite directions at the same time: no deadlock, since both take them in one order.
    let (there, back) = tokio::join!(transfer(web, "alice", "bob"), transfer(batch, "bob", "alice"));
    println!("two transfers:  {} and {} locks held, none waits for ever", there?, back?);
    Ok(())
}
