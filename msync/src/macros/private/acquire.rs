//! Acquires what a macro's options say: a lock, a set of locks, or the running term of an election.

use super::{
    Missed, Name,
    config::{Config, Patience},
    hold::Hold,
};
use crate::{Client, Error, Lease, LeaseSet, Lock, LockSet, Timing, election::campaigns};

pub(super) async fn one(config: &Config, name: Name) -> Result<(Hold, Lease), Missed> {
    let label = name.label();
    let mut lock = config.with_client(|client| Ok(client.lock_named(name.into_lock_name()?))).await?.label_fixed(label);
    if config.sets_options() {
        lock = configured(lock, config, config.timing()?);
    }
    let guard = match config.patience() {
        Patience::Forever => lock.acquire().await?,
        Patience::Within(longest) => lock.acquire_timeout(longest).await?,
        Patience::TryOnce => lock.try_acquire().await?.ok_or_else(|| busy(lock.name().to_string()))?,
    };
    Ok(Hold::of_lock(guard, config.on_lost()))
}

pub(super) async fn all(config: &Config, names: Vec<Name>) -> Result<(Hold, LeaseSet), Missed> {
    let labelled = |name: Name| Ok::<_, Error>((name.label(), name.into_lock_name()?));
    let names = names.into_iter().map(labelled).collect::<Result<Vec<_>, _>>()?;
    let named =
        |client: &Client| names.into_iter().map(|(label, name)| client.lock_named(name).label_fixed(label)).collect();
    let mut locks = config.with_client(|client| LockSet::new(named(client))).await?;
    if config.sets_options() {
        let timing = config.timing()?;
        locks = locks.map(|lock| configured(lock, config, timing));
    }
    let guards = match config.patience() {
        Patience::Forever => locks.acquire().await?,
        Patience::Within(longest) => locks.acquire_timeout(longest).await?,
        Patience::TryOnce => locks.try_acquire().await?.ok_or_else(|| busy(joined(&locks)))?,
    };
    Ok(Hold::of_locks(guards, config.on_lost()))
}

pub(super) async fn term(config: &Config, name: Name) -> Result<(Hold, Lease), Missed> {
    let client = config.with_client(|client| Ok(client.clone())).await?;
    let (label, name) = (name.label(), name.into_lock_name()?);
    let term = campaigns::term(&client, &name, label, config.timing()?, config.follower_waits()).await?;
    let term = term.ok_or_else(|| busy(name.to_string()))?;
    Ok(Hold::of_term(term, config.on_lost()))
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
