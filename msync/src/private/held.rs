//! Polls a body for as long as its hold lasts.
//!
//! The hold is looked at before every poll of the body, so after a pause of the process not one more step of it runs. The
//! body, and everything it owns, is dropped before this returns; whoever releases does so afterwards, after a panic too.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;

use futures::FutureExt;
use tokio::task::AbortHandle;

use super::config::OnLost;
use crate::scope::{self, ScopeKey};
use crate::{Error, Lease, LeaseSet, LossReason};

/// What can be lost.
pub(super) trait Hold: Clone + Send + Sync + 'static {
    fn check(&self) -> Result<(), Error>;
    fn lost(&self) -> impl Future<Output = LossReason> + Send;
}

/// How a body ended.
pub(super) enum Ended<T> {
    Ran(T),
    Lost(Error),
    Panicked(Box<dyn Any + Send>),
}

// Ends the watch for a loss together with the body.
struct Watching(Option<AbortHandle>);

// === impl Ended ===

impl<T> Ended<T> {
    /// Returns what the body returned, the loss, or goes on with its panic.
    pub(super) fn finish(self) -> Result<T, Error> {
        match self {
            Self::Ran(value) => Ok(value),
            Self::Lost(error) => Err(error),
            Self::Panicked(panic) => resume_unwind(panic),
        }
    }
}

// === impl Hold ===

impl Hold for Lease {
    fn check(&self) -> Result<(), Error> {
        Lease::check(self)
    }

    fn lost(&self) -> impl Future<Output = LossReason> + Send {
        Lease::lost(self)
    }
}

impl Hold for LeaseSet {
    fn check(&self) -> Result<(), Error> {
        LeaseSet::check(self)
    }

    fn lost(&self) -> impl Future<Output = LossReason> + Send {
        LeaseSet::lost(self)
    }
}

// === impl Watching ===

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Makes the body and polls it until it ends or its hold does.
pub(super) async fn held<H, F, Fut>(hold: &H, on_lost: OnLost, keys: &[ScopeKey], body: F) -> Ended<Fut::Output>
where
    H: Hold,
    F: FnOnce() -> Fut,
    Fut: Future,
{
    let _watching = watch_to_abort(hold, on_lost);
    let mut body = pin!(scope::inside(keys, body()));
    let mut lost = pin!(hold.lost().fuse());
    poll_fn(|cx| {
        if let Some(error) = lost_now(hold, on_lost) {
            return Poll::Ready(Ended::Lost(error));
        }
        match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx))) {
            Ok(Poll::Ready(value)) => return Poll::Ready(Ended::Ran(value)),
            Err(panic) => return Poll::Ready(Ended::Panicked(panic)),
            Ok(Poll::Pending) => {}
        }
        // Only a body that waits needs to be woken by the loss.
        if lost.as_mut().poll(cx).is_ready()
            && let Some(error) = lost_now(hold, on_lost)
        {
            return Poll::Ready(Ended::Lost(error));
        }
        Poll::Pending
    })
    .await
}

fn lost_now<H: Hold>(hold: &H, on_lost: OnLost) -> Option<Error> {
    match on_lost {
        OnLost::Signal => None,
        OnLost::Cancel => hold.check().err(),
        OnLost::Abort => hold.check().err().map(|error| abort(&error)),
    }
}

// A body that does not yield is not polled, so the end of the process needs a task of its own.
fn watch_to_abort<H: Hold>(hold: &H, on_lost: OnLost) -> Watching {
    if on_lost != OnLost::Abort {
        return Watching(None);
    }
    let hold = hold.clone();
    let task = tokio::spawn(async move {
        hold.lost().await;
        if let Err(error) = hold.check() {
            abort(&error);
        }
    });
    Watching(Some(task.abort_handle()))
}

fn abort(error: &Error) -> Error {
    tracing::error!(%error, "on_lost = abort: the process ends");
    eprintln!("msync: {error}; on_lost = abort: the process ends");
    std::process::abort()
}
