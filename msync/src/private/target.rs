//! What a macro can hold: one lock, or a set of them. Only the differences between the two are here.

use std::borrow::Cow;
use std::future::Future;
use std::slice::from_ref;

use super::config::{Config, Patience};
use crate::{Error, Lease, LeaseSet, Lock, LockGuard, LockSet, LockSetGuard, Timing};

/// A lock or a set of locks.
pub(super) trait Target: Sized {
    type Guard;
    type Lease;

    fn configure(&mut self, config: &Config) -> Result<(), Error>;
    fn acquire_within(&self, patience: Patience) -> impl Future<Output = Result<Self::Guard, Error>> + Send;
    fn lease(guard: &Self::Guard) -> Self::Lease;
    fn leases(guard: &Self::Guard) -> Cow<'_, [Lease]>;
    fn release(guard: Self::Guard) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Target for Lock {
    type Guard = LockGuard;
    type Lease = Lease;

    fn configure(&mut self, config: &Config) -> Result<(), Error> {
        if config.sets_options() {
            *self = configured(self.clone(), config, config.timing()?);
        }
        Ok(())
    }

    async fn acquire_within(&self, patience: Patience) -> Result<LockGuard, Error> {
        match patience {
            Patience::Forever => self.acquire().await,
            Patience::Within(longest) => self.acquire_timeout(longest).await,
            Patience::TryOnce => self.try_acquire().await?.ok_or_else(|| Error::Busy { name: self.name().to_string() }),
        }
    }

    fn lease(guard: &LockGuard) -> Lease {
        guard.lease().clone()
    }

    fn leases(guard: &LockGuard) -> Cow<'_, [Lease]> {
        from_ref(guard.lease()).into()
    }

    async fn release(guard: LockGuard) -> Result<(), Error> {
        guard.release().await
    }
}

impl Target for LockSet {
    type Guard = LockSetGuard;
    type Lease = LeaseSet;

    fn configure(&mut self, config: &Config) -> Result<(), Error> {
        if config.sets_options() {
            let timing = config.timing()?;
            *self = self.clone().map(|lock| configured(lock, config, timing));
        }
        Ok(())
    }

    async fn acquire_within(&self, patience: Patience) -> Result<LockSetGuard, Error> {
        match patience {
            Patience::Forever => self.acquire().await,
            Patience::Within(longest) => self.acquire_timeout(longest).await,
            Patience::TryOnce => self.try_acquire().await?.ok_or_else(|| Error::Busy { name: names(self) }),
        }
    }

    fn lease(guard: &LockSetGuard) -> LeaseSet {
        guard.lease()
    }

    fn leases(guard: &LockSetGuard) -> Cow<'_, [Lease]> {
        guard.lease().leases().to_vec().into()
    }

    async fn release(guard: LockSetGuard) -> Result<(), Error> {
        guard.release().await
    }
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

fn names(locks: &LockSet) -> String {
    let names: Vec<&str> = locks.locks().iter().map(|lock| lock.name().as_ref()).collect();
    names.join(", ")
}
