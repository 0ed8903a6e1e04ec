//! Sessions of a process: opened once they pay, told to its keepers, removed when nothing needs them (design 4.10). What the
//! engine's tasks do is done here; the rules are the protocol's.

use std::{collections::BTreeMap, sync::Arc};

use msync::{
    Timing,
    clock::Moment,
    unstable::{
        protocol::{Action, Event, Keeper, Notice, Own, Patience, Rest, Shelter, Ticket, Want, pays},
        record::Term,
    },
};

use super::{Happening, Object, World, witnesses::Witness};
use crate::{oracle::Spot, plan::MILLI};

/// After so long without news of the inbox sessions are told that there are some again.
const QUIET: u64 = 10_000 * MILLI;
/// How often the inbox is shown that it lives, at least.
const MARK: u64 = 60_000 * MILLI;
/// The tickets of sessions are above all others.
const TICKETS: u64 = 1 << 40;

/// The sessions of a process, and what it knows of those of others.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    own: Vec<Vessel>,
    shelters: Arc<[Shelter]>,
    /// None is opened before this.
    retry: Moment,
    /// When the inbox was last heard.
    pub(crate) heard: Moment,
    /// Since when, in true time, the inbox shows nothing: it has lost something, and has not started over yet.
    pub(crate) deaf_since: Option<u64>,
    /// It is shown now and then that its inbox lives.
    marked: bool,
    /// It has no right to remove the sessions of others.
    pub(super) forbidden: bool,
    pub(super) witnesses: BTreeMap<usize, Witness>,
}

/// A session of a process.
#[derive(Debug)]
struct Vessel {
    what: usize,
    own: Own,
    timing: Timing,
    /// It is had, and its engine knows.
    boarded: bool,
    /// Only the newest timer counts.
    timer: (u64, Moment),
}

// === impl Sessions ===

impl Sessions {
    /// Returns what keepers know of them.
    pub(super) fn shelters(&self) -> Arc<[Shelter]> {
        Arc::clone(&self.shelters)
    }

    /// Says whether there are none any more.
    pub(crate) fn are_gone(&self) -> bool {
        self.own.is_empty()
    }

    /// Tells keepers what is known now. Says whether that is news.
    fn publish(&mut self) -> bool {
        let known: Vec<Shelter> = self.own.iter().filter_map(|vessel| vessel.own.shelter()).collect();
        let news = *self.shelters != *known;
        if news {
            self.shelters = known.into();
        }
        news
    }

    fn find(&mut self, what: usize) -> Option<&mut Vessel> {
        self.own.iter_mut().find(|vessel| vessel.what == what)
    }
}

// === impl World: sessions ===

impl World {
    /// Lets a process that has just started use sessions.
    pub(super) fn equip(&mut self, who: usize) {
        if self.plan.sessions {
            let heard = self.processes[who].clock.local(self.at);
            let forbidden = self.rng.chance(self.plan.forbidden);
            self.processes[who].sessions = Some(Box::new(Sessions { heard, forbidden, ..Sessions::default() }));
        }
    }

    /// Finds the object of a session.
    pub(super) fn session(&self, term: Term) -> Option<usize> {
        self.objects.iter().position(|object| object.session == Some(term))
    }

    /// Lets something happen in a process soon: in another of its tasks.
    pub(super) fn soon(&mut self, happening: Happening) {
        let delay = if self.rng.chance(100) { self.rng.below(2 * MILLI) } else { 0 };
        self.later(delay, happening);
    }

    /// Follows what a step of a keeper has to do with sessions.
    pub(super) fn embark(&mut self, spot: Spot, action: &Action) {
        if !self.plan.sessions {
            return;
        }
        let ((who, what), life) = (spot, self.processes[spot.0].incarnation);
        if !self.is_lock(what) {
            return self.soon(Happening::Tends { who, life, what, timer: None });
        }
        let seat = self.seat(spot);
        let mut needs: Vec<Term> = seat.keeper.iter().flat_map(Keeper::needs).collect();
        needs.sort_unstable();
        needs.dedup();
        let before = std::mem::replace(&mut seat.needs, needs.clone());
        for left in before.into_iter().filter(|session| !needs.contains(session)) {
            if let Some(what) = self.session(left) {
                self.soon(Happening::Tends { who, life, what, timer: None });
            }
        }
        if let Some(timing) = action.opens {
            self.open(who, timing);
        }
        self.ask(spot, action.ask);
    }

    /// Opens a session for locks of a timing, if that pays and there is none.
    fn open(&mut self, who: usize, timing: Timing) {
        let process = &self.processes[who];
        let (now, life) = (process.clock.local(self.at), process.incarnation);
        let Some(sessions) = &process.sessions else { return };
        let holds = process.seats.range(..self.plan.locks).filter_map(|(_, seat)| seat.keeper.as_ref()?.hold());
        let held = holds.filter(|hold| hold.instant && hold.timing == timing).count();
        let has_one = sessions.own.iter().any(|vessel| vessel.own.serves(&timing));
        if process.closing || now < sessions.retry || has_one || !pays(held, sessions.heard, timing.ttl(), now) {
            return;
        }
        let (what, term) = (self.objects.len(), Term::random(self.rng.bits()));
        let ticket = Ticket(TICKETS + what as u64);
        self.objects.push(Object { session: Some(term), ..Object::default() });
        self.oracle.tally.opened += 1;
        self.seat((who, what)).offered = None;
        let Some(sessions) = &mut self.processes[who].sessions else { return };
        let own = Own::new(term, timing, ticket);
        sessions.own.push(Vessel { what, own, timing, boarded: false, timer: (0, Moment::default()) });
        sessions.publish();
        if !std::mem::replace(&mut sessions.marked, true) {
            self.later(MARK / 2, Happening::Marks { who, life });
        }
        let want = Want { patience: Patience::Try, session: Some(term), ..Want::new(ticket, timing) };
        self.soon(Happening::Nudged { who, life, what, event: Event::Want(want) });
    }

    /// Takes what the keeper of a session tells whoever opened it. Returns what it asks back.
    pub(super) fn notify_session(&mut self, spot: Spot, notices: &[Notice]) -> Vec<Ticket> {
        let ((who, what), life) = (spot, self.processes[spot.0].incarnation);
        let mut recalled = Vec::new();
        for notice in notices {
            match *notice {
                Notice::Acquired(ticket, _) => {
                    self.seat(spot).offered = Some(ticket);
                    self.soon(Happening::Boards { who, life, what });
                }
                Notice::Recall(ticket) => recalled.extend(self.seat(spot).offered.take().map(|_| ticket)),
                Notice::Busy(_) | Notice::Failed(_) | Notice::ShutDown(_) => self.give_up_session(spot),
                Notice::Released(_) | Notice::HandedOver(_) | Notice::Abandoned(_) => {}
            }
        }
        if !recalled.is_empty() {
            self.give_up_session(spot);
        }
        recalled
    }

    /// Whoever opened a session takes it.
    pub(super) fn board(&mut self, spot: Spot) {
        let Some(ticket) = self.seat(spot).offered.take() else { return };
        let process = &mut self.processes[spot.0];
        let now = process.clock.local(self.at);
        let vessel = process.sessions.as_mut().and_then(|sessions| sessions.find(spot.1));
        vessel.expect("it is there until it has been taken").boarded = true;
        self.seat(spot).collected = Some((ticket, now));
        self.step(spot, Event::Tick);
    }

    fn give_up_session(&mut self, (who, what): Spot) {
        let process = &mut self.processes[who];
        let now = process.clock.local(self.at);
        let Some(sessions) = &mut process.sessions else { return };
        let Some(index) = sessions.own.iter().position(|vessel| vessel.what == what && !vessel.boarded) else { return };
        sessions.retry = now + sessions.own.remove(index).timing.ttl();
        sessions.publish();
    }

    /// Thinks over a session: tells keepers how it stands, removes it when nothing needs it.
    pub(super) fn tend(&mut self, spot: Spot, timer: Option<u64>) {
        let ((who, what), at) = (spot, self.at);
        let process = &mut self.processes[who];
        let (now, life) = (process.clock.local(at), process.incarnation);
        let standing = process.seats.get(&what).map(|seat| seat.standing).unwrap_or_default();
        let Some(sessions) = &mut process.sessions else { return };
        let Some(vessel) = sessions.find(what).filter(|vessel| vessel.boarded) else { return };
        if timer.is_some_and(|timer| timer != vessel.timer.0) {
            return;
        }
        let (term, ticket) = (vessel.own.term(), vessel.own.ticket());
        let users: Vec<usize> =
            process.seats.iter().filter(|(_, seat)| seat.needs.contains(&term)).map(|(w, _)| *w).collect();
        vessel.own.stands(&standing, now);
        let rest = vessel.own.rest(users.len(), process.closing, now);
        let mut alarm = None;
        if let Rest::Stay(until) = rest
            && vessel.timer.1 != until
        {
            vessel.timer = (vessel.timer.0 + 1, until);
            alarm = Some((vessel.timer.0, process.clock.true_time(until).saturating_sub(at)));
        }
        let news = sessions.publish();
        if rest == Rest::Remove {
            sessions.own.retain(|vessel| vessel.what != what);
            sessions.publish();
        }
        for what in users.into_iter().filter(|_| news) {
            self.soon(Happening::Nudged { who, life, what, event: Event::Tick });
        }
        if let Some((timer, delay)) = alarm {
            self.later(delay, Happening::Tends { who, life, what, timer: Some(timer) });
        }
        if rest == Rest::Remove {
            self.step(spot, Event::Release(ticket, None));
        }
    }

    /// Lets a process that shuts down think over all of its sessions.
    pub(super) fn tend_all(&mut self, who: usize) {
        let life = self.processes[who].incarnation;
        let own = self.processes[who].sessions.iter().flat_map(|sessions| &sessions.own);
        for what in own.map(|vessel| vessel.what).collect::<Vec<_>>() {
            self.soon(Happening::Tends { who, life, what, timer: None });
        }
    }
}

// === impl World: what the inbox hears ===

impl World {
    /// Notes that the inbox shows something, unless it is deaf: says so then.
    pub(super) fn hear(&mut self, who: usize) -> bool {
        let (at, process) = (self.at, &mut self.processes[who]);
        let (now, life) = (process.clock.local(at), process.incarnation);
        let Some(sessions) = &mut process.sessions else { return true };
        if sessions.deaf_since.take_if(|_| self.calm).is_none() && sessions.deaf_since.is_some() {
            return false;
        }
        let before = std::mem::replace(&mut sessions.heard, now);
        if now.since(before).as_nanos() > u128::from(QUIET) {
            for what in sessions.own.iter().map(|vessel| vessel.what).collect::<Vec<_>>() {
                self.soon(Happening::Nudged { who, life, what, event: Event::Tick });
            }
        }
        true
    }

    /// The inbox has lost something, and so shows nothing more until it starts over.
    pub(super) fn deafen(&mut self, who: usize) {
        if let Some(sessions) = &mut self.processes[who].sessions {
            sessions.deaf_since.get_or_insert(self.at);
        }
    }

    /// The inbox starts over.
    pub(super) fn reopen_inbox(&mut self, who: usize) {
        if let Some(sessions) = &mut self.processes[who].sessions {
            sessions.deaf_since = None;
        }
    }

    /// The inbox is shown that it lives, as long as there are sessions.
    pub(super) fn mark(&mut self, who: usize) {
        let process = &mut self.processes[who];
        let (life, cut) = (process.incarnation, process.cut_until > self.at);
        let Some(sessions) = &mut process.sessions else { return };
        sessions.marked = !sessions.are_gone();
        if !sessions.marked {
            return;
        }
        if !cut || self.calm {
            self.hear(who);
        }
        let next = self.rng.between(MARK / 2, MARK);
        self.later(next, Happening::Marks { who, life });
    }
}
