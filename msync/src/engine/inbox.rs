//! The inbox: one watch per engine over every lock it holds, for any number of locks.
//!
//! It brings grants, new waiters and losses at once. It may be late, silent or broken at the cost of time only: keepers
//! look for themselves once per ttl.

use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::StreamExt;

use super::Engine;
use crate::{
    LockName,
    clock::{Clock, Moment},
    protocol::Event,
    store::{Fault, Scope, Sighting, Snapshot, Store, Watch, told},
};

/// How long a watch may be silent, bookmarks included, before it is opened anew.
const SILENCE: Duration = Duration::from_secs(90);

/// The longest pause between two attempts to watch.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A watch that is opened anew when it was silent for too long, and that pauses after errors.
pub(super) struct Lookout {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    scope: Scope,
    watch: Watch,
    heard: Moment,
    /// Not polled before this.
    resume: Option<Moment>,
    failures: u32,
}

// === impl Lookout ===

impl Lookout {
    /// Opens a watch.
    pub(super) fn new(store: &Arc<dyn Store>, clock: &Arc<dyn Clock>, scope: Scope) -> Self {
        let (store, clock) = (Arc::clone(store), Arc::clone(clock));
        let (watch, heard) = (store.watch(scope.clone()), clock.now());
        Self { store, clock, scope, watch, heard, resume: None, failures: 0 }
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
                    self.failures = 0;
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

    fn pause(&mut self, fault: &Fault) {
        self.failures += 1;
        match fault {
            Fault::Fatal(fatal) if self.failures == 1 => {
                tracing::warn!(%fatal, "cannot watch: hand-overs will be slow");
            }
            _ => tracing::debug!(?fault, failures = self.failures, "the watch failed"),
        }
        let pause = Duration::from_millis(50 << self.failures.min(8)).min(LONGEST_PAUSE);
        self.resume = Some(self.heard + pause);
    }
}

/// Routes what the inbox sees, for as long as the engine lives.
pub(super) async fn run(engine: Weak<Engine>) {
    let Some(mut lookout) = open(&engine) else { return };
    let mut listed_before = false;
    loop {
        let sighting = lookout.next().await;
        let Some(engine) = engine.upgrade() else { return };
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

fn open(engine: &Weak<Engine>) -> Option<Lookout> {
    let engine = engine.upgrade()?;
    Some(Lookout::new(&engine.store, &engine.clock, Scope::Engine(engine.id.clone())))
}

#[cfg(test)]
mod tests;
