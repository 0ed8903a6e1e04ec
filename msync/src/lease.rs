//! What a body sees of its hold: it can look, and it cannot prolong or release.
//!
//! A lease never keeps a hold alive: a body may store it or give it to tasks, and the lock is released all the same. Only
//! the guard of the hold, in other hands, decides that.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{FutureExt, future::select_all};
use tokio::sync::watch;

use crate::{
    Error, FencingToken, LockName, LossReason,
    clock::Clock,
    protocol::{Standing, Ticket},
};

/// A view of a held lock or of a leader's term, for the body that runs under it: what `guard = …` names in `#[locked]` and
/// `#[leader_only]`.
///
/// Cloning is cheap. After the hold has ended it says lost, for ever.
#[derive(Clone)]
pub struct Lease {
    name: LockName,
    token: FencingToken,
    ticket: Ticket,
    clock: Arc<dyn Clock>,
    standing: watch::Receiver<Standing>,
    end: Arc<End>,
}

/// How a hold ended, set when its guard goes: an orderly release is no loss, and views outlive the guard.
type End = OnceLock<LossReason>;

/// A view of several held locks: what `guard = …` names in `#[locked]` with a list of names.
#[derive(Clone, Debug)]
pub struct LeaseSet(Arc<[Lease]>);

// === impl Lease ===

impl Lease {
    pub(crate) fn new(
        name: LockName,
        token: FencingToken,
        ticket: Ticket,
        clock: Arc<dyn Clock>,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Self { name, token, ticket, clock, standing, end: Arc::default() }
    }

    /// Returns the name of the lock or election.
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Returns the fencing token; see [`LockGuard::token`](crate::LockGuard::token).
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Says whether it is still held; see [`LockGuard::check`](crate::LockGuard::check).
    ///
    /// # Errors
    /// [`Error::Lost`], for ever from then on.
    pub fn check(&self) -> Result<(), Error> {
        self.loss().map_or(Ok(()), |reason| Err(self.lost_error(reason)))
    }

    /// Says whether it is safe for some time more, even if no renewal succeeds.
    ///
    /// # Errors
    /// [`Error::Lost`] when it is lost, [`Error::TooShort`] when less time remains.
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.check()?;
        let remaining = self.remaining();
        if remaining >= duration {
            return Ok(());
        }
        Err(Error::TooShort { name: self.name.to_string(), remaining })
    }

    /// Returns for how long it is safe if no renewal succeeds; zero when it is lost.
    pub fn remaining(&self) -> Duration {
        if self.loss().is_some() { Duration::ZERO } else { self.standing.borrow().until.since(self.clock.now()) }
    }

    /// Completes when it is lost, by the local deadline at the latest, or released.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let mut view = self.clone();
        async move {
            loop {
                view.standing.mark_unchanged();
                if let Some(reason) = view.loss() {
                    return reason;
                }
                let until = view.standing.borrow().until;
                let deadline = view.clock.sleep_until(until);
                tokio::select! {
                    changed = view.standing.changed() => if changed.is_err() { view.clock.sleep_until(until).await },
                    () = deadline => {}
                }
            }
        }
    }

    /// Returns where the keeper stands, to wait for a change.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Says whether, and why, the hold is over. Compares the clock itself: no timer, task or message is trusted.
    pub(crate) fn loss(&self) -> Option<LossReason> {
        if let Some(end) = self.end.get() {
            return Some(*end);
        }
        self.standing.borrow().loss(self.ticket, self.clock.now())
    }

    /// Fixes how the hold ended; before its release is sent, or its end would look like a loss.
    pub(crate) fn end(&self) {
        self.end
            .get_or_init(|| self.standing.borrow().loss(self.ticket, self.clock.now()).unwrap_or(LossReason::Released));
    }

    pub(crate) fn lost_error(&self, reason: LossReason) -> Error {
        Error::Lost { name: self.name.to_string(), reason }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, token, loss) = (&self.name, self.token, self.loss());
        f.debug_struct("Lease").field("name", name).field("token", &token).field("loss", &loss).finish_non_exhaustive()
    }
}

// === impl LeaseSet ===

impl LeaseSet {
    pub(crate) fn new(leases: impl Iterator<Item = Lease>) -> Self {
        Self(leases.collect())
    }

    /// Returns the fencing tokens, in the order of the names.
    pub fn tokens(&self) -> impl Iterator<Item = FencingToken> {
        self.0.iter().map(Lease::token)
    }

    /// Says whether all are still held.
    ///
    /// # Errors
    /// [`Error::Lost`] for the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(Lease::check)
    }

    /// Says whether all are safe for some time more, even if no renewal succeeds.
    ///
    /// # Errors
    /// As [`Lease::ensure`], for the first that is not.
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.0.iter().try_for_each(|lease| lease.ensure(duration))
    }

    /// Completes when the first is lost, or all are released.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        let each: Vec<_> = self.0.iter().map(|lease| Box::pin(lease.lost())).collect();
        select_all(each).map(|(reason, ..)| reason)
    }
}
