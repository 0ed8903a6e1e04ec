//! What reaches the driver of a lock from its process, and how it answers.

use std::{pin::Pin, sync::Arc};

use futures::{FutureExt, StreamExt, channel::mpsc, stream::Peekable};
use tokio::sync::oneshot;

use super::offer::Offer;
use crate::{
    Error, FencingToken,
    clock::Moment,
    protocol::{Event, Ticket, Want},
    store::{Fault, Snapshot},
};

/// How a driver is told. Not tokio's channel, which takes 800 bytes of each lock that is merely held, where this takes some
/// 100. Boxed: it keeps room for one message more than there are.
pub(crate) type Messages = mpsc::UnboundedSender<Box<Message>>;

/// Where a driver is told; it can be looked at without taking anything out.
pub(crate) type Letters = Peekable<mpsc::UnboundedReceiver<Box<Message>>>;

/// How the end of a release is told, and whether the candidate that it named has the lock next.
pub(super) type Acknowledge = oneshot::Sender<Result<bool, Error>>;

/// What reaches a driver from its process.
pub(crate) enum Message {
    /// A local acquisition begins.
    Want(Want, Bid),
    /// A user is done, and wants to know when its release is acknowledged.
    Release(Ticket, Option<String>, Option<Acknowledge>),
    /// Somebody wants to see the record as the keeper knows it.
    Show(oneshot::Sender<Option<Snapshot>>),
    /// Somebody who has waited since then gives up, and wants to know whether anybody had the lock, or what calls met.
    Why(Moment, oneshot::Sender<Why>),
    /// Anything else.
    Event(Event),
}

/// Why somebody waited in vain.
pub(crate) enum Why {
    /// Somebody else had the lock.
    Held,
    /// Nobody was seen to have it; what the last call met, if it met anything.
    Unseen(Option<Fault>),
}

/// How whoever awaits an acquisition is told.
pub(crate) struct Bid {
    pub(super) verdict: oneshot::Sender<Result<FencingToken, Error>>,
    /// Whether it has collected what it was told to have.
    pub(super) offer: Arc<Offer>,
    /// What is told of it.
    pub(super) asked: Asked,
}

/// What is known of an acquisition, for what is told of it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Since when it waits.
    pub(super) since: Moment,
    /// It campaigns.
    pub(super) election: bool,
    /// What stands for its lock in figures; none where nobody listens.
    pub(super) label: Option<Arc<str>>,
}

// === impl Message ===

impl Message {
    /// Makes a way to tell a driver.
    pub(crate) fn channel() -> (Messages, Letters) {
        let (messages, letters) = mpsc::unbounded();
        (messages, letters.peekable())
    }
}

/// Says whether everything that was told has been taken out.
pub(super) fn are_read(letters: &mut Letters) -> bool {
    !matches!(Pin::new(letters).peek().now_or_never(), Some(Some(_)))
}
