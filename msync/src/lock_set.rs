//! Several locks at once: all or nothing.

use std::time::Duration;

use crate::{
    Error, FencingToken, LeaseSet, Lock, LockGuard,
    held::{OnLost, Stopped, held},
};

/// Several locks that are acquired together, in the order of their names, so that two sets cannot deadlock.
#[derive(Clone, Debug)]
#[must_use = "a lock excludes nobody until it is acquired"]
pub struct LockSet(Vec<Lock>);

/// Several held locks. Dropping it releases all, the last acquired first.
#[derive(Debug)]
#[must_use = "the locks are released as soon as the guard is dropped; `let _ =` drops it at once"]
pub struct LockSetGuard(Vec<LockGuard>);

// === impl LockSet ===

impl LockSet {
    /// Sorts the locks by name and keeps each name once.
    pub(crate) fn new(mut locks: Vec<Lock>) -> Result<Self, Error> {
        if locks.is_empty() {
            return Err(Error::InvalidName { name: String::new(), reason: "no name was given" });
        }
        locks.sort_by(|a, b| a.name().cmp(b.name()));
        locks.dedup_by(|a, b| a.name() == b.name());
        Ok(Self(locks))
    }

    /// Returns the locks, in the order in which they are acquired.
    pub fn locks(&self) -> &[Lock] {
        &self.0
    }

    /// Changes each lock, to set options: `set.map(|lock| lock.max_hold(minute))`.
    pub fn map(self, change: impl FnMut(Lock) -> Lock) -> Self {
        Self(self.0.into_iter().map(change).collect())
    }

    /// Acquires all, waiting as long as it takes. While it waits for one, it holds those before it.
    ///
    /// # Errors
    /// As [`Lock::acquire`], and [`Error::Lost`] when one of them was lost while the rest was waited for, as by its
    /// `max_hold`. Those that were acquired are released.
    ///
    /// # Cancel safety
    /// Dropping the future releases those that were acquired.
    pub async fn acquire(&self) -> Result<LockSetGuard, Error> {
        let mut guards = LockSetGuard(Vec::with_capacity(self.0.len()));
        for lock in &self.0 {
            guards.0.push(lock.acquire().await?);
        }
        guards.check()?;
        Ok(guards)
    }

    /// Acquires all if all are free; `None` if somebody has one of them.
    ///
    /// # Errors
    /// As [`Lock::try_acquire`], and [`Error::Lost`] as [`acquire`](Self::acquire). Those that were acquired are released.
    ///
    /// # Cancel safety
    /// Dropping the future releases those that were acquired.
    pub async fn try_acquire(&self) -> Result<Option<LockSetGuard>, Error> {
        let mut guards = LockSetGuard(Vec::with_capacity(self.0.len()));
        for lock in &self.0 {
            match lock.try_acquire().await? {
                Some(guard) => guards.0.push(guard),
                None => return Ok(None),
            }
        }
        guards.check()?;
        Ok(Some(guards))
    }

    /// Acquires all, waiting no longer than `limit` for all together.
    ///
    /// # Errors
    /// After the limit [`Error::Timeout`] or [`Error::Unavailable`], as [`Lock::acquire_timeout`], of the lock that was
    /// waited for; otherwise as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// Dropping the future releases those that were acquired.
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<LockSetGuard, Error> {
        let since = self.0[0].clock().now();
        let mut guards = LockSetGuard(Vec::with_capacity(self.0.len()));
        for lock in &self.0 {
            guards.0.push(lock.acquire_by(since, since + limit, limit).await?);
        }
        guards.check()?;
        Ok(guards)
    }

    /// Runs a body while all are held; see [`Lock::run`].
    ///
    /// # Errors
    /// [`Error::Lost`] when one was lost before the body ended, otherwise as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// Dropping the future drops the body, then releases.
    pub async fn run<T>(&self, body: impl AsyncFnOnce(&LockSetGuard) -> T) -> Result<T, Error> {
        let guards = self.acquire().await?;
        guards.protect(body(&guards)).await
    }
}

// === impl LockSetGuard ===

impl LockSetGuard {
    /// Returns the guards, in the order in which they were acquired.
    pub fn guards(&self) -> &[LockGuard] {
        &self.0
    }

    /// Returns the fencing tokens, in the order of the names.
    pub fn tokens(&self) -> impl Iterator<Item = FencingToken> {
        self.0.iter().map(LockGuard::token)
    }

    /// Says whether all are still held.
    ///
    /// # Errors
    /// [`Error::Lost`] for the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(LockGuard::check)
    }

    /// Says whether all are safe for some time more, even if no renewal succeeds.
    ///
    /// # Errors
    /// As [`LockGuard::ensure`], for the first that is not.
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.0.iter().try_for_each(|guard| guard.ensure(duration))
    }

    /// Releases all and waits until the store has acknowledged each.
    ///
    /// # Errors
    /// The first error of any; the others are released all the same.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the release, only the waiting for it.
    pub async fn release(mut self) -> Result<(), Error> {
        let mut first = Ok(());
        while let Some(guard) = self.0.pop() {
            first = first.and(guard.release().await);
        }
        first
    }

    /// Runs a body for as long as all are held.
    pub(crate) async fn protect<F: Future>(&self, body: F) -> Result<F::Output, Error> {
        held(self.lease().leases(), OnLost::Cancel, || body).await.map_err(Stopped::into_error)
    }

    /// Returns a view of the holds, for a body that runs under them.
    pub(crate) fn lease(&self) -> LeaseSet {
        LeaseSet::new(self.0.iter().map(|guard| guard.lease().clone()))
    }
}

impl Drop for LockSetGuard {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}
