//! Several locks at once: all or nothing.

use std::{sync::OnceLock, time::Duration};

use futures::future::select_all;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, FencingToken, LeaseSet, Lock, LockGuard, LossReason,
    held::{OnLost, Stopped, held},
    lock::log_release,
};

/// Several locks that are acquired together, in the order of their names, so that two sets cannot deadlock.
#[derive(Clone, Debug)]
#[must_use = "a lock excludes nobody until it is acquired"]
pub struct LockSet(Vec<Lock>);

/// Several held locks. Dropping it releases all, the last acquired first.
#[derive(Debug)]
#[must_use = "the locks are released as soon as the guard is dropped; `let _ =` drops it at once"]
pub struct LockSetGuard {
    guards: Vec<LockGuard>,
    /// One for all who ask: its cancellation token has a task.
    leases: OnceLock<LeaseSet>,
}

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
        let mut guards = LockSetGuard::with_room(self.0.len());
        for lock in &self.0 {
            guards.guards.push(lock.acquire().await?);
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
        let mut guards = LockSetGuard::with_room(self.0.len());
        for lock in &self.0 {
            match lock.try_acquire().await? {
                Some(guard) => guards.guards.push(guard),
                None => return Ok(None),
            }
        }
        guards.check()?;
        Ok(Some(guards))
    }

    /// Acquires all, waiting no longer than `limit` for all together. A limit of zero is one try of each.
    ///
    /// # Errors
    /// After the limit [`Error::Timeout`] or [`Error::Unavailable`], as [`Lock::acquire_timeout`], of the lock that was
    /// waited for; otherwise as [`acquire`](Self::acquire). For one try as [`try_acquire`](Self::try_acquire), and
    /// [`Error::Timeout`] names the lock that is not free.
    ///
    /// # Cancel safety
    /// Dropping the future releases those that were acquired.
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<LockSetGuard, Error> {
        if limit.is_zero() {
            return self.attempt().await;
        }
        let since = self.0[0].clock().now();
        let mut guards = LockSetGuard::with_room(self.0.len());
        for lock in &self.0 {
            guards.guards.push(lock.acquire_by(since, since + limit, limit).await?);
        }
        guards.check()?;
        Ok(guards)
    }

    async fn attempt(&self) -> Result<LockSetGuard, Error> {
        let mut guards = LockSetGuard::with_room(self.0.len());
        for lock in &self.0 {
            guards.guards.push(lock.acquire_timeout(Duration::ZERO).await?);
        }
        guards.check()?;
        Ok(guards)
    }

    /// Runs a body while all are held; see [`Lock::run`]. Returns when all are released.
    ///
    /// # Errors
    /// [`Error::Lost`] when one was lost before the body ended, otherwise as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// Dropping the future drops the body, then releases.
    pub async fn run<T>(&self, body: impl AsyncFnOnce(&LockSetGuard) -> T) -> Result<T, Error> {
        let guards = self.acquire().await?;
        let ended = held(guards.lease().leases(), OnLost::Cancel, || body(&guards)).await;
        log_release(guards.release().await);
        ended.map_err(Stopped::into_error)
    }
}

// === impl LockSetGuard ===

impl LockSetGuard {
    fn with_room(count: usize) -> Self {
        Self { guards: Vec::with_capacity(count), leases: OnceLock::new() }
    }

    /// Returns the guards, in the order in which they were acquired.
    pub fn guards(&self) -> &[LockGuard] {
        &self.guards
    }

    /// Returns the fencing tokens, in the order of the names.
    pub fn tokens(&self) -> impl Iterator<Item = FencingToken> {
        self.guards.iter().map(LockGuard::token)
    }

    /// Says whether all are still held.
    ///
    /// # Errors
    /// [`Error::Lost`] for the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        self.guards.iter().try_for_each(LockGuard::check)
    }

    /// Says whether all are safe for some time more, even if no renewal succeeds.
    ///
    /// # Errors
    /// As [`LockGuard::ensure`], for the first that is not.
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.guards.iter().try_for_each(|guard| guard.ensure(duration))
    }

    /// Returns for how long all are safe if no renewal succeeds; zero when one is lost.
    pub fn remaining(&self) -> Duration {
        self.guards.iter().map(LockGuard::remaining).min().unwrap_or_default()
    }

    /// Completes when the first is lost, by its local deadline at the latest; see [`LockGuard::lost`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// # async fn transfer() {}
    /// let guards = client.lock_all(["account-1", "account-2"])?.acquire().await?;
    /// tokio::select! {
    ///     reason = guards.lost() => println!("stop: {reason}"),
    ///     () = transfer() => guards.release().await?,
    /// }
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let lost = select_all(self.guards.iter().map(|guard| Box::pin(guard.lost())));
        async { lost.await.0 }
    }

    /// Returns a token that is cancelled when the first is lost; see [`LockGuard::cancellation_token`].
    pub fn cancellation_token(&self) -> CancellationToken {
        self.lease().cancellation_token()
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
        while let Some(guard) = self.guards.pop() {
            first = first.and(guard.release().await);
        }
        first
    }

    /// Returns a view of the holds, for tasks that work under them: it can be cloned and kept, and prolongs nothing.
    pub fn lease(&self) -> LeaseSet {
        self.leases.get_or_init(|| LeaseSet::new(self.guards.iter().map(LockGuard::lease))).clone()
    }
}

impl Drop for LockSetGuard {
    fn drop(&mut self) {
        while self.guards.pop().is_some() {}
    }
}
