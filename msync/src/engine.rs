//! The engine: one per client. Finds or starts the keeper of a lock, and feeds keepers what the inbox watch sees.
//!
//! It decides nothing about locks: rules live in `protocol.rs`.

mod call;
mod gate;
mod grip;
mod inbox;
mod keeper;
mod lookouts;
mod memory;
mod offer;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use call::Attempts;
use gate::Gate;
pub(crate) use grip::Grip;
use keeper::{Bid, Driver, Messages};
pub(crate) use keeper::{Message, Turn};
pub(crate) use lookouts::Listener;
use lookouts::Lookouts;
use memory::Memory;
pub(crate) use offer::Forfeit;
use offer::Offer;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    Error, FencingToken, Lease, LockName,
    clock::{Clock, Home, Random},
    protocol::{Event, Standing, Ticket, Want},
    record::EngineId,
    runtime,
    store::{Snapshot, Store},
};

/// How long the end of the last handle waits for releases at the most: a program that cannot reach its store must end.
const LONGEST_GOODBYE: Duration = Duration::from_secs(2);

/// What all locks and elections of one client share.
pub(crate) struct Engine {
    pub(crate) id: EngineId,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Random,
    /// Where its tasks run.
    pub(crate) home: Home,
    /// Its calls also need a runtime of the user's.
    foreign: bool,
    gate: Gate,
    attempts: Attempts,
    lookouts: Arc<Lookouts>,
    keepers: Mutex<HashMap<LockName, Handle>>,
    inbox: Mutex<Option<JoinHandle<()>>>,
    tickets: AtomicU64,
    shut: AtomicBool,
    retired: Notify,
    memory: Mutex<Memory>,
}

/// How to reach a running keeper.
#[derive(Clone)]
struct Handle {
    messages: Messages,
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
        foreign: bool,
    ) -> Arc<Self> {
        let home = clock.home();
        let (gate, lookouts) = (Gate::new(Arc::clone(&random)), Lookouts::new(&store, &clock));
        Arc::new(Self {
            id,
            store,
            clock,
            random,
            home,
            foreign,
            gate,
            attempts: Attempts::default(),
            lookouts,
            keepers: Mutex::default(),
            inbox: Mutex::default(),
            tickets: AtomicU64::new(1),
            shut: AtomicBool::new(false),
            retired: Notify::new(),
            memory: Mutex::default(),
        })
    }

    /// Acquires a lock for whoever awaits this, if its token is good enough. Dropping the future gives the acquisition up,
    /// whatever became of it. What is not collected in time is given back, `forfeit` called, and the lock acquired anew.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        name: &LockName,
        grip: &Grip,
        want: impl Fn(Ticket) -> Want,
        judge: impl Fn(FencingToken) -> Result<(), Error>,
        forfeit: impl Fn() -> Option<Forfeit>,
    ) -> Result<Turn, Error> {
        if self.home == Home::Own && runtime::is_forked() {
            return Err(Error::store(format!("could not acquire lock {name}"), FORKED));
        }
        self.open_inbox();
        loop {
            let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
            if let Some(turn) = self.compete(name, grip, want(ticket), &judge, forfeit()).await? {
                return Ok(turn);
            }
            tracing::debug!(lock = %name, "an acquisition was not polled for too long and begins anew");
        }
    }

    /// Acquires a lock once; `None` if it was had and is gone again, because this future was not polled in time.
    async fn compete(
        self: &Arc<Self>,
        name: &LockName,
        grip: &Grip,
        want: Want,
        judge: impl Fn(FencingToken) -> Result<(), Error>,
        forfeit: Option<Forfeit>,
    ) -> Result<Option<Turn>, Error> {
        let (ticket, margin, offer) = (want.ticket, want.timing.safety_margin(), Arc::new(Offer::new(forfeit)));
        let (verdict, turn) = oneshot::channel();
        let bid = Bid { verdict, offer: Arc::clone(&offer) };
        let handle = self.send(name, Message::Want(want, bid)).ok_or(Error::ShutDown)?;
        let mut waiting = Waiting { ticket, messages: Some(handle.messages.clone()) };
        let token = turn.await.map_err(|_| deserted(name))?.inspect_err(|_| waiting.messages = None)?;
        judge(token)?;
        let now = self.clock.now();
        // Before it is collected: whoever collects has it, and a guard that was lost at its birth is of no use.
        if handle.standing.borrow().loss(ticket, now).is_some() {
            return Ok(None);
        }
        let Some(collected) = offer.collect(now) else { return Ok(None) };
        waiting.messages = None;
        if collected.urgent {
            let _ = handle.messages.send(Box::new(Message::Event(Event::Tick)));
        }
        let lease = Lease::new(self, name.clone(), token, ticket, margin, handle.standing);
        Ok(Some(Turn::new(ticket, lease, handle.messages, grip.clone())))
    }

    /// Ends everything: waiting acquisitions fail, guards see the end, what is held is released once its guard is gone.
    /// Returns when nothing is left, or after `most`.
    pub(crate) async fn shut_down(&self, most: Duration) {
        self.tell_all_to_end();
        let limit = self.clock.sleep_until(self.clock.now() + most);
        tokio::select! {
            () = self.all_retired() => {}
            () = limit => tracing::warn!("shut down with guards still held or releases unacknowledged; their ttl ends them"),
        }
    }

    async fn all_retired(&self) {
        loop {
            let retired = self.retired.notified();
            if self.keepers().is_empty() {
                return;
            }
            retired.await;
        }
    }

    /// The last handle is gone, so nothing is held by a user any more. A process that ends now must have sent what was
    /// released: its thread waits for that, unless the calls need this very thread.
    fn let_go(self: &Arc<Self>) {
        self.tell_all_to_end();
        if self.home == Home::Own && !self.keepers().is_empty() && runtime::may_block(self.foreign) {
            let engine = Arc::clone(self);
            runtime::block_on(async move { engine.all_retired().await }, LONGEST_GOODBYE);
        }
    }

    /// Marks the end under the mutex that starts keepers: none is started after it, none is forgotten by it.
    fn tell_all_to_end(&self) {
        let keepers = self.keepers();
        self.shut.store(true, Ordering::Release);
        for handle in keepers.values() {
            let _ = handle.messages.send(Box::new(Message::Event(Event::ShutDown)));
        }
    }

    /// Sends a message to a lock's keeper, which is started if there is none; `None` after the end.
    fn send(self: &Arc<Self>, name: &LockName, message: Message) -> Option<Handle> {
        let (handle, new) = self.find(name, message)?;
        // Not under the mutex: a runtime that has ended drops the driver at once, which takes itself off the map.
        if let Some(driver) = new {
            runtime::spawn(self.home, driver.run());
        }
        Some(handle)
    }

    /// Finds a lock's keeper, or makes one that is still to be started, and leaves a message with it.
    fn find(self: &Arc<Self>, name: &LockName, message: Message) -> Option<(Handle, Option<Box<Driver>>)> {
        let mut keepers = self.keepers();
        let running = keepers.get(name).filter(|handle| !handle.messages.is_closed()).cloned();
        let (handle, new) = match running {
            Some(handle) => (handle, None),
            None if self.shut.load(Ordering::Acquire) => return None,
            None => self.make(name),
        };
        // A keeper that retires leaves the map before it closes its channel, under the same mutex: this cannot fail.
        let _ = handle.messages.send(Box::new(message));
        if new.is_some() {
            keepers.insert(name.clone(), handle.clone());
        }
        Some((handle, new))
    }

    fn make(self: &Arc<Self>, name: &LockName) -> (Handle, Option<Box<Driver>>) {
        let (messages, inbox) = mpsc::unbounded_channel();
        let (publish, standing) = watch::channel(Standing::default());
        let driver = Driver::new(Arc::clone(self), name.clone(), self.keeper(name), inbox, publish);
        (Handle { messages, standing }, Some(Box::new(driver)))
    }

    /// Takes a keeper off the map, unless somebody has just written to it.
    fn retire(&self, name: &LockName, inbox: &mpsc::UnboundedReceiver<Box<Message>>) -> bool {
        let mut keepers = self.keepers();
        let retires = inbox.is_empty();
        if retires {
            keepers.remove(name);
            self.retired.notify_waiters();
        }
        retires
    }

    /// Takes a keeper off the map whose task was dropped: what it held is a stray to the next one.
    fn forget(&self, name: &LockName) {
        let mut keepers = self.keepers();
        if keepers.get(name).is_some_and(|handle| handle.messages.is_closed()) {
            keepers.remove(name);
            self.retired.notify_waiters();
        }
    }

    /// Tells a keeper what the inbox saw. A lock that nobody here knows, held by this very engine, is a stray (a write
    /// that was given up and landed late): a new keeper gives it back. After the end there are no strays: what is left of
    /// this engine its ttl ends.
    fn deliver(self: &Arc<Self>, name: &LockName, snapshot: Snapshot) {
        let known = self.keepers().contains_key(name);
        if known || snapshot.record.engine == self.id {
            self.send(name, Message::Event(Event::Seen(snapshot)));
        }
    }

    /// Tells a keeper, if there is one.
    fn tell(&self, name: &LockName, event: Event) {
        if let Some(handle) = self.keepers().get(name) {
            let _ = handle.messages.send(Box::new(Message::Event(event)));
        }
    }

    fn names(&self) -> Vec<LockName> {
        self.keepers().keys().cloned().collect()
    }

    fn open_inbox(self: &Arc<Self>) {
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        if inbox.as_ref().is_none_or(JoinHandle::is_finished) {
            *inbox = Some(runtime::spawn(self.home, inbox::run(Arc::downgrade(self))));
        }
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

const FORKED: &str = "this process was forked from one that used msync, and a fork copies no threads: fork before first \
                      use, or make the child another program (exec)";

/// The keeper's task was dropped with the runtime that it ran on.
fn deserted(name: &LockName) -> Error {
    Error::store(format!("could not acquire lock {name}"), "the runtime that kept it has ended")
}

/// An acquisition that is awaited; given up when dropped.
struct Waiting {
    ticket: Ticket,
    messages: Option<Messages>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(messages) = &self.messages {
            let _ = messages.send(Box::new(Message::Event(Event::Cancel(self.ticket))));
        }
    }
}
