//! What the macros expand to. Not part of the public API: it changes without notice.
//!
//! The macros decide nothing: which client, how long to wait and what a loss means is said by [`Config`]; what a call that
//! may not run returns is decided by [`OrError`] and [`OrSkip`] on the function's return type. Only msync's public API is
//! used here, so a macro can do nothing that a guard cannot.

mod acquire;
mod config;
mod missed;
mod name;
#[cfg(test)]
mod tests;

use std::{future::Future, slice::from_ref};

pub use config::{AsClient, Config};
pub use missed::{FromLockError, Missed, OrError, OrSkip, SkipValue};
pub use name::{AsName, Name};

use crate::{
    Error, Lease, LeaseSet,
    held::{Stopped, held},
};

// These three are compiled again for each annotated function: what needs no body is elsewhere.

/// Runs a body under one lock.
pub async fn run<F, Fut>(config: &Config, name: Name, body: F) -> Result<Fut::Output, Missed>
where
    F: FnOnce(Lease) -> Fut,
    Fut: Future,
{
    let guard = acquire::one(config, name).await?;
    let ended = held(from_ref(guard.lease()), config.on_lost(), || body(guard.lease().clone())).await;
    warn_if_not(guard.release().await);
    ended.map_err(missed)
}

/// Runs a body under several locks: all or nothing, in the order of their names.
pub async fn run_all<const N: usize, F, Fut>(config: &Config, names: [Name; N], body: F) -> Result<Fut::Output, Missed>
where
    F: FnOnce(LeaseSet) -> Fut,
    Fut: Future,
{
    let guards = acquire::all(config, &names).await?;
    let leases = guards.lease();
    let ended = held(leases.leases(), config.on_lost(), || body(leases.clone())).await;
    warn_if_not(guards.release().await);
    ended.map_err(missed)
}

/// Runs a body under the running term of an election, if this process leads it.
pub async fn lead<F, Fut>(config: &Config, name: Name, body: F) -> Result<Fut::Output, Missed>
where
    F: FnOnce(Lease) -> Fut,
    Fut: Future,
{
    let lease = acquire::term(config, name).await?;
    held(from_ref(&lease), config.on_lost(), || body(lease.clone())).await.map_err(missed)
}

fn missed(stopped: Stopped) -> Missed {
    stopped.into_error().into()
}

fn warn_if_not(released: Result<(), Error>) {
    match released {
        // What is lost needs no release, and the caller is told of the loss.
        Ok(()) | Err(Error::Lost { .. }) => {}
        Err(error) => tracing::warn!(%error, "the lock was not released in order"),
    }
}
