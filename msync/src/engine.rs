//! The engine: one per client. Finds or starts the keeper of a lock, and feeds keepers what the inbox watch sees.
//!
//! It decides nothing about locks: rules live in `protocol.rs`.

mod berth;
mod call;
mod fork;
mod gate;
mod grip;
mod inbox;
mod keeper;
mod lookouts;
mod message;
mod obstacle;
mod offer;
mod recall;
mod sessions;
mod task;
mod telling;
mod turn;
mod witness;

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use call::Attempts;
use gate::Gate;
pub(crate) use grip::Grip;
use keeper::Driver;
pub(crate) use lookouts::Listener;
use lookouts::Lookouts;
use message::{Asked, Bid, Letters, Messages};
pub(crate) use message::{Message, Why};
use obstacle::Fitness;
pub(crate) use offer::Forfeit;
use offer::Offer;
use recall::Recall;
use sessions::Sessions;
use task::{Hand, Task};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
pub(crate) use turn::Turn;
use witness::Witnesses;

use crate::{
    Error, FencingToken, Lease, LockName,
    clock::{Clock, Home, Random},
    health::{Pulse, Unhealthy, overdue},
    held::lease::Bounds,
    listener::{Ears, Label},
    protocol::{Again, Event, Standing, Ticket, Want},
    record::EngineId,
    runtime,
    store::{Snapshot, Store},
};

/// How long the end of the last handle waits for releases at the most: a program that cannot reach its store must end.
const LONGEST_GOODBYE: Duration = Duration::from_secs(2);

/// How long a shutdown waits for Events and listeners, when no lock is held any more.
const LONGEST_WORDS: Duration = Duration::from_secs(1);

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
    /// Who is told what happens, if anybody is.
    ears: Option<Ears>,
    pulse: Arc<Pulse>,
    gate: Gate,
    attempts: Attempts,
    lookouts: Arc<Lookouts>,
    /// In order, so that whoever tells them all does so in the same order each time: an episode of the simulation can be repeated.
    keepers: Mutex<BTreeMap<LockName, Handle>>,
    inbox: Mutex<Option<JoinHandle<()>>>,
    /// What the inbox has found out about the resource.
    fitness: Arc<watch::Sender<Fitness>>,
    /// The watch that tells in which queues this engine has come to the front; for who waits further behind.
    next: Mutex<Option<JoinHandle<()>>>,
    tickets: AtomicU64,
    shut: CancellationToken,
    retired: Notify,
    recall: Mutex<Recall>,
    /// Its own sessions.
    sessions: Sessions,
    /// Those of others.
    witnesses: Witnesses,
}

/// How to reach a running keeper.
#[derive(Clone)]
struct Handle {
    messages: Messages,
    standing: watch::Receiver<Standing>,
    /// How many acquisitions are awaited.
    awaited: Arc<AtomicUsize>,
    /// Its task, where that is on a thread of its own.
    task: Option<Arc<Task>>,
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
        ears: Option<Ears>,
        sessions: bool,
    ) -> Arc<Self> {
        let home = clock.home();
        let (gate, lookouts) = (Gate::new(Arc::clone(&random)), Lookouts::new(&store, &clock, &random));
        Arc::new(Self {
            id,
            store,
            clock,
            random,
            home,
            foreign,
            ears,
            pulse: Arc::default(),
            gate,
            attempts: Attempts::default(),
            lookouts,
            keepers: Mutex::default(),
            inbox: Mutex::default(),
            fitness: Arc::new(watch::Sender::new(Fitness::Unknown)),
            next: Mutex::default(),
            tickets: AtomicU64::new(1),
            shut: CancellationToken::new(),
            retired: Notify::new(),
            recall: Mutex::default(),
            sessions: Sessions::new(sessions),
            witnesses: Witnesses::default(),
        })
    }

    /// Acquires a lock for whoever awaits this, if its token is good enough. Dropping the future gives the acquisition up,
    /// whatever became of it. What is not collected in time is given back, `forfeit` called, and the lock acquired anew.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        name: &LockName,
        grip: &Grip,
        label: Option<&Label>,
        want: impl Fn(Ticket) -> Want,
        judge: impl Fn(FencingToken) -> Result<(), Error>,
        forfeit: impl Fn() -> Option<Forfeit>,
    ) -> Result<Turn, Error> {
        if self.is_forked() {
            return Err(Error::store(format!("could not acquire lock {name}"), runtime::FORKED));
        }
        self.open_inbox();
        if let Fitness::Unfit(why) = &*self.fitness.borrow() {
            return Err(Error::CrdMissing(why.clone()));
        }
        let mut again = None;
        loop {
            let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
            let want = Want { again, ..want(ticket) };
            let place = want.place();
            match self.compete(name, grip, label, want, &judge, forfeit()).await? {
                ControlFlow::Break(turn) => return Ok(turn),
                ControlFlow::Continue(unpolled) => again = Some(Again { place, unpolled }),
            }
            tracing::debug!(lock = %name, "what was acquired was gone before it was taken; the acquisition begins anew");
        }
    }

    /// Acquires a lock once. Goes on if it was had and is gone again before this future was polled, and says how long it was
    /// not polled after that.
    async fn compete(
        self: &Arc<Self>,
        name: &LockName,
        grip: &Grip,
        label: Option<&Label>,
        want: Want,
        judge: impl Fn(FencingToken) -> Result<(), Error>,
        forfeit: Option<Forfeit>,
    ) -> Result<ControlFlow<Turn, Duration>, Error> {
        let (ticket, margin, offer) = (want.ticket, want.timing.safety_margin(), Arc::new(Offer::new(forfeit)));
        let since = self.clock.now();
        let (patience, max_hold) = (since + want.timing.attempt_timeout(), want.max_hold);
        let asked = Asked { since, election: !want.instant, label: self.ears.as_ref().and(label).map(Label::text) };
        let (verdict, turn) = oneshot::channel();
        let bid = Bid { verdict, offer: Arc::clone(&offer), asked };
        let handle = self.send(name, Message::Want(want, bid)).ok_or(Error::ShutDown)?;
        let mut waiting = Waiting::new(ticket, &handle);
        let token: FencingToken = tokio::select! {
            biased;
            verdict = turn => verdict.map_err(|_| deserted(name))??,
            why = self.unfit() => return Err(Error::CrdMissing(why)),
        };
        judge(token)?;
        self.examine(patience).await?;
        let now = self.clock.now();
        // Before it is collected: whoever collects has it, and a guard that was lost at its birth is of no use.
        let lost = handle.standing.borrow().loss(ticket, now).is_some();
        let Some(collected) = (if lost { None } else { offer.collect(now) }) else {
            return Ok(ControlFlow::Continue(offer.withdrawn().map_or(Duration::ZERO, |at| now.since(at))));
        };
        waiting.messages = None;
        // The driver is to stop renewing at that end; the guard sees to it for itself.
        if collected.urgent || max_hold.is_some() {
            let _ = handle.messages.unbounded_send(Box::new(Message::Event(Event::Tick)));
        }
        let ends = max_hold.map(|most| now + most);
        let lease = Lease::new(
            self.id.clone(),
            name.clone(),
            token,
            ticket,
            Bounds { margin, ends, waited: now.since(since) },
            Arc::clone(&self.clock),
            handle.standing,
        );
        Ok(ControlFlow::Break(Turn::new(ticket, lease, handle.messages, handle.task, grip.clone())))
    }

    /// Ends everything: waiting acquisitions fail, guards see the end, what is held is released once its guard is gone.
    /// Returns when nothing is left, or after `most`.
    pub(crate) async fn shut_down(&self, most: Duration) {
        self.tell_all_to_end();
        if self.is_forked() {
            return; // nothing here is this process's to end, and no timer runs
        }
        let limit = self.clock.sleep_until(self.clock.now() + most);
        tokio::select! {
            () = self.all_retired() => {}
            () = limit => tracing::warn!("shut down with guards still held or releases unacknowledged; their ttl ends them"),
        }
        self.heard(LONGEST_WORDS).await;
    }

    /// Waits until listeners have heard of all that has happened, and what they write down is written, for so long at most.
    async fn heard(&self, most: Duration) {
        if let Some(ears) = &self.ears {
            tokio::select! {
                () = ears.heard() => {}
                () = self.clock.sleep_until(self.clock.now() + most) => {}
            }
        }
    }

    /// Judges whether leaderships are given up in time, and whether what keeps locks alive answers.
    pub(crate) fn health(&self, tolerance: Duration) -> Result<(), Unhealthy> {
        let now = self.clock.now();
        if self.pulse.feel(now)? {
            let pulse = Arc::clone(&self.pulse);
            runtime::spawn(self.home, async move { pulse.answered() });
        }
        let late = |(name, handle): (&LockName, &Handle)| {
            let standing = *handle.standing.borrow();
            let leads = standing.election && standing.ticket.is_some();
            leads.then(|| overdue(name, standing.until, tolerance, now)).flatten()
        };
        self.keepers().iter().find_map(late).map_or(Ok(()), Err)
    }

    /// Says whether the end has begun.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.shut.is_cancelled()
    }

    /// Completes when the end begins.
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.shut.clone().cancelled_owned()
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
        self.shut.cancel();
        if self.is_forked() {
            return;
        }
        for handle in keepers.values() {
            let _ = handle.messages.unbounded_send(Box::new(Message::Event(Event::ShutDown)));
        }
    }

    /// Sends a message to a lock's keeper, which is started if there is none; `None` after the end.
    fn send(self: &Arc<Self>, name: &LockName, message: Message) -> Option<Handle> {
        let (handle, new, hand) = self.find(name, message)?;
        // Neither under the mutex: a driver that ends takes itself off the map, and a runtime that has ended drops it at once.
        drop(hand);
        if let Some(driver) = new {
            runtime::spawn(self.home, driver.run());
        }
        Some(handle)
    }

    /// Finds a lock's keeper, or makes one that is still to be started, and leaves a message with it.
    fn find(
        self: &Arc<Self>,
        name: &LockName,
        message: Message,
    ) -> Option<(Handle, Option<Box<Driver>>, Option<Hand>)> {
        let mut keepers = self.keepers();
        let running = keepers.get(name).filter(|handle| !handle.messages.is_closed()).cloned();
        let (handle, new) = match running {
            Some(handle) => (handle, None),
            None if self.is_shut_down() => return None,
            None => {
                let (handle, new) = self.make(name);
                keepers.insert(name.clone(), handle.clone());
                (handle, new)
            }
        };
        let hand = handle.task.as_ref().and_then(Task::lend);
        // A keeper that retires leaves the map before it closes its channel, under the same mutex: this cannot fail.
        let _ = handle.messages.unbounded_send(Box::new(message));
        Some((handle, new, hand))
    }

    /// Returns what is held by users of this engine, sorted.
    pub(crate) fn held(&self) -> Vec<LockName> {
        let now = self.clock.now();
        self.named(|handle| {
            let standing = *handle.standing.borrow();
            standing.ticket.is_some_and(|ticket| standing.loss(ticket, now).is_none())
        })
    }

    /// Returns what is waited for, sorted.
    pub(crate) fn awaited(&self) -> Vec<LockName> {
        self.named(|handle| handle.awaited.load(Ordering::Relaxed) > 0)
    }

    fn named(&self, wanted: impl Fn(&Handle) -> bool) -> Vec<LockName> {
        let keepers = self.keepers();
        let named = keepers.iter().filter(|(name, handle)| !name.is_session() && wanted(handle));
        named.map(|(name, _)| name.clone()).collect()
    }

    fn make(self: &Arc<Self>, name: &LockName) -> (Handle, Option<Box<Driver>>) {
        let (messages, letters) = Message::channel();
        let (publish, standing) = watch::channel(Standing::default());
        let driver = Box::new(Driver::new(Arc::clone(self), name.clone(), self.keeper(name), letters, publish));
        let (task, new) = match self.home {
            Home::Own => (Some(Task::new(Box::pin(driver.run()))), None),
            Home::Caller => (None, Some(driver)),
        };
        (Handle { messages, standing, awaited: Arc::default(), task }, new)
    }

    /// Takes a keeper off the map, unless somebody has just written to it.
    fn retire(&self, name: &LockName, letters: &mut Letters) -> bool {
        let mut keepers = self.keepers();
        let retires = message::are_read(letters);
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
        let stray = || snapshot.record.engine == self.id && self.is_news(name, snapshot.version.number);
        if known || stray() {
            self.send(name, Message::Event(Event::Seen(snapshot)));
        }
    }

    /// Tells a keeper, if there is one.
    fn tell(&self, name: &LockName, event: Event) {
        if let Some(handle) = self.keepers().get(name) {
            let _ = handle.messages.unbounded_send(Box::new(Message::Event(event)));
        }
    }

    fn names(&self) -> Vec<LockName> {
        self.keepers().keys().cloned().collect()
    }

    fn open_inbox(self: &Arc<Self>) {
        self.open(&self.inbox, || inbox::run(Arc::downgrade(self)));
    }

    fn open_next(self: &Arc<Self>) {
        self.open(&self.next, || inbox::run_next(Arc::downgrade(self)));
    }

    /// Starts the task of a watch, unless it runs.
    fn open<F>(&self, watch: &Mutex<Option<JoinHandle<()>>>, task: impl FnOnce() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.as_ref().is_none_or(JoinHandle::is_finished) {
            *watch = Some(runtime::spawn(self.home, task()));
        }
    }

    fn keepers(&self) -> MutexGuard<'_, BTreeMap<LockName, Handle>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for watch in [&mut self.inbox, &mut self.next] {
            if let Some(watch) = watch.get_mut().unwrap_or_else(PoisonError::into_inner) {
                watch.abort();
            }
        }
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("id", &self.id).field("store", &self.store).finish_non_exhaustive()
    }
}

/// The keeper's task was dropped with the runtime that it ran on.
fn deserted(name: &LockName) -> Error {
    Error::store(format!("could not acquire lock {name}"), "the runtime that kept it has ended")
}

/// An acquisition that is awaited; given up when dropped.
struct Waiting {
    ticket: Ticket,
    messages: Option<Messages>,
    awaited: Arc<AtomicUsize>,
}

// === impl Waiting ===

impl Waiting {
    fn new(ticket: Ticket, handle: &Handle) -> Self {
        handle.awaited.fetch_add(1, Ordering::Relaxed);
        Self { ticket, messages: Some(handle.messages.clone()), awaited: Arc::clone(&handle.awaited) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.awaited.fetch_sub(1, Ordering::Relaxed);
        if let Some(messages) = &self.messages {
            let _ = messages.unbounded_send(Box::new(Message::Event(Event::Cancel(self.ticket))));
        }
    }
}
