//! The term of a leader: what a guard is for a lock, and the label on the leader's pod besides.

use std::time::Duration;

#[cfg(feature = "kube")]
use super::pod_label::Worn;
use crate::{Error, FencingToken, Lease, LockGuard, LockName, Lost, name};

/// The term of a leader. It lasts until it is dropped, [resigned](Self::resign), handed over or lost.
#[must_use = "the leadership is resigned as soon as it is dropped; `let _ =` drops it at once"]
#[derive(Debug)]
pub struct Leadership {
    pub(super) guard: LockGuard,
    /// The label on its pod, if it has one.
    #[cfg(feature = "kube")]
    pub(super) worn: Option<Worn>,
}

// === impl Leadership ===

impl Leadership {
    #[cfg(feature = "testing")]
    pub(crate) fn staged(guard: LockGuard) -> Self {
        Self {
            guard,
            #[cfg(feature = "kube")]
            worn: None,
        }
    }

    /// Returns the name of the election.
    pub fn name(&self) -> &LockName {
        self.guard.name()
    }

    /// Returns a view of this term, for tasks that work under it: it can be cloned and kept, and prolongs nothing.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::standalone();
    /// let term = client.election("scheduler")?.campaign().await?;
    /// let (lease, stop) = (term.lease(), term.cancellation_token());
    /// let work = tokio::spawn(async move {
    ///     while !stop.is_cancelled() && lease.check().is_ok() {
    ///         // … one step, with lease.token()
    ///         # break;
    ///     }
    /// });
    /// work.await.expect("does not panic");
    /// term.resign().await?;
    /// # Ok(()) }
    /// ```
    pub fn lease(&self) -> Lease {
        self.guard.lease()
    }

    /// Returns the fencing token of this term (promise S1).
    pub fn token(&self) -> FencingToken {
        self.guard.token()
    }

    /// Says whether this process still leads; see [`LockGuard::check`].
    ///
    /// # Errors
    /// [`Error::Lost`], for ever from then on.
    pub fn check(&self) -> Result<(), Error> {
        self.guard.check()
    }

    /// Says whether the leadership is safe for some time more; see [`LockGuard::ensure`].
    ///
    /// # Errors
    /// As [`LockGuard::ensure`].
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.guard.ensure(duration)
    }

    /// Returns for how long the leadership is safe if no renewal succeeds; zero when it is lost.
    pub fn remaining(&self) -> Duration {
        self.guard.remaining()
    }

    /// Completes when the leadership is lost, by the local deadline at the latest (promise S3).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> Lost {
        self.guard.lost()
    }

    /// Returns a token that is cancelled when the leadership is lost; see [`LockGuard::cancellation_token`].
    pub fn cancellation_token(&self) -> tokio_util::sync::CancellationToken {
        self.guard.cancellation_token()
    }

    /// Runs a body for as long as this process leads: it is dropped when the leadership is lost.
    ///
    /// # Errors
    /// [`Error::Lost`] when that came before the body's end.
    ///
    /// # Cancel safety
    /// Dropping the future drops the body; the leadership stays.
    pub async fn run<F: Future>(&self, body: F) -> Result<F::Output, Error> {
        self.guard.protect(body).await
    }

    /// Steps down: the next candidate leads within milliseconds.
    ///
    /// # Errors
    /// As [`LockGuard::release`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the resignation, only the waiting for it.
    pub async fn resign(self) -> Result<(), Error> {
        self.unlabelled().await.release().await
    }

    /// Steps down in favour of a candidate, by its owner name: the name that its client was given, or as it is shown. Says
    /// whether one of that name waited and leads next; if none did, the first in the queue leads.
    ///
    /// # Errors
    /// As [`LockGuard::release`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the resignation, only the waiting for it.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn retire(term: msync::Leadership) -> Result<(), msync::Error> {
    /// if !term.hand_over_to("web-3").await? {
    ///     println!("web-3 does not stand; somebody else leads");
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn hand_over_to(self, owner: impl AsRef<str>) -> Result<bool, Error> {
        let successor = name::owner(owner.as_ref());
        self.unlabelled().await.release_to(successor).await
    }

    /// Takes the label off, so that nobody is sent to one who leads no more.
    #[cfg_attr(not(feature = "kube"), expect(clippy::unused_async, reason = "pods are in clusters only"))]
    async fn unlabelled(self) -> LockGuard {
        #[cfg(feature = "kube")]
        if let Some(worn) = self.worn {
            worn.take_off().await;
        }
        self.guard
    }
}
