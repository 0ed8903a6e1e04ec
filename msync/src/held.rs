//! Polls a body for as long as its hold lasts.
//!
//! The hold is looked at before every poll of the body, so after a pause of the process not one more step of it runs. The
//! body, and everything it owns, is dropped before this returns; whoever releases does so afterwards, after a panic too.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::task::AbortHandle;

use crate::lease::first_loss;
use crate::{Error, Lease, clock::Moment, scope};

/// What happens to a body when its lock is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnLost {
    /// It is dropped.
    #[default]
    Cancel,
    /// It goes on; only its lease says so.
    Signal,
    /// The process ends.
    Abort,
}

/// How a body ended.
pub(crate) enum Ended<T> {
    Ran(T),
    Lost(Error),
    Panicked(Box<dyn Any + Send>),
}

// Ends the watch for a loss together with the body.
struct Watching(Option<AbortHandle>);

// === impl Ended ===

impl<T> Ended<T> {
    /// Returns what the body returned, the loss, or goes on with its panic.
    pub(crate) fn finish(self) -> Result<T, Error> {
        match self {
            Self::Ran(value) => Ok(value),
            Self::Lost(error) => Err(error),
            Self::Panicked(panic) => resume_unwind(panic),
        }
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
pub(crate) async fn held<F, Fut>(leases: &[Lease], on_lost: OnLost, body: F) -> Ended<Fut::Output>
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    let _watching = watch_to_abort(leases, on_lost);
    let (ended, noticed) = poll_held(leases, on_lost, body).await;
    if let (Ended::Lost(_), Some((lease, at))) = (&ended, noticed) {
        lease.report_drop(lease.now().since(at));
    }
    ended
}

/// When a loss was noticed, by the clock of a lease: before the body was dropped.
type Noticed<'a> = Option<(&'a Lease, Moment)>;

/// Polls the body, and drops it before it returns.
async fn poll_held<F, Fut>(leases: &[Lease], on_lost: OnLost, body: F) -> (Ended<Fut::Output>, Noticed<'_>)
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    let mut body = pin!(scope::inside(leases, body()));
    // Only a body that waits needs to be woken by the loss: most do not, and making this costs as much as a small body.
    let mut lost = pin!(None);
    let mut poll = |cx: &mut Context<'_>| {
        // The clock first: after a suspend no timer has fired yet.
        if let Some(error) = lost_now(leases, on_lost) {
            return Poll::Ready(Ended::Lost(error));
        }
        match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx))) {
            // A body that ends after its deadline has lost as well: it ran over.
            Ok(Poll::Ready(value)) => {
                return Poll::Ready(lost_now(leases, on_lost).map_or(Ended::Ran(value), Ended::Lost));
            }
            Err(panic) => return Poll::Ready(Ended::Panicked(panic)),
            Ok(Poll::Pending) => {}
        }
        if lost.is_none() {
            lost.set(Some(first_loss(leases).fuse()));
        }
        if lost.as_mut().as_pin_mut().is_some_and(|lost| lost.poll(cx).is_ready())
            && let Some(error) = lost_now(leases, on_lost)
        {
            return Poll::Ready(Ended::Lost(error));
        }
        Poll::Pending
    };
    let noticed = |ended| (ended, leases.first().map(|lease| (lease, lease.now())));
    poll_fn(|cx| poll(cx).map(noticed)).await
}

fn lost_now(leases: &[Lease], on_lost: OnLost) -> Option<Error> {
    let loss = || leases.iter().try_for_each(Lease::check).err();
    match on_lost {
        OnLost::Signal => None,
        OnLost::Cancel => loss(),
        OnLost::Abort => loss().map(|error| abort(&error)),
    }
}

// A body that does not yield is not polled, so the end of the process needs a task of its own.
fn watch_to_abort(leases: &[Lease], on_lost: OnLost) -> Watching {
    if on_lost != OnLost::Abort {
        return Watching(None);
    }
    let (leases, lost) = (leases.to_vec(), first_loss(leases));
    let task = tokio::spawn(async move {
        lost.await;
        lost_now(&leases, OnLost::Abort);
    });
    Watching(Some(task.abort_handle()))
}

fn abort(error: &Error) -> Error {
    tracing::error!(%error, "on_lost = abort: the process ends");
    eprintln!("msync: {error}; on_lost = abort: the process ends");
    std::process::abort()
}
