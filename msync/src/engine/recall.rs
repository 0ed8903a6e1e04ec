//! What the engine remembers of locks that no keeper looks after: since when each looks as it does.
//!
//! Somebody who polls a lock has no keeper between two tries. Without this memory a dead holder would look new to each
//! of them. Only a bounded number of locks is remembered; forgetting costs time, never safety.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{Engine, Message, call::Terms};
use crate::{
    Error, LockName,
    clock::Moment,
    error::told,
    protocol::{Call, Event, Keeper, Outcome, View},
    runtime,
    store::{Fault, Snapshot},
};

/// How many locks are remembered: some 5 MiB.
const CAPACITY: usize = 10_000;

/// Of how many locks that are gone it is remembered up to which version they are known: events arrive within seconds.
const GONE: usize = 1_000;

/// A bounded memory of views; the one that was touched longest ago is forgotten first.
pub(super) struct Recall {
    capacity: usize,
    touches: u64,
    /// Boxed: a table has up to twice as many places as entries, and twice as many again while it grows.
    views: HashMap<LockName, (u64, Box<View>)>,
    order: BTreeMap<u64, LockName>,
    /// The newest version that was known of a lock when it was gone.
    gone: HashMap<LockName, u64>,
    /// The same, the oldest first.
    gone_order: VecDeque<LockName>,
}

// === impl Recall ===

impl Default for Recall {
    fn default() -> Self {
        Self {
            capacity: CAPACITY,
            touches: 0,
            views: HashMap::new(),
            order: BTreeMap::new(),
            gone: HashMap::new(),
            gone_order: VecDeque::new(),
        }
    }
}

impl Recall {
    /// Keeps a view instead of an earlier one; a lock that is not there needs none.
    fn keep(&mut self, name: &LockName, view: View) {
        self.forget(name);
        if view.record().is_none() {
            return;
        }
        self.touches += 1;
        self.order.insert(self.touches, name.clone());
        self.views.insert(name.clone(), (self.touches, Box::new(view)));
        if self.views.len() > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.views.remove(&oldest);
        }
    }

    /// Notes that a lock is gone, so that what was seen of it before is no news when it comes late.
    fn bury(&mut self, name: &LockName, version: u64) {
        if self.gone.insert(name.clone(), version).is_none() {
            self.gone_order.push_back(name.clone());
        }
        if self.gone_order.len() > GONE
            && let Some(oldest) = self.gone_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }

    fn recall(&self, name: &LockName) -> Option<&View> {
        self.views.get(name).map(|(_, view)| &**view)
    }

    fn forget(&mut self, name: &LockName) {
        if let Some((touched, _)) = self.views.remove(name) {
            self.order.remove(&touched);
        }
    }

    /// Takes what a read has found.
    fn look(&mut self, name: &LockName, found: Option<&Snapshot>, now: Moment) {
        let mut view = self.recall(name).cloned().unwrap_or_default();
        view.believe_read(found, false, now);
        self.keep(name, view);
    }
}

// === impl Engine: remembering ===

impl Engine {
    /// Keeps what a keeper knows, for the next one and for [`Engine::last_seen`].
    pub(super) fn remember(&self, name: &LockName, view: &View) {
        let mut recall = self.recall();
        recall.keep(name, view.clone());
        if let Some(version) = view.outdated() {
            recall.bury(name, version);
        }
    }

    /// Says whether an event of a lock that no keeper looks after tells anything that the last keeper did not know.
    pub(super) fn is_news(&self, name: &LockName, version: u64) -> bool {
        self.recall().gone.get(name).is_none_or(|known| version > *known)
    }

    /// Makes a keeper that knows of a lock what the one before it knew.
    pub(super) fn keeper(&self, name: &LockName) -> Keeper {
        let view = self.recall().recall(name).cloned().unwrap_or_default();
        Keeper::resuming(self.id.clone(), view)
    }

    /// Returns a lock as it was last seen by a look, a try or a keeper that has ended.
    pub(crate) fn last_seen(&self, name: &LockName) -> Option<Snapshot> {
        self.recall().recall(name).and_then(View::snapshot).cloned()
    }

    /// Returns a lock as this engine knows it, without a request: as its keeper sees it now, or as it was last seen.
    pub(crate) async fn newest(&self, name: &LockName) -> Option<Snapshot> {
        let (asker, answer) = oneshot::channel();
        let asked = self
            .keepers()
            .get(name)
            .is_some_and(|handle| handle.messages.unbounded_send(Box::new(Message::Show(asker))).is_ok());
        let shown = if asked { answer.await.ok().flatten() } else { None };
        shown.or_else(|| self.last_seen(name))
    }

    /// Reads a lock; what it finds counts as an observation of its holder.
    pub(crate) async fn look(self: &Arc<Self>, name: &LockName, patience: Duration) -> Result<Option<Snapshot>, Error> {
        let (engine, name) = (Arc::clone(self), name.clone());
        runtime::run(self.home, async move { engine.read(&name, patience).await }).await
    }

    async fn read(&self, name: &LockName, patience: Duration) -> Result<Option<Snapshot>, Error> {
        let terms = Terms::of(&Call::Read, None, self.arrive(), patience);
        let found = match self.call(name, &Call::Read, terms).await {
            (Outcome::Read(found), _) => found,
            (_, fault) => {
                let fault = fault.unwrap_or_else(|| Fault::Unknown(told("the store gave no reason".to_owned())));
                return Err(Error::from_fault(format!("could not read lock {name}"), &fault));
            }
        };
        self.recall().look(name, found.as_ref(), self.clock.now());
        if let Some(snapshot) = &found {
            self.tell(name, Event::Seen(snapshot.clone()));
        }
        Ok(found)
    }

    fn recall(&self) -> MutexGuard<'_, Recall> {
        self.recall.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, MemoryStore, clock::TokioClock};

    /// The inbox lags behind the replies: without this rule a keeper was started for the lock as it had been, and the next
    /// acquisition met it.
    #[tokio::test(start_paused = true)]
    async fn an_event_older_than_a_release_starts_no_keeper() {
        let store = MemoryStore::new();
        let client = Client::builder().memory(&store).clock(TokioClock::default()).build();
        let (engine, lock) = (client.engine(), client.lock("x").unwrap());
        let guard = lock.acquire().await.unwrap();
        let held = store.snapshot(lock.name()).unwrap();
        guard.release().await.unwrap();
        engine.deliver(lock.name(), held.clone());
        assert!(engine.names().is_empty(), "it was known before");
        let version = Version { number: held.version.number + 2, ..held.version };
        engine.deliver(lock.name(), Snapshot { version, ..held });
        assert_eq!(engine.names(), [lock.name().clone()], "a write that landed late: it is to be given back");
    }

    /// A release that met nothing but failures for a ttl is given up. The lock stays in the record as ours, and the inbox
    /// shows it again when it lists anew: that was taken for old news, so the record said "held" for ever.
    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_is_news_when_it_is_shown_again() {
        let client = Client::builder().memory(&MemoryStore::new()).clock(TokioClock::default()).build();
        let (engine, now) = (client.engine(), Moment::default());
        let remembered = |text: &str, learn: &dyn Fn(&mut View)| {
            let mut view = View::default();
            view.believe(&held(7), now);
            learn(&mut view);
            engine.remember(&name(text), &view);
            [7, 8, 9].map(|version| engine.is_news(&name(text), version))
        };
        assert_eq!(remembered("given-up", &|view| view.doubt(State::Unknown)), [true, true, true]);
        assert_eq!(remembered("deleted", &|view| view.deleted(now)), [false, true, true]);
        assert_eq!(remembered("taken-over", &|view| assert!(view.believe_changed(8, now))), [false, false, true]);
    }

    #[test]
    fn few_of_those_that_are_gone_are_remembered() {
        let mut recall = Recall::default();
        for round in 0..3 * GONE {
            recall.bury(&name(&format!("x{round}")), 7);
        }
        assert_eq!((recall.gone.len(), recall.gone_order.len()), (GONE, GONE));
    }
    use crate::{
        protocol::State,
        record::{Beat, Record, Term},
        store::Version,
    };

    fn name(text: &str) -> LockName {
        LockName::new(text).unwrap()
    }

    fn held(version: u64) -> Snapshot {
        let ttl = Duration::from_secs(30);
        let record = Record { term: Term(7), beat: Beat(9), renewals: 1, ttl, ..Record::default() };
        Snapshot { version: Version { uid: "u".into(), number: version }, record }
    }

    #[test]
    fn looks_at_an_unchanged_record_keep_its_first_sight() {
        let (mut recall, at) = (Recall::default(), |s| Moment::default() + Duration::from_secs(s));
        for seconds in [10, 20, 30] {
            recall.look(&name("x"), Some(&held(1)), at(seconds));
        }
        let view = recall.recall(&name("x")).unwrap();
        assert_eq!(
            view.claimable_at(&held(1).record, crate::clock::Now::default()),
            at(40),
            "first seen at 10, ttl 30"
        );
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut recall = Recall::default();
        recall.look(&name("x"), Some(&held(1)), Moment::default());
        recall.look(&name("x"), None, Moment::default());
        assert!(recall.recall(&name("x")).is_none());
        assert!(recall.order.is_empty());
    }

    #[test]
    fn the_lock_touched_longest_ago_is_forgotten_first() {
        let mut recall = Recall { capacity: 2, ..Recall::default() };
        for touched in ["a", "b", "a", "c"] {
            recall.look(&name(touched), Some(&held(1)), Moment::default());
        }
        let known = |text| recall.recall(&name(text)).is_some();
        assert_eq!(["a", "b", "c"].map(known), [true, false, true]);
        assert_eq!((recall.views.len(), recall.order.len()), (2, 2));
    }
}
