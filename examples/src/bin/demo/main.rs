//! The main job of msync, to look at: pods contend for a lock and an election while one is killed and one freezes.
//!
//! `cargo run --bin demo` runs it on the embedded store, `-- --store kube` in the cluster of the environment,
//! `-- --store testbed` on a real API server that it starts itself; with `--leases` there in Leases.
#![allow(clippy::disallowed_methods, reason = "the demo shows real time to people; the library takes its own")]

mod acts;
mod checks;
mod pod;
mod timeline;

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use checks::Checks;
use clap::Parser;
use examples::{Args, StoreKind};
use futures::future::BoxFuture;
use msync::clock::{BootClock, Clock, Moment, Wall};
use msync::{Client, ClientBuilder, MemoryStore, Timing};
use pod::{Connect, Pod};
use tests::testbed::{ADMIN, Options, TestServer};
use timeline::Timeline;

/// How long a hold lives without renewal: short, so that the demo is.
const TTL: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    match demo(Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn demo(args: Args) -> Result<bool> {
    let (connect, _server) = connect(args).await?;
    let mut pods = Vec::new();
    for name in ["web-1", "web-2", "web-3", "web-4"] {
        pods.push(Pod::start(name, &connect).await?);
    }
    if args.store != StoreKind::Memory {
        let client = pods[0].client.clone();
        pods[0].run(async move { client.install_crd().await }).await??;
    }
    println!("Four pods, one lock and one election. Holds live {TTL:?} without renewal.");
    let (timeline, mut checks) = (Timeline::new(), Checks::default());
    acts::contend(&pods, &timeline, &mut checks).await?;
    acts::hand_over(&pods, &timeline, &mut checks).await?;
    acts::kill_the_leader(&mut pods, &timeline, &mut checks).await?;
    acts::freeze_the_holder(&pods, &timeline, &mut checks).await?;
    for pod in &pods {
        let client = pod.client.clone();
        pod.run(async move { client.shutdown().await }).await?;
    }
    checks.judge(&timeline.finished());
    Ok(checks.report())
}

/// Says how pods reach their store, and keeps the server, if one was started for it.
async fn connect(args: Args) -> Result<(Connect, Option<TestServer>)> {
    let timing = Timing::with_ttl(TTL)?;
    let builder = Client::builder().timing(timing).clock(PodClock);
    let builder = if args.on_leases() { builder.leases() } else { builder };
    match args.store {
        StoreKind::Memory => {
            let memory = MemoryStore::new();
            let connect: Connect = Arc::new(move |owner| {
                let client = builder.clone().memory(&memory).owner(owner).build();
                Box::pin(async { Ok(client) })
            });
            Ok((connect, None))
        }
        StoreKind::Kube | StoreKind::Leases => {
            let connect: Connect = Arc::new(move |owner| {
                let builder = builder.clone();
                Box::pin(async move {
                    builder.owner(owner).try_default().await.context("no cluster: is there a kubeconfig?")
                })
            });
            Ok((connect, None))
        }
        StoreKind::Testbed => testbed(builder).await,
    }
}

async fn testbed(builder: ClientBuilder) -> Result<(Connect, Option<TestServer>)> {
    let server = TestServer::start(Options::default()).await?.context("the API server needs Go to be built")?;
    let config = server.config(ADMIN).await?;
    let connect: Connect = Arc::new(move |owner| {
        let (config, builder) = (config.clone(), builder.clone());
        Box::pin(async move { Ok(builder.owner(owner).config(config).build()?) })
    });
    Ok((connect, Some(server)))
}

/// Real time, with the client living on its pod's own runtime: what freezes or kills that must hit the client as well, as
/// it would in a process of its own.
#[derive(Debug)]
struct PodClock;

impl Clock for PodClock {
    fn now(&self) -> Moment {
        BootClock.now()
    }

    fn wall(&self) -> Wall {
        BootClock.wall()
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        BootClock.sleep_until(at)
    }
}
