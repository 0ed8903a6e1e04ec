//! What a macro can hold: one lock, or a set of them. Only the differences between the two are here.

use std::future::Future;

use super::config::{Config, Patience};
use super::held::Hold;
use crate::scope::ScopeKey;
use crate::{Error, Lease, LeaseSet, Lock, LockGuard, LockSet, LockSetGuard};

/// A lock or a set of locks.
pub(super) trait Target: Sized {
    type Guard: Send;
    type Lease: Hold + Clone;
    type Keys: AsRef<[ScopeKey]> + Send;

    fn keys(&self) -> Self::Keys;
    fn configured(self, config: &Config) -> Result<Self, Error>;
    fn acquired(self, patience: Patience) -> impl Future<Output = Result<Self::Guard, Error>> + Send;
    fn lease(guard: &Self::Guard) -> Self::Lease;
    fn release(guard: Self::Guard) -> impl Future<Output = Result<(), Error>> + Send;
}

impl Target for Lock {
    type Guard = LockGuard;
    type Lease = Lease;
    type Keys = [ScopeKey; 1];

    fn keys(&self) -> [ScopeKey; 1] {
        [self.scope_key()]
    }

    fn configured(mut self, config: &Config) -> Result<Self, Error> {
        if let Some(timing) = config.timing()? {
            self = self.timing(timing);
        }
        if let Some(least) = config.at_least {
            self = self.at_least(least);
        }
        if let Some(most) = config.max_hold {
            self = self.max_hold(most);
        }
        Ok(self)
    }

    async fn acquired(self, patience: Patience) -> Result<LockGuard, Error> {
        match patience {
            Patience::Forever => self.acquire().await,
            Patience::Within(longest) => self.acquire_timeout(longest).await,
            Patience::TryOnce => self.try_acquire().await?.ok_or_else(|| Error::Busy { name: self.name().to_string() }),
        }
    }

    fn lease(guard: &LockGuard) -> Lease {
        guard.lease()
    }

    async fn release(guard: LockGuard) -> Result<(), Error> {
        guard.release().await
    }
}

impl Target for LockSet {
    type Guard = LockSetGuard;
    type Lease = LeaseSet;
    type Keys = Vec<ScopeKey>;

    fn keys(&self) -> Vec<ScopeKey> {
        self.scope_keys()
    }

    fn configured(mut self, config: &Config) -> Result<Self, Error> {
        if let Some(timing) = config.timing()? {
            self = self.timing(timing);
        }
        if let Some(least) = config.at_least {
            self = self.at_least(least);
        }
        if let Some(most) = config.max_hold {
            self = self.max_hold(most);
        }
        Ok(self)
    }

    async fn acquired(self, patience: Patience) -> Result<LockSetGuard, Error> {
        match patience {
            Patience::Forever => self.acquire().await,
            Patience::Within(longest) => self.acquire_timeout(longest).await,
            Patience::TryOnce => self.try_acquire().await?.ok_or_else(|| Error::Busy { name: self.to_string() }),
        }
    }

    fn lease(guard: &LockSetGuard) -> LeaseSet {
        guard.lease()
    }

    async fn release(guard: LockSetGuard) -> Result<(), Error> {
        guard.release().await
    }
}
