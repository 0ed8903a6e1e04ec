//! The inbox: one watch per engine over every lock it holds, for any number of locks; and a second one over every lock
//! whose queue it is the first of since a hand-off.
//!
//! It brings grants, new waiters and losses at once. It may be late, silent or broken at the cost of time only: keepers
//! look for themselves once per ttl.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::StreamExt;
use tokio::sync::watch;

use super::{Engine, obstacle::Fitness};
use crate::{
    LockName,
    clock::{Clock, Moment, Random},
    error::told,
    protocol::{Event, Sightless, Watching},
    record::EngineId,
    store::{Fatal, Fault, Scope, Sighting, Snapshot, Store, Watch},
};

/// How long a watch may be silent, bookmarks included, before it is opened anew.
const SILENCE: Duration = Duration::from_secs(90);

/// A watch that is opened anew when it was silent for too long, and that pauses after errors.
pub(super) struct Lookout {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    scope: Scope,
    watch: Watch,
    heard: Moment,
    /// Not polled before this.
    resume: Option<Moment>,
    random: Random,
    watching: Watching,
    /// Where the inbox's first answer, and any that says that the resource is no good, is noted.
    fitness: Option<Arc<watch::Sender<Fitness>>>,
}

// === impl Lookout ===

impl Lookout {
    /// Opens a watch.
    pub(super) fn new(store: &Arc<dyn Store>, clock: &Arc<dyn Clock>, random: &Random, scope: Scope) -> Self {
        let (store, clock) = (Arc::clone(store), Arc::clone(clock));
        let (watch, heard) = (store.watch(scope.clone()), clock.now());
        let (random, watching) = (Arc::clone(random), Watching::default());
        Self { store, clock, scope, watch, heard, resume: None, random, watching, fitness: None }
    }

    /// Hands on what is seen, for ever.
    pub(super) async fn follow(mut self, tell: impl Fn(Sighting)) {
        loop {
            tell(self.next().await);
        }
    }

    /// Returns the next sighting. Dropping this future loses nothing, not even a pause.
    pub(super) async fn next(&mut self) -> Sighting {
        loop {
            if let Some(resume) = self.resume {
                self.clock.sleep_until(resume).await;
                self.resume = None;
            }
            let silent = self.clock.sleep_until(self.heard + SILENCE);
            let seen = tokio::select! {
                biased;
                seen = self.watch.next() => Some(seen),
                () = silent => None,
            };
            self.heard = self.clock.now();
            match seen {
                Some(Some(Ok(sighting))) => {
                    self.note(&sighting);
                    return sighting;
                }
                Some(Some(Err(fault))) => self.pause(&fault),
                // Ours never end; another store's might, each time at once.
                Some(None) => {
                    self.pause(&Fault::Unknown(told("the watch has ended".to_owned())));
                    self.reopen();
                }
                None => self.reopen(),
            }
        }
    }

    fn reopen(&mut self) {
        tracing::debug!(scope = ?self.scope, "the watch was silent for too long, or has ended, and is opened anew");
        self.watch = self.store.watch(self.scope.clone());
    }

    fn note(&mut self, sighting: &Sighting) {
        self.find(Fitness::Fit);
        // A list is no sign that watching works.
        if matches!(sighting, Sighting::Listed(_)) {
            return;
        }
        if let Some(Sightless::Recovered { failures, lasting }) = self.watching.shown(self.heard) {
            tracing::info!(scope = ?self.scope, failures, ?lasting, "the watch works again");
        }
    }

    fn pause(&mut self, fault: &Fault) {
        let after = if let Fault::Busy(after) = fault { *after } else { None };
        let (why, lasts) = (fault.describe(), matches!(fault, Fault::Fatal(fatal) if !fatal.may_pass()));
        let (resume, news) = self.watching.failed(&why, lasts, after, self.heard, (self.random)());
        // What passes, the inbox meets as well, and one warning of it is enough.
        let warns = matches!(fault, Fault::Fatal(_)) || !matches!(self.scope, Scope::Lock(_));
        match news {
            Some(_) if warns => {
                let costs = match self.scope {
                    Scope::Next(_) => "who waits may notice a crash one ttl later",
                    Scope::Lock(_) | Scope::Engine(_) | Scope::Sessions | Scope::All => "hand-overs will be slow",
                };
                tracing::warn!(scope = ?self.scope, fault = %why, costs, "cannot watch");
            }
            _ => tracing::debug!(scope = ?self.scope, ?fault, "the watch failed"),
        }
        match fault {
            Fault::Fatal(Fatal::CrdOutdated(_)) => self.find(Fitness::Unfit(why)),
            _ if self.is_unfit() => {}
            _ => self.find(Fitness::Fit),
        }
        self.resume = Some(resume);
    }

    /// Any other failure says nothing new about a resource that was found outdated.
    fn is_unfit(&self) -> bool {
        self.fitness.as_ref().is_some_and(|fitness| matches!(*fitness.borrow(), Fitness::Unfit(_)))
    }

    fn find(&self, found: Fitness) {
        let Some(fitness) = &self.fitness else { return };
        fitness.send_if_modified(|fitness| {
            let news = *fitness != found;
            *fitness = found;
            news
        });
    }
}

/// Routes what the inbox sees, for as long as the engine lives.
pub(super) async fn run(engine: Weak<Engine>) {
    let Some(mut lookout) = open(&engine, Scope::Engine) else { return };
    lookout.fitness = engine.upgrade().map(|engine| Arc::clone(&engine.fitness));
    let mut listed_before = false;
    loop {
        let sighting = lookout.next().await;
        let Some(engine) = engine.upgrade() else { return };
        engine.hear();
        match sighting {
            Sighting::Listed(found) => {
                // The first list is older than the first hold, as a rule: what it lacks is no news.
                if std::mem::replace(&mut listed_before, true) {
                    miss_unlisted(&engine, &found);
                }
                for (name, snapshot) in found {
                    engine.deliver(&name, snapshot);
                }
            }
            Sighting::Changed(name, snapshot) => engine.deliver(&name, snapshot),
            Sighting::Gone(name, version) => engine.tell(&name, Event::Disowned(version)),
            Sighting::Alive => {}
        }
    }
}

fn miss_unlisted(engine: &Engine, found: &[(LockName, Snapshot)]) {
    let listed: HashSet<_> = found.iter().map(|(name, _)| name).collect();
    for name in engine.names().iter().filter(|name| !listed.contains(name)) {
        engine.tell(name, Event::Unlisted);
    }
}

fn open(engine: &Weak<Engine>, scope: fn(EngineId) -> Scope) -> Option<Lookout> {
    let engine = engine.upgrade()?;
    Some(Lookout::new(&engine.store, &engine.clock, &engine.random, scope(engine.id.clone())))
}

/// Tells keepers that they have come to the front of a queue, with the first beat of whoever is before them. Without it
/// they would know when they look, once per ttl.
pub(super) async fn run_next(engine: Weak<Engine>) {
    let Some(mut lookout) = open(&engine, Scope::Next) else { return };
    loop {
        let sighting = lookout.next().await;
        let Some(engine) = engine.upgrade() else { return };
        match sighting {
            Sighting::Listed(found) => {
                for (name, snapshot) in found {
                    engine.tell(&name, Event::Seen(snapshot));
                }
            }
            Sighting::Changed(name, snapshot) => engine.tell(&name, Event::Seen(snapshot)),
            // A lock that has become ours is shown by the inbox, any other change by the lock's own watch.
            Sighting::Gone(..) | Sighting::Alive => {}
        }
    }
}

#[cfg(test)]
mod tests;
