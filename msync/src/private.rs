//! What the macros expand to. Not part of the public API: it changes without notice.
//!
//! The macros decide nothing: which client, how long to wait and what a loss means is said by [`Config`]; what a call that
//! may not run returns is decided by [`OrError`] and [`OrSkip`] on the function's return type. Only msync's public API is
//! used here, so a macro can do nothing that a guard cannot.

mod config;
mod missed;
mod name;
mod target;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::slice::from_ref;

pub use config::{AsClient, Config};
pub use missed::{FromLockError, Missed, OrError, OrSkip, SkipValue};
pub use name::{AsName, Name};

use crate::campaign;
use crate::held::held;
use crate::{Error, Lease, LeaseSet};
use target::Target;

/// Runs a body under one lock.
pub async fn run<F, Fut>(config: &Config, name: Name, body: F) -> Result<Fut::Output, Missed>
where
    F: FnOnce(Lease) -> Fut,
    Fut: Future,
{
    let lock = config.with_client(|client| client.lock(name)).await?;
    hold(config, lock, body).await
}

/// Runs a body under several locks: all or nothing, in the order of their names.
pub async fn run_all<const N: usize, F, Fut>(config: &Config, names: [Name; N], body: F) -> Result<Fut::Output, Missed>
where
    F: FnOnce(LeaseSet) -> Fut,
    Fut: Future,
{
    let locks = config.with_client(|client| client.lock_all(names)).await?;
    hold(config, locks, body).await
}

/// Runs a body under the running term of an election, if this process leads it.
pub async fn lead<F, Fut>(config: &Config, name: Name, body: F) -> Result<Fut::Output, Missed>
where
    F: FnOnce(Lease) -> Fut,
    Fut: Future,
{
    let client = config.with_client(|client| Ok(client.clone())).await?;
    let Some(lease) = campaign::lease(&client, name.as_ref(), config.follower_waits()).await? else {
        return Err(Error::Busy { name: name.into_string() }.into());
    };
    Ok(held(from_ref(&lease), config.on_lost(), || body(lease.clone())).await.finish()?)
}

async fn hold<T, F, Fut>(config: &Config, mut target: T, body: F) -> Result<Fut::Output, Missed>
where
    T: Target,
    F: FnOnce(T::Lease) -> Fut,
    Fut: Future,
{
    target.configure(config)?;
    let guard = target.acquire_within(config.patience()).await?;
    let ended = held(&T::leases(&guard), config.on_lost(), || body(T::lease(&guard))).await;
    match T::release(guard).await {
        // What is lost needs no release, and the caller is told of the loss.
        Ok(()) | Err(Error::Lost { .. }) => {}
        Err(error) => tracing::warn!(%error, "the lock was not released in order"),
    }
    Ok(ended.finish()?)
}
