//! A user's turn at a lock: what its guard has in hand.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Grip,
    message::{Acknowledge, Message, Messages},
    task::Task,
};
use crate::{
    Error, Lease, LossReason,
    protocol::{Event, Ticket},
    runtime::FORKED,
};

/// One user's turn at a lock, as its guard has it. Dropping it hands the release to the driver and never blocks.
pub(crate) struct Turn {
    lease: Lease,
    ticket: Ticket,
    messages: Messages,
    task: Option<Arc<Task>>,
    successor: Option<String>,
    /// The driver has been told.
    released: bool,
    /// Goes last: the end of the last handle waits for what was released before.
    engine: Grip,
}

// === impl Turn ===

impl Turn {
    pub(super) fn new(ticket: Ticket, lease: Lease, messages: Messages, task: Option<Arc<Task>>, engine: Grip) -> Self {
        Self { lease, ticket, messages, task, successor: None, released: false, engine }
    }

    /// Makes one that nobody keeps, for a test that answers its messages itself.
    #[cfg(feature = "testing")]
    pub(crate) fn staged(ticket: Ticket, lease: Lease, messages: Messages, engine: Grip) -> Self {
        Self::new(ticket, lease, messages, None, engine)
    }

    /// Returns the view of the hold.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Renews at the most twice until so much remains; a renewal that was on its way before may bring less.
    pub(crate) fn renewed(&self, wanted: Duration) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let (ticket, lease, messages) = (self.ticket, self.lease.clone(), self.messages.clone());
        async move {
            let renewal = async {
                for _ in 0..2 {
                    let seen = *lease.standing().borrow();
                    if lease.remaining() >= wanted {
                        break;
                    }
                    let _ = messages.unbounded_send(Box::new(Message::Event(Event::Prolong(ticket))));
                    let prolonged = lease.standing().wait_for(|now| now.until > seen.until).await.is_ok();
                    if !prolonged {
                        std::future::pending::<()>().await; // the end is told by `lost`
                    }
                }
            };
            tokio::select! {
                biased;
                reason = lease.lost() => Err(lease.lost_error(reason)),
                () = renewal => lease.ensure(wanted),
            }
        }
    }

    /// Names who is to have the lock next, if it waits.
    pub(crate) fn prefer(&mut self, successor: String) {
        self.successor = Some(successor);
    }

    /// Keeps the lock for at least so long from now on, whatever becomes of its guard.
    pub(crate) fn keep(&self, least: Duration) {
        let _ = self.messages.unbounded_send(Box::new(Message::Event(Event::Keep(self.ticket, least))));
    }

    /// Releases, and waits until the release is acknowledged. Says whether the one that was named has the lock next.
    pub(crate) async fn release(mut self) -> Result<bool, Error> {
        match self.lease.end() {
            LossReason::Released => {}
            reason => return Err(self.lease.lost_error(reason)),
        }
        let (acknowledge, done) = oneshot::channel();
        self.tell(Some(acknowledge));
        done.await.unwrap_or_else(|_| {
            let context = format!("could not release lock {}", self.lease.name());
            let why = if self.engine.is_forked() { FORKED } else { "the runtime that kept it has ended" };
            Err(Error::store(context, why))
        })
    }

    fn tell(&mut self, acknowledge: Option<Acknowledge>) {
        self.released = true;
        if self.engine.is_forked() {
            return; // the hold is the parent's
        }
        let release = Message::Release(self.ticket, self.successor.take(), acknowledge);
        let _helps = self.task.as_ref().and_then(Task::lend);
        let _ = self.messages.unbounded_send(Box::new(release)); // a driver that is gone holds nothing
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.released {
            self.lease.end();
            self.tell(None);
        }
    }
}
