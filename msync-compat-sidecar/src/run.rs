//! One run of the binary: serves over an engine, says where, and ends on a signal.
#![allow(clippy::disallowed_methods, reason = "signals and their ends are real time")]

use std::io::{self, Write};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::config::Config;
use crate::front::Limits;
use crate::session::{Backend, Identity};
use crate::sidecar::{Bound, Manner, Sidecar};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// No client holds a lock any more.
    Drained,
    /// Clients may still believe that they hold locks, which therefore stay in the records.
    Hurried,
}

/// Serves until SIGTERM or SIGINT, then until no client holds a lock any more, the time for that is over, or a second
/// signal comes.
///
/// Prints the one line on standard output when it listens.
///
/// # Errors
/// No private socket can be made, or signals cannot be heard.
///
/// # Cancel safety
/// Dropping the future leaves a sidecar that serves as long as the runtime lives.
pub async fn run<B: Backend>(
    config: &Config,
    limits: Limits,
    bound: Bound,
    identity: Identity,
    backend: B,
) -> io::Result<Ended> {
    let mut signals = Signals::new()?;
    let started = started(config, &bound, &identity.owner);
    let part = config.part().map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let manner = Manner { limits, hosts: config.hosts(), run_directories: config.run_directories(), part };
    let sidecar = bound.serve(manner, identity, backend)?;
    writeln!(io::stdout(), "{started}")?;
    signals.next().await;
    let ended = drain(&sidecar, &mut signals, Duration::from_secs(config.drain_seconds)).await;
    sidecar.stop().await;
    Ok(ended)
}

async fn drain<B: Backend>(sidecar: &Sidecar<B>, signals: &mut Signals, limit: Duration) -> Ended {
    let held = sidecar.held();
    tracing::info!(
        held,
        ?limit,
        "no new locks are taken; ends when its clients have let go of theirs, or after the limit"
    );
    let hurried = tokio::select! {
        () = sidecar.drain() => {
            tracing::info!("no client holds a lock any more");
            return Ended::Drained;
        }
        () = signals.next() => "told twice",
        () = sleep(limit) => "the limit for clients is over",
    };
    tracing::warn!(held = sidecar.held(), why = hurried, "ends at once; what is held is left to its ttl");
    sidecar.leave_holds();
    Ended::Hurried
}

/// The one line on standard output: scripts read the ports from it.
fn started(config: &Config, bound: &Bound, owner: &str) -> String {
    serde_json::json!({
        "ports": bound.ports(),
        "addresses": bound.addresses(),
        "owner": owner,
        "store": format!("{:?}", config.store).to_lowercase(),
        "version": env!("CARGO_PKG_VERSION"),
    })
    .to_string()
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
