//! Several locks at once: all or nothing.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures::future::select_all;
use tokio_util::sync::CancellationToken;

use super::{Lock, LockGuard, log_release};
use crate::{
    Client, Error, FencingToken, LeaseSet, Lost,
    held::{OnLost, Stopped, held},
};

/// Several locks that are acquired together, in the order of their names, so that two sets cannot deadlock.
#[derive(Clone, Debug)]
#[must_use = "a lock excludes nobody until it is acquired"]
pub struct LockSet(Vec<Lock>);

/// Several held locks. Dropping it releases all, the last acquired first.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
/// # let client = msync::Client::standalone();
/// let guards = client.lock_all(["account-1", "account-2"])?.acquire().await?;
/// guards.ensure(Duration::from_secs(5))?; // each is safe for so long
/// println!("safe for {:?}, fencing tokens {:?}", guards.remaining(), guards.tokens().collect::<Vec<_>>());
///
/// let (lease, stop) = (guards.lease(), guards.cancellation_token()); // for a task that works under them
/// let transfer = tokio::spawn(async move {
///     tokio::select! {
///         () = stop.cancelled() => lease.check(), // the first of them is lost
///         () = async { /* transfer */ } => Ok(()),
///     }
/// });
/// transfer.await.expect("does not panic")?;
/// guards.release().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "the locks are released as soon as the guard is dropped; `let _ =` drops it at once"]
pub struct LockSetGuard {
    guards: Vec<LockGuard>,
    /// One for all who ask: its cancellation token has a task.
    leases: OnceLock<LeaseSet>,
}

/// What an acquisition of a set has so far. Its locks are given up when it ends, or when it turns out not to be polled.
#[derive(Default)]
struct Hoard(Arc<Mutex<Vec<LockGuard>>>);

// === impl Client: sets of locks ===

impl Client {
    /// Names several locks that are acquired together: sorted, so that two sets cannot deadlock, each name once. While one is
    /// waited for, those before it are held and may be lost: then the acquisition fails with [`Error::Lost`].
    ///
    /// # Errors
    /// [`Error::InvalidName`] when a name is empty, or when no name is given.
    pub fn lock_all<N: AsRef<str>>(&self, names: impl IntoIterator<Item = N>) -> Result<LockSet, Error> {
        let locks = names.into_iter().map(|name| self.lock(name)).collect::<Result<Vec<_>, _>>()?;
        LockSet::new(locks)
    }
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
    /// Dropping the future releases those that were acquired. A future that is kept and not polled holds what it has until
    /// it gets the next lock and does not take it within a ttl; when it is polled again it begins anew.
    pub async fn acquire(&self) -> Result<LockSetGuard, Error> {
        self.gather(|lock| async move { lock.acquire().await }).await
    }

    /// Acquires all if all are free; `None` if somebody has one of them.
    ///
    /// # Errors
    /// As [`Lock::try_acquire`], and [`Error::Lost`] as [`acquire`](Self::acquire). Those that were acquired are released.
    ///
    /// # Cancel safety
    /// Dropping the future releases those that were acquired.
    pub async fn try_acquire(&self) -> Result<Option<LockSetGuard>, Error> {
        let tried = |lock: Lock| async move {
            lock.try_acquire().await?.ok_or_else(|| Error::Busy { name: lock.name().to_string() })
        };
        match self.gather(tried).await {
            Ok(guards) => Ok(Some(guards)),
            Err(Error::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Acquires one after the other, again from the first if what it had was given up meanwhile.
    async fn gather<A, F>(&self, acquire: A) -> Result<LockSetGuard, Error>
    where
        A: Fn(Lock) -> F,
        F: Future<Output = Result<LockGuard, Error>>,
    {
        let guards = loop {
            let hoard = Hoard::default();
            for (had, lock) in self.0.iter().enumerate() {
                let guard = acquire(lock.of_set(hoard.forfeit())?).await?;
                if !hoard.add(had, guard) {
                    break;
                }
            }
            let guards = hoard.take();
            if guards.guards.len() == self.0.len() {
                break guards;
            }
        };
        guards.check()?;
        // Not before there is a guard for the user: all or nothing.
        guards.guards.iter().zip(&self.0).for_each(|(guard, lock)| guard.complete(lock));
        Ok(guards)
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
        self.gather(|lock| async move { lock.acquire_by(since, since + limit, limit).await }).await
    }

    async fn attempt(&self) -> Result<LockSetGuard, Error> {
        self.gather(|lock| async move { lock.acquire_timeout(Duration::ZERO).await }).await
    }

    /// Runs a body, `async |guards| { … }`, while all are held; see [`Lock::run`]. Returns when all are released.
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
    fn of(guards: Vec<LockGuard>) -> Self {
        Self { guards, leases: OnceLock::new() }
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
    pub fn lost(&self) -> Lost {
        let lost = select_all(self.guards.iter().map(LockGuard::lost));
        Lost::new(async { lost.await.0 })
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

// === impl Hoard ===

impl Hoard {
    /// Adds a lock to those that were had before; says whether they are still there.
    fn add(&self, had: usize, guard: LockGuard) -> bool {
        let mut guards = self.guards();
        let complete = guards.len() == had;
        guards.push(guard);
        complete
    }

    fn take(&self) -> LockSetGuard {
        LockSetGuard::of(mem::take(&mut self.guards()))
    }

    /// Returns what gives it all up, from wherever it is called.
    fn forfeit(&self) -> impl Fn() + Send + Sync + use<> {
        let guards = Arc::clone(&self.0);
        move || {
            let given_up = LockSetGuard::of(mem::take(&mut *locked(&guards)));
            drop(given_up);
        }
    }

    fn guards(&self) -> MutexGuard<'_, Vec<LockGuard>> {
        locked(&self.0)
    }
}

fn locked(guards: &Mutex<Vec<LockGuard>>) -> MutexGuard<'_, Vec<LockGuard>> {
    guards.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Hoard {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl Drop for LockSetGuard {
    fn drop(&mut self) {
        while self.guards.pop().is_some() {}
    }
}
