//! The sessions of this engine: one for each timing in use, once it pays. What they may do is told in
//! [`protocol::session`](crate::protocol); here that is carried out.
//!
//! A driver steps its keeper under a lock of what is known of sessions, and says what its hold needs before it lets go. So a
//! session that is found unused and closed under the same lock is used by nobody.

mod collect;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use super::{
    Engine, Handle, Message,
    keeper::Driver,
    message::{Asked, Bid},
    offer::Offer,
};
use crate::{
    Error, LockName, Timing,
    clock::{Moment, Now},
    protocol::{Action, Ask, Event, Own, Patience, Rest, Shelter, Ticket, Want, pays},
    record::Term,
    runtime,
};

/// How long no session is opened after the right to do so was missing.
const FORBIDDEN: Duration = Duration::from_secs(600);

/// After so long without news the sessions are told that there are some again.
const QUIET: Duration = Duration::from_secs(10);

/// The sessions of an engine.
pub(super) struct Sessions {
    on: bool,
    /// When the inbox was last heard.
    heard: AtomicU64,
    state: RwLock<State>,
    uses: Mutex<Uses>,
    /// Something is not used any more.
    unused: Notify,
}

#[derive(Default)]
struct State {
    own: Vec<Own>,
    /// What keepers know of them.
    shelters: Option<Arc<[Shelter]>>,
    /// None is opened before this.
    retry: Moment,
    /// It was said that the right is missing.
    warned: bool,
    /// What others have left is looked after.
    collects: bool,
}

/// What holds need.
#[derive(Default)]
struct Uses {
    /// Which locks need a session.
    under: HashMap<Term, BTreeSet<LockName>>,
    /// How many locks of a timing are held.
    held: HashMap<Timing, usize>,
}

// === impl Sessions ===

impl Sessions {
    pub(super) fn new(on: bool) -> Self {
        let state = State { shelters: on.then(|| Arc::from([])), ..State::default() };
        Self { on, heard: AtomicU64::new(0), state: RwLock::new(state), uses: Mutex::default(), unused: Notify::new() }
    }

    /// Every transition is complete before the lock is released.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> Moment {
        Moment::from_nanos(self.heard.load(Ordering::Relaxed))
    }
}

// === impl State ===

impl State {
    /// Tells keepers what is known now. Says whether that is news.
    fn publish(&mut self) -> bool {
        let known: Vec<Shelter> = self.own.iter().filter_map(Own::shelter).collect();
        let news = self.shelters.as_deref() != Some(&known);
        if news {
            self.shelters = Some(known.into());
        }
        news
    }
}

// === impl Uses ===

impl Uses {
    fn of(&self, session: Term) -> usize {
        self.under.get(&session).map_or(0, BTreeSet::len)
    }

    fn leave(&mut self, session: Term, name: &LockName) {
        if let Some(names) = self.under.get_mut(&session) {
            names.remove(name);
            if names.is_empty() {
                self.under.remove(&session);
            }
        }
    }

    fn count(&mut self, from: Option<Timing>, to: Option<Timing>) {
        if let Some(held) = from.and_then(|timing| self.held.get_mut(&timing)) {
            *held -= 1;
        }
        if let Some(timing) = to {
            *self.held.entry(timing).or_default() += 1;
        }
        self.held.retain(|_, held| *held > 0);
    }
}

// === impl Driver: sessions ===

impl Driver {
    /// Steps the keeper, by what is known of this engine's sessions, and says what its hold needs of them.
    pub(super) fn step_keeper(&mut self, event: Event, now: Now, random: &mut dyn FnMut() -> u64) -> Action {
        let engine = Arc::clone(&self.engine);
        if self.name.is_session() {
            self.keeper.has_heard(engine.sessions.heard());
            return self.keeper.step(event, now, random);
        }
        if !engine.sessions.on {
            return self.keeper.step(event, now, random);
        }
        let known = engine.sessions.read();
        self.keeper.know_sessions(known.shelters.clone());
        let action = self.keeper.step(event, now, random);
        self.embark(&engine.sessions);
        drop(known);
        action
    }

    fn embark(&mut self, sessions: &Sessions) {
        let hold = self.keeper.hold().filter(|hold| hold.instant);
        let timing = hold.map(|hold| hold.timing);
        let mut needs: Vec<Term> = self.keeper.needs().collect();
        needs.sort_unstable();
        needs.dedup();
        let same = match &self.berth {
            Some(berth) => berth.timing == timing && berth.needs == needs,
            None => timing.is_none() && needs.is_empty(),
        };
        if same {
            return;
        }
        let berth = self.berth.get_or_insert_default();
        let mut uses = sessions.uses();
        uses.count(std::mem::replace(&mut berth.timing, timing), timing);
        for session in berth.needs.iter().filter(|session| !needs.contains(session)) {
            uses.leave(*session, &self.name);
            sessions.unused.notify_waiters();
        }
        for session in needs.iter().filter(|session| !berth.needs.contains(session)) {
            uses.under.entry(*session).or_default().insert(self.name.clone());
        }
        berth.needs = needs;
    }

    /// Asks what there is to know of a foreign session, or asks no more.
    pub(super) fn ask(&mut self, ask: Option<Ask>) {
        let asked = self.berth.as_ref().and_then(|berth| berth.asked);
        if asked == ask {
            return;
        }
        let leaves = asked.filter(|old| ask.is_none_or(|new| new.session != old.session));
        if let Some(old) = leaves {
            self.engine.witnesses.leave(old.session, &self.name);
        }
        if let Some(new) = ask {
            self.engine.witness(new, &self.name);
        }
        self.berth.get_or_insert_default().asked = ask;
    }

    /// Needs nothing any more.
    pub(super) fn disembark(&mut self) {
        let Some(berth) = self.berth.take() else { return };
        if let Some(ask) = berth.asked {
            self.engine.witnesses.leave(ask.session, &self.name);
        }
        let sessions = &self.engine.sessions;
        let mut uses = sessions.uses();
        uses.count(berth.timing, None);
        berth.needs.iter().for_each(|session| uses.leave(*session, &self.name));
        sessions.unused.notify_waiters();
    }
}

// === impl Engine: sessions ===

impl Engine {
    /// Notes that the inbox was heard. A session that was not renewed for want of that may be now.
    pub(super) fn hear(&self) {
        let now = self.clock.now();
        let before = Moment::from_nanos(self.sessions.heard.swap(now.as_nanos(), Ordering::Relaxed));
        if self.sessions.on && now.since(before) > QUIET {
            let names: Vec<_> = self.sessions.read().own.iter().map(|own| LockName::session(own.term())).collect();
            for name in &names {
                self.tell(name, Event::Tick);
            }
        }
    }

    /// Opens a session for locks of a timing, if that pays and there is none.
    pub(super) fn open_session(self: &Arc<Self>, timing: Timing) {
        let (now, heard) = (self.clock.now(), self.sessions.heard());
        let held = self.sessions.uses().held.get(&timing).copied().unwrap_or_default();
        if !self.sessions.on || self.is_shut_down() || !pays(held, heard, timing.ttl(), now) {
            return;
        }
        let (term, ticket) = (Term::random((self.random)()), Ticket(self.tickets.fetch_add(1, Ordering::Relaxed)));
        let mut state = self.sessions.write();
        if now < state.retry || state.own.iter().any(|own| own.serves(&timing)) {
            return;
        }
        state.own.push(Own::new(term, timing, ticket));
        state.publish();
        let collects = std::mem::replace(&mut state.collects, true);
        drop(state);
        runtime::spawn(self.home, Arc::clone(self).live(term, timing, ticket));
        if !collects {
            runtime::spawn(self.home, Arc::clone(self).collect_sessions());
        }
    }

    /// The life of one session, from its first write to its removal.
    async fn live(self: Arc<Self>, term: Term, timing: Timing, ticket: Ticket) {
        let name = LockName::session(term);
        match self.begin(&name, term, timing, ticket).await {
            Ok(handle) => self.tend(term, handle).await,
            Err(error) => self.give_up_session(&error, timing),
        }
        let mut state = self.sessions.write();
        state.own.retain(|own| own.term() != term);
        state.publish();
    }

    async fn begin(
        self: &Arc<Self>,
        name: &LockName,
        term: Term,
        timing: Timing,
        ticket: Ticket,
    ) -> Result<Handle, Error> {
        let want = Want { patience: Patience::Try, session: Some(term), ..Want::new(ticket, timing) };
        let asked = Asked { since: self.clock.now(), election: false, label: None };
        let (offer, (verdict, told)) = (Arc::new(Offer::new(None)), oneshot::channel());
        let bid = Bid { verdict, offer: Arc::clone(&offer), asked };
        let handle = self.send(name, Message::Want(want, bid)).ok_or(Error::ShutDown)?;
        let deserted = || Error::store(format!("could not open {name}"), "the runtime that kept it has ended");
        told.await.map_err(|_| deserted())??;
        offer.collect(self.clock.now()).ok_or_else(deserted)?;
        // It is told with the next event.
        let _ = handle.messages.unbounded_send(Box::new(Message::Event(Event::Tick)));
        Ok(handle)
    }

    /// Tells keepers how their session stands, until it is gone and nothing needs it.
    async fn tend(self: &Arc<Self>, term: Term, mut handle: Handle) {
        let (mut ends, mut ended) = (false, std::pin::pin!(self.ended()));
        let mut deserted = false;
        loop {
            let unused = self.sessions.unused.notified();
            let (rest, news, ticket) = self.think_over(term, &mut handle, ends);
            if news {
                self.poke(term);
            }
            let Rest::Stay(until) = rest else {
                let _ = handle.messages.unbounded_send(Box::new(Message::Release(ticket, None, None)));
                return;
            };
            tokio::select! {
                changed = handle.standing.changed(), if !deserted => deserted = changed.is_err(),
                () = unused => {}
                () = &mut ended, if !ends => ends = true,
                () = self.clock.sleep_until(until) => {}
            }
        }
    }

    fn think_over(&self, term: Term, handle: &mut Handle, ends: bool) -> (Rest, bool, Ticket) {
        let (now, standing) = (self.clock.now(), *handle.standing.borrow_and_update());
        let mut state = self.sessions.write();
        let uses = self.sessions.uses().of(term);
        let own = state.own.iter_mut().find(|own| own.term() == term).expect("it lives as long as this task");
        own.stands(&standing, now);
        let (rest, ticket) = (own.rest(uses, ends, now), own.ticket());
        (rest, state.publish(), ticket)
    }

    /// Lets the keepers of the locks under a session look at it.
    fn poke(&self, session: Term) {
        let names = self.sessions.uses().under.get(&session).cloned().unwrap_or_default();
        for name in &names {
            self.tell(name, Event::Tick);
        }
    }

    fn give_up_session(&self, error: &Error, timing: Timing) {
        let mut state = self.sessions.write();
        let forbidden = matches!(error, Error::Forbidden(_));
        state.retry = self.clock.now() + if forbidden { FORBIDDEN } else { timing.ttl() };
        if forbidden && !std::mem::replace(&mut state.warned, true) {
            tracing::warn!(
                %error,
                "no session can be opened, so each lock is renewed by itself; allow to create, patch and delete \
                 objects named session.*, or turn sessions off"
            );
        } else {
            tracing::debug!(%error, "no session was opened");
        }
    }
}

#[cfg(test)]
mod tests;
