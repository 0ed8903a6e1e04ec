//! The driver of one lock: a task that feeds the keeper events, awaits the calls it asks for, and publishes where it
//! stands. No rule lives here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    future::{BoxFuture, OptionFuture},
    stream::BoxStream,
};
use tokio::sync::watch;

use super::{
    Engine,
    berth::Berth,
    call::Terms,
    gate::{Arrival, Purpose},
    lookouts::Listener,
    message::{Acknowledge, Asked, Bid, Letters, Message, Why},
    offer::Offer,
};
use crate::{
    Error, LockName, LossReason,
    clock::Moment,
    protocol::{Action, Call, Event, Keeper, Notice, Outcome, Standing, Story, Ticket, Wait},
    store::{Fault, Sighting},
};

/// A wait that ends before this opens no watch of the lock. Over HTTP/1.1 a watch takes a connection with it: the release
/// would have to make a new one first, which takes ten times as long as the release itself.
pub(super) const SHORT_WAIT: Duration = Duration::from_millis(250);

/// A call in flight: what the keeper is to be told, and the fault behind it, for the words of an error.
type Flight = BoxFuture<'static, (Outcome, Option<Fault>)>;

/// The task of one lock.
pub(super) struct Driver {
    pub(super) engine: Arc<Engine>,
    pub(super) name: LockName,
    pub(super) keeper: Keeper,
    letters: Letters,
    publish: watch::Sender<Standing>,
    flight: OptionFuture<Flight>,
    /// When the call that is to be made next asked for its turn first.
    arrival: Option<Arrival>,
    alarm: Option<(Moment, BoxFuture<'static, ()>)>,
    lookout: Option<BoxStream<'static, Sighting>>,
    pub(super) bids: BTreeMap<Ticket, Bid>,
    /// The acquisition that has the lock and may not have collected it yet.
    offer: Option<(Ticket, Arc<Offer>)>,
    releases: Vec<(Ticket, Acknowledge)>,
    pub(super) last_fault: Option<Fault>,
    pub(super) story: Story<Asked>,
    /// Its last user was elected.
    pub(super) elects: bool,
    /// What it has to do with sessions; nothing, as a rule, where there are none.
    pub(super) berth: Option<Box<Berth>>,
    retired: bool,
}

// === impl Driver ===

impl Driver {
    pub(super) fn new(
        engine: Arc<Engine>,
        name: LockName,
        keeper: Keeper,
        letters: Letters,
        publish: watch::Sender<Standing>,
    ) -> Self {
        Self {
            engine,
            name,
            keeper,
            letters,
            publish,
            flight: None.into(),
            arrival: None,
            alarm: None,
            lookout: None,
            bids: BTreeMap::new(),
            offer: None,
            releases: Vec::new(),
            last_fault: None,
            story: Story::default(),
            elects: false,
            berth: None,
            retired: false,
        }
    }

    /// Runs until the keeper has nothing more to do. Boxed: a task has room for its argument and for what it became.
    pub(super) async fn run(mut self: Box<Self>) {
        loop {
            let Some(event) = self.next_event().await else { return };
            self.step(event);
            if self.keeper.is_idle() {
                self.engine.remember(&self.name, self.keeper.view());
                self.retired = self.engine.retire(&self.name, &mut self.letters);
            }
            if self.retired {
                return;
            }
        }
    }

    /// Tells guards that nobody renews any more: the runtime has ended, or the driver has panicked.
    fn desert(&mut self) {
        let lost = |ended: Option<LossReason>| ended.filter(|reason| !reason.is_orderly());
        let before = self.publish.borrow().ended;
        self.publish.send_modify(|standing| standing.ended = lost(standing.ended).or(Some(LossReason::RuntimeEnded)));
        if self.story.holding().is_some() {
            let standing = *self.publish.borrow();
            self.tell_standing(before, &standing);
        }
    }

    async fn next_event(&mut self) -> Option<Event> {
        loop {
            let alarm: OptionFuture<_> = self.alarm.as_mut().map(|(_, sleep)| sleep).into();
            let sighting: OptionFuture<_> = self.lookout.as_mut().map(StreamExt::next).into();
            tokio::select! {
                biased;
                Some((outcome, fault)) = &mut self.flight => return Some(self.land(outcome, fault)),
                Some(()) = alarm => {
                    self.alarm = None;
                    return Some(Event::Tick);
                }
                Some(Some(sighting)) = sighting => if let Some(event) = seen(sighting) { return Some(event) },
                message = self.letters.next() => match message {
                    Some(message) => if let Some(event) = self.admit(*message) { return Some(event) },
                    None => return None,
                },
            }
        }
    }

    /// Takes a bid out. A map that was emptied keeps a node for eleven of them, and there may be thousands of drivers.
    fn take_bid(&mut self, ticket: Ticket) -> Option<Bid> {
        let bid = self.bids.remove(&ticket);
        if self.bids.is_empty() {
            self.bids = BTreeMap::new();
        }
        bid
    }

    fn admit(&mut self, message: Message) -> Option<Event> {
        match message {
            Message::Event(event) => {
                if let Event::Cancel(ticket) = event {
                    self.forget(ticket);
                }
                Some(event)
            }
            Message::Want(want, bid) => {
                self.tell_want(&want, &bid.asked);
                self.bids.insert(want.ticket, bid);
                Some(Event::Want(want))
            }
            Message::Release(ticket, successor, acknowledge) => {
                self.releases.extend(acknowledge.map(|acknowledge| (ticket, acknowledge)));
                Some(Event::Release(ticket, successor))
            }
            Message::Show(asker) => {
                let _ = asker.send(self.keeper.view().snapshot().cloned());
                None
            }
            Message::Why(since, asker) => {
                let held = self.keeper.has_seen_holder(since);
                let _ = asker.send(if held { Why::Held } else { Why::Unseen(self.last_fault.clone()) });
                None
            }
        }
    }

    fn land(&mut self, outcome: Outcome, fault: Option<Fault>) -> Event {
        self.flight = None.into();
        if outcome != Outcome::Unsent {
            self.arrival = None;
        }
        if let Some(fault) = fault {
            tracing::trace!(lock = %self.name, ?fault, "a call did not succeed");
            // A refusal is part of every race; it says something only after many.
            if self.keeper.failures() > 0 || !matches!(fault, Fault::Refused(_)) {
                self.last_fault = Some(fault);
            }
        } else if !matches!(outcome, Outcome::Read(_)) {
            self.last_fault = None; // a read says nothing about writes
        }
        Event::Reply(outcome)
    }

    fn step(&mut self, event: Event) {
        let now = self.engine.clock.read();
        let random = Arc::clone(&self.engine.random);
        self.keeper.expect_a_crowd(self.engine.attempts.are_vain());
        let mut events = VecDeque::from([event]);
        if let Some(collected) = self.collected() {
            events.push_front(collected);
        }
        while let Some(event) = events.pop_front() {
            self.tell_event(&event, now.local);
            let action = self.step_keeper(event, now, &mut || random());
            self.tell_action(&action, now.local);
            self.publish();
            self.look_out(action.watch);
            if self.keeper.waits_behind() {
                self.engine.open_next();
            }
            self.set_alarm(action.wake);
            self.ask(action.ask);
            let tell = action.tell;
            events.extend(self.act(action));
            if tell && self.offer.as_ref().is_some_and(|(_, offer)| !offer.urge()) {
                events.extend(self.collected());
            }
        }
    }

    /// Returns the news that the lock was collected, once.
    fn collected(&mut self) -> Option<Event> {
        let (ticket, since) = self.offer.as_ref().and_then(|(ticket, offer)| Some((*ticket, offer.collected()?)))?;
        self.offer = None;
        Some(Event::Collected(ticket, since))
    }

    /// Takes the lock back from whoever has not collected it, unless it just has.
    fn recall(&mut self, ticket: Ticket) -> Event {
        let collected = self.collected();
        match &self.offer {
            Some((_, offer)) if !offer.withdraw(self.engine.clock.now()) => {
                self.collected().unwrap_or(Event::Cancel(ticket))
            }
            _ => collected.unwrap_or(Event::Cancel(ticket)),
        }
    }

    /// Drops what is left of an acquisition that was given up.
    fn forget(&mut self, ticket: Ticket) {
        if let Some(bid) = self.take_bid(ticket) {
            self.tell_waited(&bid.asked, Wait::GivenUp, self.engine.clock.now());
        }
        self.offer.take_if(|(offered, _)| *offered == ticket);
    }

    /// Publishes where the keeper stands, before anybody is told that it has the lock.
    fn publish(&mut self) {
        let (standing, mut before) = (self.keeper.standing(), None);
        self.publish.send_if_modified(|old| {
            let changes = *old != standing;
            before = old.ended;
            *old = standing;
            changes
        });
        self.tell_standing(before, &standing);
    }

    /// Keeps the lock itself in sight while its keeper waits near the head of the queue, except for a short wait.
    fn look_out(&mut self, wanted: bool) {
        if self.keeper.waiting() == 0 || self.keeper.hold().is_some() {
            self.lookout = None;
        } else if wanted && self.lookout.is_none() {
            self.lookout = Some(Listener::later(&self.engine, self.name.clone(), SHORT_WAIT).stream());
        }
    }

    fn set_alarm(&mut self, wake: Option<Moment>) {
        if self.alarm.as_ref().map(|(at, _)| *at) != wake {
            self.alarm = wake.map(|at| (at, self.engine.clock.sleep_until(at)));
        }
    }

    /// Sends the call and the notices; returns what is to be said of who does not listen.
    fn act(&mut self, action: Action) -> Vec<Event> {
        if let Some(timing) = action.opens {
            self.engine.open_session(timing);
        }
        if let Some(call) = action.call {
            self.flight = Some(self.send(call, action.turn, action.timeout)).into();
        }
        action.notices.iter().filter_map(|notice| self.notify(notice)).collect()
    }

    fn send(&mut self, call: Call, turn: Duration, timeout: Duration) -> Flight {
        let (engine, name) = (Arc::clone(&self.engine), self.name.clone());
        let arrival = *self.arrival.get_or_insert_with(|| engine.arrive());
        let guesses = self.keeper.guesses();
        let mut terms = Terms { turn, guesses, ..Terms::of(&call, self.keeper.urgency(), arrival, timeout) };
        if name.is_session() {
            terms.purpose = Purpose::Keep(Moment::default());
        }
        Box::pin(async move { engine.call(&name, &call, terms).await })
    }

    /// Tells one acquisition; returns what is to be said of it if it has the lock and nobody listens.
    fn notify(&mut self, notice: &Notice) -> Option<Event> {
        let (ticket, verdict) = match *notice {
            Notice::Recall(ticket) => return Some(self.recall(ticket)),
            Notice::Released(ticket) => {
                self.acknowledge(ticket, Ok(false));
                return None;
            }
            Notice::HandedOver(ticket) => {
                self.acknowledge(ticket, Ok(true));
                return None;
            }
            Notice::Abandoned(ticket) => {
                self.acknowledge(ticket, Err(self.error("could not release")));
                return None;
            }
            Notice::Acquired(ticket, token) => (ticket, Ok(token)),
            Notice::Busy(ticket) => {
                self.engine.remember(&self.name, self.keeper.view());
                (ticket, Err(Error::Busy { name: self.name.to_string() }))
            }
            Notice::Failed(ticket) => (ticket, Err(self.error("could not acquire"))),
            Notice::ShutDown(ticket) => (ticket, Err(Error::ShutDown)),
        };
        let (acquired, bid) = (verdict.is_ok(), self.take_bid(ticket));
        let offer =
            bid.and_then(|Bid { verdict: listener, offer, .. }| listener.send(verdict).is_ok().then_some(offer));
        if acquired {
            self.offer = offer.map(|offer| (ticket, offer));
        }
        (acquired && self.offer.is_none()).then_some(Event::Cancel(ticket))
    }

    fn acknowledge(&mut self, ticket: Ticket, result: Result<bool, Error>) {
        if let Some(index) = self.releases.iter().position(|(released, _)| *released == ticket) {
            let _ = self.releases.swap_remove(index).1.send(result);
        }
    }

    fn error(&self, tried: &str) -> Error {
        let context = format!("{tried} lock {}", self.name);
        match &self.last_fault {
            Some(fault) => Error::from_fault(context, fault),
            None => Error::store(context, "the store gave no reason"),
        }
    }
}

impl Drop for Driver {
    /// The runtime may end while a client, which may be a static, lives on: its next acquisition starts a new keeper.
    fn drop(&mut self) {
        self.disembark();
        if !self.retired {
            self.desert();
            self.letters.get_mut().close();
            self.engine.forget(&self.name);
        }
    }
}

fn seen(sighting: Sighting) -> Option<Event> {
    match sighting {
        Sighting::Listed(found) => Some(found.into_iter().next().map_or(Event::Missing, |(_, seen)| Event::Seen(seen))),
        Sighting::Changed(_, snapshot) => Some(Event::Seen(snapshot)),
        Sighting::Gone(_, version) => Some(Event::Deleted(version)),
        Sighting::Alive => None,
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{Client, MemoryStore, Timing, clock::TokioClock, protocol::Want, record::EngineId};

    fn driver() -> Driver {
        let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(TokioClock::default()));
        let engine = Engine::new(EngineId::new("me", 1), store, clock, Arc::new(|| 7), false, None, false);
        let (name, (_, letters)) = (LockName::new("x").unwrap(), Message::channel());
        let keeper = engine.keeper(&name);
        Driver::new(engine, name, keeper, letters, watch::channel(Standing::default()).0)
    }

    async fn pass(client: &Client, span: Duration) {
        let clock = Arc::clone(&client.engine().clock);
        clock.sleep_until(clock.now() + span).await;
    }

    /// Before it did, a million acquisitions that were given up behind one holder took 148 MB.
    #[test]
    fn a_driver_forgets_who_gave_up() {
        let mut driver = driver();
        for ticket in 1..1_000 {
            let (verdict, _gone) = oneshot::channel();
            let asked = Asked { since: Moment::default(), election: false, label: None };
            let bid = Bid { verdict, offer: Arc::new(Offer::new(None)), asked };
            for message in [
                Message::Want(Want::new(Ticket(ticket), Timing::default()), bid),
                Message::Event(Event::Cancel(Ticket(ticket))),
            ] {
                driver.admit(message);
            }
        }
        assert!(driver.bids.is_empty() && driver.offer.is_none());
    }

    /// Both that begin anew: the one whose future comes as soon as the lock is taken back, and the one that does not.
    #[tokio::test(start_paused = true)]
    async fn l3_a_future_that_comes_at_once_for_what_is_gone_waits_where_it_was() {
        for (late, is_first) in [(Duration::ZERO, true), (Duration::from_secs(20), false)] {
            let client = Client::builder().memory(&MemoryStore::new()).clock(TokioClock::default()).build();
            let lock = client.lock("x").unwrap();
            let [mut first, mut second, mut third] = [(); 3].map(|()| Box::pin(lock.acquire()));
            for acquiring in [&mut first, &mut second, &mut third] {
                assert!(poll!(acquiring).is_pending());
            }
            let guard = second.await.expect("had when the first has not come for it");
            pass(&client, late).await;
            assert!(poll!(&mut first).is_pending(), "begins anew");
            guard.release().await.expect("released");
            pass(&client, Duration::from_millis(1)).await;
            let had = [poll!(&mut first).is_ready(), poll!(&mut third).is_ready()];
            assert_eq!(had, [is_first, !is_first], "{late:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn l3_whoever_begins_anew_twice_waits_where_it_was_at_first() {
        let client = Client::builder().memory(&MemoryStore::new()).clock(TokioClock::default()).build();
        let lock = client.lock("x").unwrap();
        let [mut first, mut second, mut third, mut fourth] = [(); 4].map(|()| Box::pin(lock.acquire()));
        for acquiring in [&mut first, &mut second, &mut third, &mut fourth] {
            assert!(poll!(acquiring).is_pending());
        }
        for other in [second, third] {
            let guard = other.await.expect("had when the first has not come for it");
            assert!(poll!(&mut first).is_pending(), "begins anew");
            guard.release().await.expect("released");
        }
        pass(&client, Duration::from_millis(1)).await;
        assert!(poll!(&mut first).is_ready() && poll!(&mut fourth).is_pending());
    }

    /// The task of a held lock: its box, and the future around it. Before both were bounded, a lock took 9 KiB.
    #[test]
    fn a_held_lock_needs_little_room() {
        fn future<F>(_: fn(Box<Driver>) -> F) -> usize {
            size_of::<F>()
        }
        let (driver, task) = (size_of::<Driver>(), future(Driver::run));
        assert!(driver <= 1168 && task <= 320, "driver {driver}, task {task}");
    }
}
