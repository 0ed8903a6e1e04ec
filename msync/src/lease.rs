//! What a body under a macro sees of its hold: it can look, and it cannot prolong or release.
//!
//! A lease never keeps a hold alive: a body may store it or give it to tasks, and the lock is released all the same.

use std::future::{Future, ready};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select_all};

use crate::{Error, FencingToken, Leadership, LockGuard, LockName, LockSetGuard, LossReason};

/// A view of a held lock or of a leader's term, for the body that runs under it: what `guard = …` names in
/// [`locked`](crate::locked) and [`leader_only`](crate::leader_only).
///
/// Cloning is cheap. After the hold has ended it says lost, for ever.
#[derive(Clone, Debug)]
pub struct Lease {
    name: LockName,
    token: FencingToken,
    hold: Hold,
}

/// A view of several held locks: what `guard = …` names in [`locked`](crate::locked) with a list of names.
#[derive(Clone, Debug)]
pub struct LeaseSet(Vec<LockName>, Weak<LockSetGuard>);

#[derive(Clone, Debug)]
enum Hold {
    Lock(Weak<LockGuard>),
    Term(Weak<Leadership>),
}

// === impl Lease ===

impl Lease {
    pub(crate) fn of_lock(guard: &Arc<LockGuard>) -> Self {
        Self { name: guard.name().clone(), token: guard.token(), hold: Hold::Lock(Arc::downgrade(guard)) }
    }

    pub(crate) fn of_term(term: &Arc<Leadership>) -> Self {
        Self { name: term.name().clone(), token: term.token(), hold: Hold::Term(Arc::downgrade(term)) }
    }

    /// Returns the name of the lock or election.
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Returns the fencing token; see [`LockGuard::token`].
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Says whether it is still held; see [`LockGuard::check`].
    ///
    /// # Errors
    /// [`Error::Lost`], for ever from then on.
    pub fn check(&self) -> Result<(), Error> {
        match &self.hold {
            Hold::Lock(guard) => guard.upgrade().map(|guard| guard.check()),
            Hold::Term(term) => term.upgrade().map(|term| term.check()),
        }
        .unwrap_or_else(|| Err(released(&self.name)))
    }

    /// Says whether it is safe for some time more, even if no renewal succeeds; see [`LockGuard::ensure`].
    ///
    /// # Errors
    /// As [`LockGuard::ensure`].
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        match &self.hold {
            Hold::Lock(guard) => guard.upgrade().map(|guard| guard.ensure(duration)),
            Hold::Term(term) => term.upgrade().map(|term| term.ensure(duration)),
        }
        .unwrap_or_else(|| Err(released(&self.name)))
    }

    /// Completes when it is lost; see [`LockGuard::lost`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        match &self.hold {
            Hold::Lock(guard) => match guard.upgrade() {
                Some(guard) => Either::Left(Either::Left(guard.lost())),
                None => Either::Right(ready(LossReason::Released)),
            },
            Hold::Term(term) => match term.upgrade() {
                Some(term) => Either::Left(Either::Right(term.lost())),
                None => Either::Right(ready(LossReason::Released)),
            },
        }
    }
}

// === impl LeaseSet ===

impl LeaseSet {
    pub(crate) fn of(guards: &Arc<LockSetGuard>) -> Self {
        Self(guards.guards().iter().map(|guard| guard.name().clone()).collect(), Arc::downgrade(guards))
    }

    /// Returns the fencing tokens, in the order of the names; none when the locks are released.
    pub fn tokens(&self) -> Vec<FencingToken> {
        self.1.upgrade().map(|guards| guards.guards().iter().map(LockGuard::token).collect()).unwrap_or_default()
    }

    /// Says whether all are still held.
    ///
    /// # Errors
    /// [`Error::Lost`] for the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        self.1.upgrade().map_or_else(|| self.released(), |guards| guards.check())
    }

    /// Says whether all are safe for some time more, even if no renewal succeeds.
    ///
    /// # Errors
    /// As [`LockGuard::ensure`], for the first that is not.
    pub fn ensure(&self, duration: Duration) -> Result<(), Error> {
        self.1.upgrade().map_or_else(|| self.released(), |guards| guards.ensure(duration))
    }

    /// Completes when the first is lost.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + use<> {
        match self.1.upgrade() {
            Some(guards) => {
                let each: Vec<_> = guards.guards().iter().map(|guard| Box::pin(guard.lost())).collect();
                Either::Left(select_all(each).map(|(reason, ..)| reason))
            }
            None => Either::Right(ready(LossReason::Released)),
        }
    }

    fn released(&self) -> Result<(), Error> {
        self.0.first().map_or(Ok(()), |name| Err(released(name)))
    }
}

fn released(name: &LockName) -> Error {
    Error::Lost { name: name.to_string(), reason: LossReason::Released }
}
