//! What an annotated function holds while its body runs: a lock, several, or a share of a leader's term.

use std::{
    slice::from_ref,
    task::{Context, Poll, ready},
};

use super::Missed;
use crate::{
    Error, Lease, LeaseSet, LockGuard, LockSetGuard,
    election::Term,
    held::{OnLost, Sentry, Stopped},
    lock::log_release,
};

/// What is held, and the watch over it. Dropping it releases.
pub(super) struct Hold {
    sentry: Sentry,
    stopped: Option<Stopped>,
    kept: Kept,
}

enum Kept {
    Lock(LockGuard),
    Locks(LockSetGuard, LeaseSet),
    Term(Term),
}

// === impl Hold ===

impl Hold {
    pub(super) fn of_lock(guard: LockGuard, on_lost: OnLost) -> (Self, Lease) {
        let lease = guard.lease();
        (Self::new(Kept::Lock(guard), on_lost), lease)
    }

    pub(super) fn of_locks(guards: LockSetGuard, on_lost: OnLost) -> (Self, LeaseSet) {
        let leases = guards.lease();
        (Self::new(Kept::Locks(guards, leases.clone()), on_lost), leases)
    }

    pub(super) fn of_term(term: Term, on_lost: OnLost) -> (Self, Lease) {
        let lease = term.lease.clone();
        (Self::new(Kept::Term(term), on_lost), lease)
    }

    fn new(kept: Kept, on_lost: OnLost) -> Self {
        Self { sentry: Sentry::new(kept.leases(), on_lost), stopped: None, kept }
    }

    /// Polls the body unless the hold is lost. `step` says whether the body has ended. Ready when it is to be dropped; says
    /// whether what it gave counts, which it does not after a loss.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, step: &mut dyn FnMut(&mut Context<'_>) -> bool) -> Poll<bool> {
        self.stopped = ready!(self.sentry.poll(self.kept.leases(), cx, step)).err();
        Poll::Ready(self.stopped.is_none())
    }

    /// Releases, once the body is dropped; returns the loss, if that is what stopped it, or goes on with its panic.
    pub(super) async fn end(self) -> Option<Missed> {
        let Self { sentry, stopped, kept } = self;
        sentry.report_drop(kept.leases());
        drop(sentry);
        log_release(kept.release().await);
        stopped.map(|stopped| stopped.into_error().into())
    }
}

/// Returns why a body gave nothing that counts.
pub(super) fn why(missed: Option<Missed>) -> Missed {
    missed.expect("a body that was not stopped gives a value that counts")
}

// === impl Kept ===

impl Kept {
    fn leases(&self) -> &[Lease] {
        match self {
            Self::Lock(guard) => from_ref(guard.view()),
            Self::Locks(_, leases) => leases.leases(),
            Self::Term(term) => from_ref(&term.lease),
        }
    }

    async fn release(self) -> Result<(), Error> {
        match self {
            Self::Lock(guard) => guard.release().await,
            Self::Locks(guards, _) => guards.release().await,
            // The campaign keeps the term until nothing runs under it any more.
            Self::Term(_) => Ok(()),
        }
    }
}
