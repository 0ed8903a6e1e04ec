//! A held lock in its user's hands.

use std::{slice::from_ref, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Lock;
use crate::{
    Error, FencingToken, Lease, LockName, LossReason, Lost,
    engine::Turn,
    held::{OnLost, Stopped, held},
};

/// A held lock. It is held until this guard is dropped or [released](Self::release), or until it is lost.
///
/// Dropping hands the release to a background task and never blocks; others have the lock a moment later.
///
/// # What the compiler does not warn of
/// A guard that nobody keeps is dropped where it was made, and excludes nobody:
/// ```
/// # async fn f(lock: msync::Lock) -> Result<(), msync::Error> {
/// let _ = lock.acquire().await?;                      // wrong: released before the next line
/// if let Some(_) = lock.try_acquire().await? {}       // held in the block only, and not in what follows it
/// lock.acquire().await.ok();                          // wrong: released, and the error is lost
///
/// let _guard = lock.acquire().await?;                 // right: held to the end of the scope
/// lock.run(async |_guard| { /* … */ }).await?;        // right, and ends with the lock
/// # Ok(()) }
/// ```
/// clippy's `let_underscore_must_use` and `let_underscore_untyped` find the first.
#[must_use = "the lock is released as soon as the guard is dropped; `let _ =` drops it at once"]
pub struct LockGuard {
    pub(super) turn: Turn,
}

// === impl LockGuard ===

impl LockGuard {
    pub(crate) fn new(turn: Turn) -> Self {
        Self { turn }
    }

    /// Returns a view of the hold, for tasks that work under it: it can be cloned and kept, and prolongs nothing.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::builder().memory(&msync::MemoryStore::new()).build();
    /// let guard = client.lock("invoices")?.acquire().await?;
    /// let lease = guard.lease();
    /// let part = tokio::spawn(async move { lease.check() });
    /// part.await.expect("does not panic")?;
    /// # Ok(()) }
    /// ```
    pub fn lease(&self) -> Lease {
        self.view().clone()
    }

    /// Begins the `at_least` of a lock whose set has been acquired.
    pub(crate) fn complete(&self, lock: &Lock) {
        if !lock.options.at_least.is_zero() {
            self.turn.keep(lock.options.at_least);
        }
    }

    pub(crate) fn view(&self) -> &Lease {
        self.turn.lease()
    }

    /// Returns the name of the lock.
    pub fn name(&self) -> &LockName {
        self.view().name()
    }

    /// Returns the fencing token of this acquisition (promise S1).
    pub fn token(&self) -> FencingToken {
        self.view().token()
    }

    /// Says whether the lock is still held. Costs one look at the clock.
    ///
    /// A good answer is a statement about now, not about the next moment; give the [token](Self::token) to whatever must
    /// be safe even from a pause right after this check.
    ///
    /// # Errors
    /// [`Error::Lost`], for ever from then on (promise S4).
    pub fn check(&self) -> Result<(), Error> {
        self.view().check()
    }

    /// Says whether the lock is safe for some time more, even if no renewal succeeds.
    ///
    /// # Errors
    /// [`Error::Lost`] when it is lost, [`Error::TooShort`] when less time remains.
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.view().ensure(duration)
    }

    /// Returns for how long the lock is safe if no renewal succeeds; zero when it is lost. After a wait in the queue it begins
    /// with at least half of what its timing allows, the ttl less the margin.
    pub fn remaining(&self) -> Duration {
        self.view().remaining()
    }

    /// Completes when the lock is lost, by the local deadline at the latest, whatever the network does (promise S3).
    /// Never completes after an orderly release.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> Lost {
        let ended = self.view().ended();
        Lost::new(async move {
            match ended.await {
                LossReason::Released => std::future::pending().await,
                reason => reason,
            }
        })
    }

    /// Returns a token that is cancelled when the lock is lost: for code that takes one.
    ///
    /// Each call returns a token of its own, which may be cancelled by others as well. An orderly release does not cancel it.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.view().cancellation_token()
    }

    /// Runs a body for as long as the lock is held; see [`Lock::run`].
    pub(crate) async fn protect<F: Future>(&self, body: F) -> Result<F::Output, Error> {
        held(from_ref(self.view()), OnLost::Cancel, || body).await.map_err(Stopped::into_error)
    }

    /// Releases the lock and waits until the store has acknowledged it.
    ///
    /// # Errors
    /// [`Error::Lost`] when it had been lost before; [`Error::Store`] when the release could not be made known, and
    /// [`Error::Forbidden`] or [`Error::CrdMissing`] when it was refused for ten seconds: others then wait for the ttl, unless
    /// one of the tries that go on until then succeeds.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the release, only the waiting for it.
    pub async fn release(self) -> Result<(), Error> {
        self.turn.release().await.map(drop)
    }

    /// Releases in favour of somebody who waits; says whether anybody of that owner name did.
    pub(crate) async fn release_to(mut self, owner: String) -> Result<bool, Error> {
        self.turn.prefer(owner);
        self.turn.release().await
    }
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, token, loss) = (self.name(), self.token(), self.view().loss());
        f.debug_struct("LockGuard").field("name", name).field("token", &token).field("loss", &loss).finish()
    }
}
