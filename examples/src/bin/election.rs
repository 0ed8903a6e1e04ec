//! Elections by hand: three pods campaign, an observer watches, leaders resign and hand over.
//!
//! `cargo run --bin election`; `-- --store kube` or `-- --store testbed` for a real API server.
#![allow(clippy::disallowed_methods, reason = "an example shows real time to people")]

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use examples::{Args, Place};
use futures::StreamExt;
use msync::{Client, Error};
use tokio::time::sleep;

/// How long each leader leads.
const TERM: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<()> {
    let place = Place::open(Args::parse()).await?;
    let watching = tokio::spawn(observe(place.client("observer")?));
    let mut campaigns = Vec::new();
    for pod in ["web-1", "web-2", "web-3"] {
        campaigns.push(tokio::spawn(lead(pod, place.client(pod)?)));
        sleep(Duration::from_millis(100)).await; // so that they queue up in this order
    }
    for campaign in campaigns {
        campaign.await??;
    }
    sleep(TERM).await;
    watching.abort();
    Ok(())
}

/// Campaigns, leads for a while, and steps down in order.
async fn lead(pod: &str, client: Client) -> Result<(), Error> {
    println!("{pod} campaigns");
    let term = client.election("scheduler")?.campaign().await?;
    println!("{pod} leads, fencing token {}", term.token());
    // Dropped at once if this pod leads no more, by the local deadline even if no network answers.
    term.run(sleep(TERM)).await?;
    if pod == "web-1" {
        println!("{pod} hands over to web-3, past web-2");
        term.hand_over_to("web-3").await?;
    } else {
        println!("{pod} resigns");
        term.resign().await?;
    }
    client.shutdown().await;
    Ok(())
}

/// Prints who leads. Late by nature: good for a status page, never for deciding who acts.
async fn observe(client: Client) -> Result<(), Error> {
    let mut leaders = std::pin::pin!(client.election("scheduler")?.observe());
    while let Some(leader) = leaders.next().await {
        match leader {
            Some(leader) => println!("    the observer sees {} lead", leader.owner()),
            None => println!("    the observer sees nobody lead"),
        }
    }
    Ok(())
}
