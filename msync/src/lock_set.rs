//! Several locks at once: all or nothing.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    Error, FencingToken, LeaseSet, Lock, LockGuard,
    held::{OnLost, Stopped, held},
    protocol::Patience,
};

/// Several locks that are acquired together, in the order of their names, so that two sets cannot deadlock.
#[derive(Clone, Debug)]
#[must_use = "a lock excludes nobody until it is acquired"]
pub struct LockSet(Vec<Lock>);

/// Several held locks. Dropping it releases all, the last acquired first.
#[derive(Debug, Default)]
#[must_use = "the locks are released as soon as the guard is dropped; `let _ =` drops it at once"]
pub struct LockSetGuard(Vec<LockGuard>);

/// What an acquisition of a set has so far. Its locks are given up when it ends, or when it turns out not to be polled.
#[derive(Default)]
struct Hoard(Arc<Mutex<LockSetGuard>>);

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
    /// Dropping the future releases those that were acquired. A future that is kept and not polled holds what it has until
    /// it gets the next lock and does not take it within a ttl; when it is polled again it begins anew.
    pub async fn acquire(&self) -> Result<LockSetGuard, Error> {
        self.gather(Patience::Wait).await
    }

    /// Acquires all if all are free; `None` if somebody has one of them.
    ///
    /// # Errors
    /// As [`Lock::try_acquire`], and [`Error::Lost`] as [`acquire`](Self::acquire). Those that were acquired are released.
    ///
    /// # Cancel safety
    /// Dropping the future releases those that were acquired.
    pub async fn try_acquire(&self) -> Result<Option<LockSetGuard>, Error> {
        match self.gather(Patience::Try).await {
            Ok(guards) => Ok(Some(guards)),
            Err(Error::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Acquires one after the other, again from the first if what it had was given up meanwhile.
    async fn gather(&self, patience: Patience) -> Result<LockSetGuard, Error> {
        let guards = loop {
            let hoard = Hoard::default();
            for (had, lock) in self.0.iter().enumerate() {
                let guard = lock.acquire_of_set(patience, || hoard.forfeit()).await?;
                if !hoard.add(had, guard) {
                    break;
                }
            }
            let guards = hoard.take();
            if guards.0.len() == self.0.len() {
                break guards;
            }
        };
        guards.check()?;
        // Not before there is a guard for the user: all or nothing.
        guards.0.iter().zip(&self.0).for_each(|(guard, lock)| guard.complete(lock));
        Ok(guards)
    }

    /// Acquires all, waiting no longer than `limit` for all together.
    ///
    /// # Errors
    /// [`Error::Timeout`], naming the set's first lock, after the limit; otherwise as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    /// Dropping the future releases those that were acquired.
    pub async fn acquire_timeout(&self, limit: Duration) -> Result<LockSetGuard, Error> {
        let clock = self.0[0].clock();
        let over = clock.sleep_until(clock.now() + limit);
        tokio::select! {
            biased;
            acquired = self.acquire() => acquired,
            () = over => Err(Error::Timeout { name: self.0[0].name().to_string(), after: limit }),
        }
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

// === impl Hoard ===

impl Hoard {
    /// Adds a lock to those that were had before; says whether they are still there.
    fn add(&self, had: usize, guard: LockGuard) -> bool {
        let mut guards = self.guards();
        let complete = guards.0.len() == had;
        guards.0.push(guard);
        complete
    }

    fn take(&self) -> LockSetGuard {
        mem::take(&mut self.guards())
    }

    /// Returns what gives it all up, from wherever it is called.
    fn forfeit(&self) -> Box<dyn Fn() + Send + Sync> {
        let guards = Arc::clone(&self.0);
        Box::new(move || {
            let given_up = mem::take(&mut *locked(&guards));
            drop(given_up);
        })
    }

    fn guards(&self) -> MutexGuard<'_, LockSetGuard> {
        locked(&self.0)
    }
}

fn locked(guards: &Mutex<LockSetGuard>) -> MutexGuard<'_, LockSetGuard> {
    guards.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Hoard {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl Drop for LockSetGuard {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}
