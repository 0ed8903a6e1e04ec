//! Every figure of `BENCHMARKS.md`, and beside each the limit that the machine and the API server set, in one run:
//! `cargo run --release -p benches`.
//!
//! It starts a real API server with etcd and fsync, real processes where the figure is about processes, and prints one
//! table. Names of sections select some of them, `--quick` makes all of them small: `cargo run -p benches -- handoff
//! --quick`. It judges no run: figures depend on the machine, so budgets are printed beside them for people to compare.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock, and waits in real time")]
#![allow(clippy::cast_precision_loss, reason = "counts become figures for people")]

mod acquire;
mod build;
mod child;
mod contend;
mod core;
mod crowd;
mod election;
mod figures;
mod growth;
mod held;
mod leases;
mod local;
mod macros;
mod metrics;
mod peer;
mod plot;
mod quiet;
mod raw;
mod recording;
mod server;
mod sessions;
mod sizes;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use figures::Table;
use server::Server;
use sizes::Sizes;

/// Measures msync beside the limits of the same machine and API server.
#[derive(Parser)]
struct Args {
    /// What to measure; everything if none is named.
    #[arg(value_enum)]
    sections: Vec<Section>,
    #[command(flatten)]
    sizes: Sizes,
}

/// A group of figures; the letter is the one in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// a: acquire and release of a free lock.
    Acquire,
    /// b: hand-off between processes.
    Handoff,
    /// q: hand-offs after everybody was quiet for a while, as in a service.
    Quiet,
    /// q: what such a hand-off is made of.
    Layers,
    /// d: hand-over between tasks of one process.
    Local,
    /// c: elections.
    Election,
    /// l: the same on Leases, beside the resource.
    Leases,
    /// e: many locks held by one process, and where it breaks.
    Held,
    /// s: many locks kept alive by one heartbeat, beside as many that are not, and what becomes of them after a crash.
    Sessions,
    /// f: many engines waiting for many locks.
    Waiting,
    /// g: the protocol's core, a guard's check, the macros.
    Core,
    /// h: what msync adds to the build of a crate.
    Build,
    /// i: etcd's own mutex.
    Peer,
    /// How costs grow with locks, waiters and tasks, with plots.
    Growth,
}

fn main() -> Result<()> {
    if let Some(role) = child::role()? {
        return child::run(role);
    }
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let mut table = Table::default();
    let measured = runtime.block_on(measure(&args, &mut table));
    // What was measured is printed even if something later failed.
    println!("\n{table}");
    measured
}

async fn measure(args: &Args, table: &mut Table) -> Result<()> {
    let sections = if args.sections.is_empty() { Section::value_variants() } else { &args.sections };
    let server = Server::start().await?;
    let mut idle = None;
    for section in sections {
        let started = std::time::Instant::now();
        eprintln!("== {section:?}");
        section.measure(&server, &args.sizes, table).await.with_context(|| format!("{section:?}"))?;
        if *section == Section::Election {
            // Two clients that send a request every few seconds disturb nobody.
            idle = Some(election::begin_idle(&server, &args.sizes).await?);
        }
        eprintln!("== {section:?}: {:.0} s", started.elapsed().as_secs_f64());
    }
    if let Some(idle) = idle {
        idle.await??.into_iter().for_each(|figure| table.add(figure));
    }
    Ok(())
}

// === impl Section ===

impl Section {
    async fn measure(self, server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
        match self {
            Self::Acquire => acquire::measure(server, sizes, table).await,
            Self::Handoff => contend::measure(server, sizes, table).await,
            Self::Quiet => quiet::measure(server, sizes, table).await,
            Self::Election => election::measure(server, sizes, table).await,
            Self::Layers => quiet::layers(server, sizes, table).await,
            Self::Leases => leases::measure(server, sizes, table).await,
            Self::Local => local::measure(server, sizes, table).await,
            Self::Held => held::measure(server, sizes, table).await,
            Self::Sessions => sessions::measure(server, sizes, table).await,
            Self::Waiting => crowd::measure(server, sizes, table).await,
            Self::Core => {
                core::measure(sizes, table)?;
                macros::measure(sizes, table).await
            }
            Self::Build => build::measure(sizes, table),
            Self::Peer => peer::measure(server, sizes, table).await,
            Self::Growth => growth::measure(server, sizes, table).await,
        }
    }
}
