//! What the sidecar needs of a lock besides waiting for it: single tries, looks, and renewals on demand.

use std::time::Duration;

use futures::stream::{self, Stream};

use super::{Lock, LockGuard};
use crate::{
    Error, LockName,
    clock::Wall,
    engine::Listener,
    protocol::Patience,
    runtime,
    store::{Sighting, Snapshot},
};

// === impl Lock: polling ===

impl Lock {
    /// Tries once: takes the lock if it is absent, free, or dead by what this engine has observed of it over earlier tries
    /// and looks; `None` if somebody has it. Never waits for a holder and never joins the queue: a read and at the most one
    /// write, unless others write at the same moment.
    ///
    /// With `create_only` the lock is taken only when its object is absent.
    ///
    /// # Errors
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// # Cancel safety
    /// Dropping the future gives back what was acquired meanwhile.
    #[doc(hidden)]
    pub async fn attempt(&self, create_only: bool) -> Result<Option<LockGuard>, Error> {
        match self.turn(Patience::Poll { create_only }).await {
            Ok(turn) => Ok(Some(LockGuard::new(turn))),
            Err(Error::Busy { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the record, once; what it finds counts as an observation of the holder for later attempts.
    ///
    /// # Errors
    /// As [`acquire`](Self::acquire), and [`Error::Store`] when the store does not answer within one call's time.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    #[doc(hidden)]
    pub async fn look(&self) -> Result<Option<Snapshot>, Error> {
        self.engine.look(&self.name, self.options.timing.attempt_timeout()).await
    }

    /// Returns the record as the last look, attempt or hold of this process has seen it, without a request.
    #[doc(hidden)]
    pub fn last_seen(&self) -> Option<Snapshot> {
        self.engine.last_seen(&self.name)
    }

    /// Returns until when a record says that its lock is held: its own date, or that of the session it lives by. The session
    /// is read where all that is known of it here is over.
    ///
    /// # Errors
    /// As [`look`](Self::look).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    #[doc(hidden)]
    pub async fn expiry(&self, seen: &Snapshot) -> Result<Option<Wall>, Error> {
        if seen.record.under.is_none() {
            return Ok(seen.record.expiry);
        }
        let session = LockName::session(seen.record.under);
        let known = self.engine.last_seen(&session).and_then(|session| session.record.expiry);
        if known.is_some_and(|expiry| expiry > self.engine.clock.wall()) {
            return Ok(known);
        }
        let found = self.engine.look(&session, self.options.timing.attempt_timeout()).await?;
        Ok(found.and_then(|session| session.record.expiry))
    }

    /// Returns the record as this process knows it, without a request: for a lock that is held or awaited here, as the
    /// watches show it now.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    #[doc(hidden)]
    pub async fn newest(&self) -> Option<Snapshot> {
        self.engine.newest(&self.name).await
    }

    /// Watches the record: as it is at first, and again after every change or repetition; `None` while it is absent. The
    /// stream never ends, and outlives failures of the API server. Whoever is slow to ask gets the newest states and not all.
    #[doc(hidden)]
    pub fn sightings(&self) -> impl Stream<Item = Option<Snapshot>> + Send + use<> {
        let listener = Listener::new(&self.engine, self.name.clone());
        let sightings = stream::unfold(listener, |mut listener| async {
            loop {
                let seen = match listener.next().await {
                    Sighting::Listed(found) => found.into_iter().next().map(|(_, snapshot)| snapshot),
                    Sighting::Changed(_, snapshot) => Some(snapshot),
                    Sighting::Gone(..) => None,
                    Sighting::Alive => continue,
                };
                return Some((seen, listener));
            }
        });
        runtime::stream(self.engine.home, sightings)
    }
}

// === impl LockGuard: polling ===

impl LockGuard {
    /// Renews at once if less than `remaining` is left, and completes when that much is.
    ///
    /// # Errors
    /// [`Error::Lost`] when the lock is lost, [`Error::TooShort`] when even two renewals have not brought that much.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing: the renewal goes on.
    #[doc(hidden)]
    pub fn renewed(&self, remaining: Duration) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        self.turn.renewed(remaining)
    }

    /// Returns the newest `resourceVersion` that this process believes of the record of this hold.
    #[doc(hidden)]
    pub fn version(&self) -> u64 {
        self.view().standing().borrow().version
    }
}

#[cfg(test)]
mod tests;
