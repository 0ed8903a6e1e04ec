//! Polls a body for as long as its hold lasts.
//!
//! The hold is looked at before every poll of the body, so after a pause of the process not one more step of it runs. The
//! body, and everything it owns, is dropped before this returns; whoever releases does so afterwards, after a panic too.
//! As little as possible is generic: it is compiled again for each annotated function.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    task::{Context, Poll, ready},
};

use futures::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use tokio::task::AbortHandle;
use tracing::{Span, debug_span, field};

use super::{Lease, lease::first_loss, scope::Marks};
use crate::{Error, LossReason, clock::Moment, runtime};

/// What happens to a body when its lock is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnLost {
    /// It is dropped.
    #[default]
    Cancel,
    /// It goes on; only its lease says so.
    Signal,
    /// The process ends, unless the hold ends in order.
    Abort,
}

/// Why a body did not end by itself.
pub(crate) enum Stopped {
    Lost(Error),
    Panicked(Box<dyn Any + Send>),
}

/// Watches the holds of one body.
pub(crate) struct Sentry {
    on_lost: OnLost,
    /// Wakes a body that waits: most do not, so this is made late.
    lost: Option<BoxFuture<'static, LossReason>>,
    aborting: Option<AbortHandle>,
    /// Round the body: what is done under the lock, apart from the wait for it.
    span: Span,
    /// When the loss was noticed, by the clock of the holds: before the body was dropped.
    noticed: Option<Moment>,
}

/// Makes the body and polls it until it ends or its hold does.
pub(crate) async fn held<F, Fut>(leases: &[Lease], on_lost: OnLost, body: F) -> Result<Fut::Output, Stopped>
where
    F: FnOnce() -> Fut,
    Fut: Future,
{
    let mut sentry = Sentry::new(leases, on_lost);
    let ended = {
        let mut body = pin!(body());
        poll_fn(|cx| {
            let mut value = Poll::Pending;
            ready!(sentry.poll(leases, cx, &mut |cx| {
                value = body.as_mut().poll(cx);
                value.is_ready()
            }))?;
            value.map(Ok)
        })
        .await
    };
    sentry.report_drop(leases);
    ended
}

// === impl Stopped ===

impl Stopped {
    /// Returns the loss, or goes on with the panic.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Lost(error) => error,
            Self::Panicked(panic) => resume_unwind(panic),
        }
    }
}

// === impl Sentry ===

impl Sentry {
    /// Begins to watch. Each call below takes the same holds.
    pub(crate) fn new(leases: &[Lease], on_lost: OnLost) -> Self {
        let aborting = (on_lost == OnLost::Abort).then(|| abort_when_lost(leases));
        Self { on_lost, lost: None, aborting, span: span_of(leases), noticed: None }
    }

    /// Polls the body unless the hold is lost. `step` says whether the body has ended.
    pub(crate) fn poll(
        &mut self,
        leases: &[Lease],
        cx: &mut Context<'_>,
        step: &mut dyn FnMut(&mut Context<'_>) -> bool,
    ) -> Poll<Result<(), Stopped>> {
        // The clock first: after a suspend no timer has fired yet.
        self.check(leases)?;
        let stepped = catch_unwind(AssertUnwindSafe(|| {
            let _marks = Marks::set(leases);
            let _span = self.span.enter();
            step(cx)
        }));
        if stepped.map_err(Stopped::Panicked)? {
            // A body that ends after its deadline has lost as well: it ran over.
            return Poll::Ready(self.check(leases));
        }
        if self.on_lost != OnLost::Signal && self.poll_lost(leases, cx).is_ready() {
            self.check(leases)?;
        }
        Poll::Pending
    }

    fn poll_lost(&mut self, leases: &[Lease], cx: &mut Context<'_>) -> Poll<LossReason> {
        self.lost.get_or_insert_with(|| first_loss(leases).boxed()).as_mut().poll(cx)
    }

    fn check(&mut self, leases: &[Lease]) -> Result<(), Stopped> {
        if self.on_lost == OnLost::Signal {
            return Ok(());
        }
        for lease in leases {
            if let Some(reason) = lease.loss() {
                self.noticed = Some(lease.now());
                let error = lease.lost_error(reason);
                return Err(if self.aborts(reason) { abort(&error) } else { Stopped::Lost(error) });
            }
        }
        Ok(())
    }

    fn aborts(&self, reason: LossReason) -> bool {
        self.on_lost == OnLost::Abort && !reason.is_orderly()
    }

    /// Tells how long the drop of a lost body took.
    pub(crate) fn report_drop(&self, leases: &[Lease]) {
        if let Some(at) = self.noticed
            && let Some(lost) = leases.iter().find(|lease| lease.loss().is_some())
        {
            lost.report_drop(lost.now().since(at));
        }
    }
}

impl Drop for Sentry {
    fn drop(&mut self) {
        if let Some(task) = &self.aborting {
            task.abort();
        }
    }
}

fn span_of(leases: &[Lease]) -> Span {
    let span = debug_span!("msync.hold", lock = field::Empty, token = field::Empty, waited = field::Empty);
    if let (false, [lease, rest @ ..]) = (span.is_disabled(), leases) {
        let names = rest.iter().fold(lease.name().to_string(), |names, lease| format!("{names}, {}", lease.name()));
        span.record("lock", field::display(names))
            .record("token", lease.token().get())
            .record("waited", field::debug(lease.waited()));
    }
    span
}

// A body that does not yield is not polled, so the end of the process needs a task of its own.
fn abort_when_lost(leases: &[Lease]) -> AbortHandle {
    let broken = |lease: Lease| async move { lease.lost_error(lease.broken().await) };
    let first = select_all(leases.iter().cloned().map(|lease| Box::pin(broken(lease))));
    let task = runtime::spawn(leases[0].home(), async move {
        let (error, ..) = first.await;
        abort(&error);
    });
    task.abort_handle()
}

fn abort(error: &Error) -> Stopped {
    tracing::error!(%error, "on_lost = abort: the process ends");
    eprintln!("msync: {error}; on_lost = abort: the process ends");
    std::process::abort()
}
