//! Acquires what a macro's options say: a lock, a set of locks, or the running term of an election.

use super::{
    Missed, Name,
    config::{Config, Patience},
};
use crate::{Error, Lease, Lock, LockGuard, LockSet, LockSetGuard, Timing, campaign};

pub(super) async fn one(config: &Config, name: Name) -> Result<LockGuard, Missed> {
    let mut lock = config.with_client(|client| client.lock(name)).await?;
    if config.sets_options() {
        lock = configured(lock, config, config.timing()?);
    }
    Ok(match config.patience() {
        Patience::Forever => lock.acquire().await?,
        Patience::Within(longest) => lock.acquire_timeout(longest).await?,
        Patience::TryOnce => lock.try_acquire().await?.ok_or_else(|| busy(lock.name().to_string()))?,
    })
}

pub(super) async fn all(config: &Config, names: &[Name]) -> Result<LockSetGuard, Missed> {
    let mut locks = config.with_client(|client| client.lock_all(names)).await?;
    if config.sets_options() {
        let timing = config.timing()?;
        locks = locks.map(|lock| configured(lock, config, timing));
    }
    Ok(match config.patience() {
        Patience::Forever => locks.acquire().await?,
        Patience::Within(longest) => locks.acquire_timeout(longest).await?,
        Patience::TryOnce => locks.try_acquire().await?.ok_or_else(|| busy(joined(&locks)))?,
    })
}

pub(super) async fn term(config: &Config, name: Name) -> Result<Lease, Missed> {
    let client = config.with_client(|client| Ok(client.clone())).await?;
    let lease = campaign::lease(&client, name.as_ref(), config.follower_waits()).await?;
    Ok(lease.ok_or_else(|| busy(name.into_string()))?)
}

fn configured(mut lock: Lock, config: &Config, timing: Option<Timing>) -> Lock {
    if let Some(timing) = timing {
        lock = lock.timing(timing);
    }
    if let Some(least) = config.at_least {
        lock = lock.at_least(least);
    }
    if let Some(most) = config.max_hold {
        lock = lock.max_hold(most);
    }
    lock
}

fn busy(name: String) -> Error {
    Error::Busy { name }
}

fn joined(locks: &LockSet) -> String {
    let names: Vec<&str> = locks.locks().iter().map(|lock| lock.name().as_ref()).collect();
    names.join(", ")
}
