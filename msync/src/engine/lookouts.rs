//! The watches of single locks: one for each name, however many listen, and never more than a few hundred.
//!
//! On HTTP/1.1 every watch is a connection, on HTTP/2 a stream, on the API server a goroutine and a filter. Whatever goes
//! beyond the bound is served by one watch of all locks together, which shows more than is asked for, but is one.
//!
//! Nobody gets every state that a lock goes through: a listener that is slow gets the newest instead.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{BoxStream, unfold},
};
use rustix::process::{Resource, getrlimit};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::JoinHandle,
};

use super::{Engine, inbox::Lookout};
use crate::{
    LockName,
    clock::{Clock, Moment, Random},
    runtime,
    store::{Scope, Sighting, Snapshot, Store},
};

/// How many locks have a watch of their own at the most.
const MOST: usize = 256;

/// How many sightings are kept for a slow listener, before it has to do with the newest.
const KEPT: usize = 8;

/// All watches of single locks of one engine. It outlives the engine for those who still listen.
pub(super) struct Lookouts {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Random,
    /// How many locks have a watch of their own.
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    serial: u64,
    names: BTreeMap<LockName, Watched>,
    /// How many of the names have a watch of their own.
    own: usize,
    all: Option<All>,
}

/// A lock that somebody listens for.
struct Watched {
    listeners: usize,
    told: broadcast::Sender<Sighting>,
    /// Its own watch; without one it is served by the watch of all.
    own: Option<Own>,
}

/// The watch of one lock.
struct Own {
    serial: u64,
    task: JoinHandle<()>,
    /// What is there by what it showed last, as a list; nothing before its first.
    newest: Option<Sighting>,
}

/// The watch of all locks.
struct All {
    serial: u64,
    task: JoinHandle<()>,
    /// How many names it serves.
    names: usize,
    /// What it showed last; nothing before its first list.
    newest: Option<HashMap<LockName, Snapshot>>,
}

/// Somebody who wants to know what is seen of a lock.
pub(crate) struct Listener {
    lookouts: Arc<Lookouts>,
    name: LockName,
    /// It joins no sooner than this.
    from: Option<Moment>,
    ear: Option<Ear>,
}

struct Ear {
    /// What was known when it joined.
    first: Option<Sighting>,
    told: broadcast::Receiver<Sighting>,
}

// === impl Listener ===

impl Listener {
    /// Begins to listen with the first call of [`Self::next`].
    pub(crate) fn new(engine: &Engine, name: LockName) -> Self {
        Self { lookouts: Arc::clone(&engine.lookouts), name, from: None, ear: None }
    }

    /// Begins to listen after a while, for whoever will not need it if its wait is short.
    pub(super) fn later(engine: &Engine, name: LockName, delay: Duration) -> Self {
        let mut listener = Self::new(engine, name);
        listener.from = Some(engine.clock.now() + delay);
        listener
    }

    /// Makes a stream of it, which takes little room.
    pub(super) fn stream(self) -> BoxStream<'static, Sighting> {
        unfold(self, |mut listener| async { Some((listener.next().await, listener)) }).boxed()
    }

    /// Returns the next sighting; the first is a list, of this lock or of nothing. Dropping this future loses nothing.
    pub(crate) async fn next(&mut self) -> Sighting {
        if let Some(from) = self.from {
            self.lookouts.clock.sleep_until(from).await;
            self.from = None;
        }
        let ear = self.ear.get_or_insert_with(|| self.lookouts.join(&self.name));
        if let Some(first) = ear.first.take() {
            return first;
        }
        loop {
            match ear.told.recv().await {
                Ok(sighting) => return sighting,
                Err(RecvError::Lagged(_)) => {} // the newest are still kept
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.ear.is_some() {
            self.lookouts.leave(&self.name);
        }
    }
}

// === impl Lookouts ===

impl Lookouts {
    pub(super) fn new(store: &Arc<dyn Store>, clock: &Arc<dyn Clock>, random: &Random) -> Arc<Self> {
        let (store, clock, random) = (Arc::clone(store), Arc::clone(clock), Arc::clone(random));
        let most = bearable(getrlimit(Resource::Nofile).current);
        Arc::new(Self { store, clock, random, most, state: Mutex::default() })
    }

    fn join(self: &Arc<Self>, name: &LockName) -> Ear {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            let own = self.open(&mut state, name);
            let watched = Watched { listeners: 0, told: broadcast::Sender::new(KEPT), own };
            state.names.insert(name.clone(), watched);
        }
        self.revive(&mut state, name);
        let first = state.newest(name);
        let watched = state.names.get_mut(name).expect("it is there now");
        watched.listeners += 1;
        Ear { first, told: watched.told.subscribe() }
    }

    fn leave(&self, name: &LockName) {
        let mut state = self.state();
        let Some(watched) = state.names.get_mut(name) else { return };
        watched.listeners -= 1;
        if watched.listeners > 0 {
            return;
        }
        match state.names.remove(name).and_then(|watched| watched.own) {
            Some(own) => {
                own.task.abort();
                state.own -= 1;
            }
            None => state.release_all(),
        }
    }

    /// Gives a name a watch of its own, or a part in the watch of all.
    fn open(self: &Arc<Self>, state: &mut State, name: &LockName) -> Option<Own> {
        if state.own < self.most {
            state.own += 1;
            return Some(self.watch(state, name));
        }
        if let Some(all) = &mut state.all {
            all.names += 1;
        } else {
            state.all = Some(self.watch_all(state, 1));
        }
        None
    }

    /// Starts a task anew whose runtime has ended.
    fn revive(self: &Arc<Self>, state: &mut State, name: &LockName) {
        let dead = |task: &JoinHandle<()>| task.is_finished();
        match state.names.get(name).map(|watched| watched.own.as_ref()) {
            Some(Some(own)) if dead(&own.task) => {
                let own = self.watch(state, name);
                state.names.entry(name.clone()).and_modify(|watched| watched.own = Some(own));
            }
            Some(None) => {
                if let Some(names) = state.all.as_ref().filter(|all| dead(&all.task)).map(|all| all.names) {
                    state.all = Some(self.watch_all(state, names));
                }
            }
            _ => {}
        }
    }

    fn watch(self: &Arc<Self>, state: &mut State, name: &LockName) -> Own {
        state.serial += 1;
        let serial = state.serial;
        let (lookouts, watched) = (Arc::clone(self), name.clone());
        let tell = move |sighting| lookouts.tell(serial, &watched, sighting);
        Own {
            serial,
            task: runtime::spawn(self.clock.home(), self.look_out(Scope::Lock(name.clone())).follow(tell)),
            newest: None,
        }
    }

    fn watch_all(self: &Arc<Self>, state: &mut State, names: usize) -> All {
        state.serial += 1;
        let serial = state.serial;
        let lookouts = Arc::clone(self);
        let tell = move |sighting| lookouts.tell_all(serial, sighting);
        All {
            serial,
            task: runtime::spawn(self.clock.home(), self.look_out(Scope::All).follow(tell)),
            names,
            newest: None,
        }
    }

    fn look_out(&self, scope: Scope) -> Lookout {
        Lookout::new(&self.store, &self.clock, &self.random, scope)
    }

    /// Takes what the watch of one lock has seen. One that was closed meanwhile, and opened anew, is not listened to.
    fn tell(&self, serial: u64, name: &LockName, sighting: Sighting) {
        let mut state = self.state();
        let Some(watched) = state.names.get_mut(name) else { return };
        let Some(own) = watched.own.as_mut().filter(|own| own.serial == serial) else { return };
        match &sighting {
            Sighting::Listed(_) => own.newest = Some(sighting.clone()),
            Sighting::Changed(_, snapshot) => own.newest = Some(listed(name, Some(snapshot))),
            Sighting::Gone(..) => own.newest = Some(listed(name, None)),
            Sighting::Alive => return,
        }
        let _ = watched.told.send(sighting); // those who listen may all be leaving
    }

    /// Takes what the watch of all locks has seen.
    fn tell_all(&self, serial: u64, sighting: Sighting) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(all) = state.all.as_mut().filter(|all| all.serial == serial) else { return };
        match sighting {
            Sighting::Listed(found) => {
                let newest = all.newest.insert(found.into_iter().collect());
                for (name, watched) in state.names.iter().filter(|(_, watched)| watched.own.is_none()) {
                    let _ = watched.told.send(listed(name, newest.get(name)));
                }
            }
            Sighting::Changed(name, snapshot) => {
                all.newest.get_or_insert_default().insert(name.clone(), snapshot.clone());
                state.tell_one(&name.clone(), Sighting::Changed(name, snapshot));
            }
            Sighting::Gone(name, version) => {
                all.newest.get_or_insert_default().remove(&name);
                state.tell_one(&name.clone(), Sighting::Gone(name, version));
            }
            Sighting::Alive => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Lists a lock as its watch showed it last; nothing before the watch has shown anything.
    fn newest(&self, name: &LockName) -> Option<Sighting> {
        match &self.names.get(name)?.own {
            Some(own) => own.newest.clone(),
            None => self.all.as_ref()?.newest.as_ref().map(|newest| listed(name, newest.get(name))),
        }
    }

    fn tell_one(&self, name: &LockName, sighting: Sighting) {
        if let Some(watched) = self.names.get(name).filter(|watched| watched.own.is_none()) {
            let _ = watched.told.send(sighting);
        }
    }

    fn release_all(&mut self) {
        let Some(all) = &mut self.all else { return };
        all.names -= 1;
        if all.names == 0 {
            all.task.abort();
            self.all = None;
        }
    }
}

fn listed(name: &LockName, found: Option<&Snapshot>) -> Sighting {
    Sighting::Listed(found.map(|snapshot| (name.clone(), snapshot.clone())).into_iter().collect())
}

/// Says how many locks may have a watch of their own in a process that may have so many descriptors: where each takes a
/// connection, over HTTP/1.1, they must leave most of those to the calls and to the program. Any number where there is no limit.
fn bearable(descriptors: Option<u64>) -> usize {
    descriptors.and_then(|most| usize::try_from(most / 4).ok()).map_or(MOST, |most| most.min(MOST))
}

#[cfg(test)]
mod tests;
