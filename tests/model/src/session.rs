//! The one session of a plan: kept by the first engine, looked at by the others. No rule of the protocol lives here.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use msync::{
    LossReason, Timing,
    clock::{Moment, Now},
    unstable::{
        protocol::{Ask, Call, Event, Foreign, Glance, Keeper, Own, Patience, Rest, Shelter, Ticket, Verdict, Want},
        record::{Change, EngineId, Term},
        store::Snapshot,
    },
};

use crate::Promise;

/// The session.
pub(crate) const SESSION: Term = Term(1);

/// The acquisition that a session is held under.
const TICKET: Ticket = Ticket(1 << 40);

/// How long a call about a session of another may take.
const CALL: Duration = Duration::from_secs(3);

/// What an engine has to do with the session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Side {
    /// What the watch has reported and has not been seen.
    pub sightings: VecDeque<Glance>,
    part: Part,
    wake: Option<Moment>,
    /// When the call in flight counts as unknown.
    limit: Option<Moment>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum Part {
    /// Nothing.
    #[default]
    None,
    /// It is its own.
    Own(Box<Ship>),
    /// It is another one's.
    Other(Box<Witness>),
}

/// A session of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ship {
    engine: EngineId,
    keeper: Keeper,
    own: Own,
    /// The keeper of the lock is told of it when it has the lock by itself: so it moves in.
    hidden: bool,
    known: Vec<Shelter>,
    removed: bool,
}

/// A session of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Witness {
    foreign: Foreign,
    ask: Option<Ask>,
    verdict: Verdict,
}

/// What a step about the session leads to.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// A call to send.
    pub(crate) call: Option<Call>,
    /// What the keeper of the lock is to be told.
    pub(crate) news: Option<Event>,
    /// A watch of the session is opened.
    pub(crate) opens: bool,
    /// What it broke.
    pub(crate) broken: Option<Promise>,
}

// === impl Side ===

impl Side {
    /// Makes that of the engine whose session it is, which is about to be made.
    pub(crate) fn own(engine: EngineId, timing: Timing, hidden: bool) -> Self {
        let own = Own::new(SESSION, timing, TICKET);
        let keeper = Keeper::new(engine.clone());
        let ship = Ship { engine, keeper, own, hidden, known: Vec::new(), removed: false };
        Self { part: Part::Own(Box::new(ship)), ..Self::default() }
    }

    /// Makes that of another engine.
    pub(crate) fn other() -> Self {
        let witness = Witness { foreign: Foreign::new(SESSION, 0), ask: None, verdict: Verdict::Unknown };
        Self { part: Part::Other(Box::new(witness)), ..Self::default() }
    }

    /// Returns that of the engine's next start, which has no session of its own.
    pub(crate) fn anew(&self) -> Self {
        match &self.part {
            Part::None => Self::default(),
            Part::Own(_) | Part::Other(_) => Self::other(),
        }
    }

    /// Begins to make the session, where it is one's own.
    pub(crate) fn launch(&mut self, timing: Timing, now: Now, nonce: u64) -> Wake {
        let want = Want { patience: Patience::Try, session: Some(SESSION), ..Want::new(TICKET, timing) };
        self.sail(Event::Want(want), now, nonce)
    }

    /// Says whether its timer is due.
    pub(crate) fn is_due(&self, now: Moment) -> bool {
        self.wake.is_some_and(|wake| wake <= now)
    }

    /// Says whether its call in flight has taken too long.
    pub(crate) fn is_out_of_time(&self, now: Moment) -> bool {
        self.limit.is_some_and(|limit| limit <= now)
    }

    /// Returns what the keeper of the lock knows of its engine's sessions.
    pub(crate) fn shelters(&self) -> Option<Arc<[Shelter]>> {
        match &self.part {
            Part::Own(ship) => Some(ship.known.clone().into()),
            Part::None | Part::Other(_) => None,
        }
    }

    /// Shows the watch of an engine a transition of the session.
    pub(crate) fn witness(&mut self, before: Option<&Snapshot>, after: Option<&Snapshot>, version: u64) {
        let seen = match &self.part {
            Part::None => return,
            Part::Other(witness) if !witness.ask.is_some_and(|ask| ask.watch) => return,
            Part::Own(_) | Part::Other(_) => after,
        };
        match (seen, before) {
            (Some(after), _) => self.sightings.push_back(Glance::Seen(after.clone())),
            (None, Some(_)) => self.sightings.push_back(Glance::Deleted(version)),
            (None, None) => {}
        }
    }

    /// The watch starts over with a list.
    pub(crate) fn list(&mut self, stored: Option<&Snapshot>) {
        self.sightings.clear();
        let watches = match &self.part {
            Part::None => false,
            Part::Own(ship) => !ship.keeper.is_idle(),
            Part::Other(witness) => witness.ask.is_some_and(|ask| ask.watch),
        };
        if watches {
            self.sightings.push_back(stored.map_or(Glance::Missing, |stored| Glance::Seen(stored.clone())));
        }
    }

    /// Does what follows for the session from a step of the lock's keeper.
    pub(crate) fn follow(&mut self, lock: &Keeper, ask: Option<Ask>, ends: bool, now: Now, nonce: u64) -> Wake {
        match &mut self.part {
            Part::None => Wake::default(),
            Part::Own(ship) => {
                ship.hidden &= lock.hold().is_none();
                self.tend(lock, ends, now, nonce)
            }
            Part::Other(witness) if witness.ask == ask => Wake::default(),
            Part::Other(witness) => {
                let opens = ask.is_some_and(|ask| ask.watch) && !witness.ask.is_some_and(|ask| ask.watch);
                witness.ask = ask;
                if !ask.is_some_and(|ask| ask.watch) {
                    self.sightings.clear();
                }
                Wake { opens, ..self.look(Glance::Tick, now) }
            }
        }
    }

    /// Takes what is seen of the session, or heard of a call about it.
    pub(crate) fn step(&mut self, glance: Glance, lock: &Keeper, ends: bool, now: Now, nonce: u64) -> Wake {
        if matches!(glance, Glance::Reply(_)) {
            self.limit = None;
        }
        match &self.part {
            Part::None => Wake::default(),
            Part::Other(_) => self.look(glance, now),
            Part::Own(_) => {
                let mut wake = self.sail(inboxed(glance), now, nonce);
                let next = self.tend(lock, ends, now, nonce);
                wake.call = wake.call.or(next.call);
                (wake.news, wake.broken) = (next.news, wake.broken.or(next.broken));
                wake
            }
        }
    }

    /// Steps the keeper of the session, whose user takes it at once.
    fn sail(&mut self, event: Event, now: Now, nonce: u64) -> Wake {
        let Part::Own(ship) = &mut self.part else { return Wake::default() };
        let mine = matches!(&event, Event::Seen(seen) if seen.record.engine == ship.engine);
        if ship.keeper.is_idle() && !mine && !matches!(event, Event::Want(_)) {
            return Wake::default();
        }
        let before = ship.keeper.standing();
        let action = ship.keeper.step(event, now, &mut || nonce);
        let renews = matches!(action.call, Some(Call::Apply(Change::Renew { .. })));
        let lost = before.ended.is_some_and(|reason| !matches!(reason, LossReason::Released | LossReason::ShutDown));
        let broken = (renews && lost).then_some(Promise::LostIsFinal);
        self.wake = action.wake;
        if action.call.is_some() {
            self.limit = Some(now.local + action.timeout);
        }
        if ship.keeper.standing().ticket == Some(TICKET) && before.ticket.is_none() {
            self.wake = ship.keeper.step(Event::Collected(TICKET, now.local), now, &mut || nonce).wake;
        }
        if ship.keeper.is_idle() {
            (ship.keeper, self.wake) = (Keeper::new(ship.engine.clone()), None);
        }
        Wake { call: action.call, broken, ..Wake::default() }
    }

    /// Thinks a session of one's own over, as its task does.
    fn tend(&mut self, lock: &Keeper, ends: bool, now: Now, nonce: u64) -> Wake {
        let Part::Own(ship) = &mut self.part else { return Wake::default() };
        let uses = usize::from(lock.needs().any(|session| session == SESSION));
        let standing = ship.keeper.standing();
        if standing.ticket == Some(TICKET) || ship.own.shelter().is_some() {
            ship.own.stands(&standing, now.local);
        }
        let rest = if ship.removed { Rest::Remove } else { ship.own.rest(uses, ends, now.local) };
        let known: Vec<Shelter> = ship.own.shelter().filter(|_| !ship.hidden).into_iter().collect();
        let news = std::mem::replace(&mut ship.known, known) != ship.known;
        let mut wake = match rest {
            Rest::Remove if !std::mem::replace(&mut ship.removed, true) => {
                self.sail(Event::Release(TICKET, None), now, nonce)
            }
            Rest::Stay(until) if uses == 0 => {
                self.wake = self.wake.into_iter().chain([until]).min();
                Wake::default()
            }
            Rest::Remove | Rest::Stay(_) => Wake::default(),
        };
        wake.news = news.then_some(Event::Tick);
        wake
    }

    /// Steps the judgement of another one's session.
    fn look(&mut self, glance: Glance, now: Now) -> Wake {
        let Part::Other(witness) = &mut self.part else { return Wake::default() };
        let watched = witness.ask.is_some_and(|ask| ask.watch);
        witness.foreign.serve(witness.ask.is_some(), watched);
        let step = witness.foreign.step(glance, now);
        self.wake = step.wake;
        if step.call.is_some() {
            self.limit = Some(now.local + CALL);
        }
        let news = std::mem::replace(&mut witness.verdict, step.verdict) != step.verdict;
        let asked = news && witness.ask.is_some();
        Wake { call: step.call, news: asked.then_some(Event::Judged(SESSION, step.verdict)), ..Wake::default() }
    }
}

/// What the inbox makes of a sight of one's own session.
fn inboxed(glance: Glance) -> Event {
    match glance {
        Glance::Seen(snapshot) => Event::Seen(snapshot),
        Glance::Deleted(version) => Event::Disowned(version),
        Glance::Missing => Event::Unlisted,
        Glance::Reply(outcome) => Event::Reply(outcome),
        Glance::Tick => Event::Tick,
    }
}
