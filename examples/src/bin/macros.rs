//! An annotated service, as two pods of it: locked work, a job that one pod does for all, a task for the leader only, and a
//! graceful end.
//!
//! `cargo run --bin macros` ends by itself after five seconds; `-- --seconds 60` runs longer, and ctrl-c or SIGTERM end it
//! earlier. `--store kube` or `--store testbed` for a real API server.
#![allow(clippy::disallowed_methods, reason = "an example shows real time to people")]

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use examples::{Args, Place};
use msync::{Client, Error, Outcome, leader_only, locked};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{interval, sleep},
};

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    place: Args,
    /// For how long it runs, unless a signal comes first.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// One pod of the service. A real one has a single client, gives it to `msync::init`, and needs no `via`.
#[derive(Clone)]
struct Pod {
    name: &'static str,
    client: Client,
}

impl Pod {
    /// One pod at a time settles an invoice; the others wait for their turn.
    #[locked("invoice-{id}", via = self.client, guard = lease)]
    async fn settle(&self, id: u32) -> Result<(), Error> {
        println!("{} settles invoice {id} under fencing token {}", self.name, lease.token());
        sleep(Duration::from_millis(100)).await;
        lease.check() // the ledger should compare the token as well
    }

    /// Once in two seconds for the whole service, whichever pod comes first; the others skip it.
    #[locked("cleanup", via = self.client, wait = none, on_busy = skip, at_least = "2s")]
    async fn clean_up(&self) -> Result<Outcome<()>, Error> {
        println!("{} cleans up for everybody", self.name);
        Ok(Outcome::Ran(()))
    }

    /// On the leader; the other pods return at once.
    #[leader_only("scheduler", via = self.client)]
    async fn schedule(&self) {
        println!("{} leads, and schedules", self.name);
    }

    /// Calls all of them, on every pod alike.
    async fn serve(self) -> Result<(), Error> {
        let mut seconds = interval(Duration::from_secs(1));
        for id in 1.. {
            seconds.tick().await;
            self.schedule().await;
            self.settle(id).await?;
            let _ = self.clean_up().await?; // returns at once: it is the lock that stays for two seconds
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let place = Place::open(options.place).await?;
    println!("Two pods of one service, for {} seconds or until ctrl-c.\n", options.seconds);
    let mut pods = Vec::new();
    for name in ["web-1", "web-2"] {
        let pod = Pod { name, client: place.client(name)? };
        pods.push((pod.clone(), tokio::spawn(pod.serve())));
    }
    let why = told_to_end(Duration::from_secs(options.seconds)).await?;
    println!("\n{why}: the pods end in order, so that nobody waits for a ttl");
    for (pod, serving) in pods {
        // Bodies are dropped, then their locks are released; the leader hands over.
        pod.client.shutdown().await;
        match serving.await? {
            Err(Error::ShutDown | Error::Lost { .. }) | Ok(()) => println!("{} has ended", pod.name),
            Err(error) => println!("{} has failed: {error}", pod.name),
        }
    }
    Ok(())
}

async fn told_to_end(limit: Duration) -> Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| "ctrl-c")?,
        () = sleep(limit) => "time is up",
    })
}
