//! The engine: one per client. Finds or starts the keeper of a lock, and feeds keepers what the inbox watch sees.
//!
//! It decides nothing about locks: rules live in `protocol.rs`.

mod gate;
mod inbox;
mod keeper;
mod memory;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gate::Gate;
pub(crate) use inbox::Lookout;
use keeper::Driver;
pub(crate) use keeper::{Lease, Message};
use memory::Memory;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    Error, FencingToken, LockName,
    clock::{Clock, Random},
    protocol::{Event, Keeper, Standing, Ticket, Want},
    record::EngineId,
    store::{Snapshot, Store},
};

/// How many calls one engine makes at once.
const CALLS_AT_ONCE: usize = 32;

/// What all locks and elections of one client share.
pub(crate) struct Engine {
    pub(crate) id: EngineId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    gate: Gate,
    keepers: Mutex<HashMap<LockName, Handle>>,
    inbox: Mutex<Option<JoinHandle<()>>>,
    /// How long the inbox may be silent before it is opened anew.
    patience: Duration,
    tickets: AtomicU64,
    shut: AtomicBool,
    retired: Notify,
    memory: Mutex<Memory>,
}

/// How to reach a running keeper.
#[derive(Clone)]
struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    standing: watch::Receiver<Standing>,
}

// === impl Engine ===

impl Engine {
    /// Makes an engine; it starts no task before the first lock is wanted.
    pub(crate) fn new(
        id: EngineId,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        random: Random,
        longest_ttl: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            store,
            clock,
            random,
            gate: Gate::new(CALLS_AT_ONCE),
            keepers: Mutex::default(),
            inbox: Mutex::default(),
            patience: (2 * longest_ttl).max(Duration::from_secs(90)),
            tickets: AtomicU64::new(1),
            shut: AtomicBool::new(false),
            retired: Notify::new(),
            memory: Mutex::default(),
        })
    }

    /// Acquires a lock for whoever awaits this. Dropping the future gives the acquisition up, whatever became of it.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        name: &LockName,
        want: impl FnOnce(Ticket) -> Want,
    ) -> Result<Lease, Error> {
        if self.shut.load(Ordering::Acquire) {
            return Err(Error::ShutDown);
        }
        self.open_inbox();
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let (verdict, turn) = oneshot::channel();
        let handle = self.send(name, Message::Want(want(ticket), verdict));
        let mut waiting = Waiting { ticket, messages: Some(handle.messages.clone()) };
        let token: FencingToken = turn.await.map_err(|_| Error::ShutDown)??;
        waiting.messages = None;
        Ok(Lease::new(self, name.clone(), ticket, token, handle.messages, handle.standing))
    }

    /// Ends everything: waiting acquisitions fail, guards see the end, what is held is released once its guard is gone.
    /// Returns when nothing is left, or after `most`.
    pub(crate) async fn shut_down(&self, most: Duration) {
        self.shut.store(true, Ordering::Release);
        for handle in self.keepers().values() {
            let _ = handle.messages.send(Message::Event(Event::ShutDown));
        }
        let all_retired = async {
            loop {
                let retired = self.retired.notified();
                if self.keepers().is_empty() {
                    return;
                }
                retired.await;
            }
        };
        let limit = self.clock.sleep_until(self.clock.now() + most);
        tokio::select! {
            () = all_retired => {}
            () = limit => tracing::warn!("shut down with guards still held or releases unacknowledged; their ttl ends them"),
        }
    }

    /// Sends a message to a lock's keeper, which is started if there is none.
    fn send(self: &Arc<Self>, name: &LockName, message: Message) -> Handle {
        let mut keepers = self.keepers();
        let handle = keepers.entry(name.clone()).or_insert_with(|| self.start(name));
        // The keeper leaves the map before it closes its channel, under the same mutex: this cannot fail.
        let _ = handle.messages.send(message);
        handle.clone()
    }

    fn start(self: &Arc<Self>, name: &LockName) -> Handle {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (publish, standing) = watch::channel(Standing::default());
        let driver = Driver::new(
            Arc::clone(self),
            name.clone(),
            Keeper::resuming(self.id.clone(), self.recall(name)),
            inbox,
            publish,
        );
        tokio::spawn(driver.run());
        Handle { messages, standing }
    }

    /// Takes a keeper off the map, unless somebody has just written to it.
    fn retire(&self, name: &LockName, inbox: &mpsc::UnboundedReceiver<Message>) -> bool {
        let mut keepers = self.keepers();
        let retires = inbox.is_empty();
        if retires {
            keepers.remove(name);
            self.retired.notify_waiters();
        }
        retires
    }

    /// Tells a keeper what the inbox saw. A lock that nobody here knows, held by this very engine, is a stray (a write
    /// that was given up and landed late): a new keeper gives it back.
    fn deliver(self: &Arc<Self>, name: &LockName, snapshot: Snapshot) {
        let known = self.keepers().contains_key(name);
        if known || snapshot.record.engine == self.id {
            self.send(name, Message::Event(Event::Seen(snapshot)));
        }
    }

    /// Tells a keeper, if there is one.
    fn tell(&self, name: &LockName, event: Event) {
        if let Some(handle) = self.keepers().get(name) {
            let _ = handle.messages.send(Message::Event(event));
        }
    }

    fn names(&self) -> Vec<LockName> {
        self.keepers().keys().cloned().collect()
    }

    fn open_inbox(self: &Arc<Self>) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.get_or_insert_with(|| tokio::spawn(inbox::run(Arc::downgrade(self))));
    }

    fn keepers(&self) -> MutexGuard<'_, HashMap<LockName, Handle>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(inbox) = self.inbox.get_mut().unwrap_or_else(PoisonError::into_inner) {
            inbox.abort();
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("id", &self.id).field("store", &self.store).finish_non_exhaustive()
    }
}

/// An acquisition that is awaited; given up when dropped.
struct Waiting {
    ticket: Ticket,
    messages: Option<mpsc::UnboundedSender<Message>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(messages) = &self.messages {
            let _ = messages.send(Message::Event(Event::Cancel(self.ticket)));
        }
    }
}
