#![allow(clippy::disallowed_methods, reason = "the clock of these tests is tokio's, and it is paused")]

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures::StreamExt;

use super::*;
use crate::{
    clock::{TokioClock, os_random},
    record::EngineId,
    store::{MemoryStore, Rewatched},
};

/// A store whose open watches are counted.
#[derive(Clone, Default)]
struct Counting {
    store: MemoryStore,
    open: Arc<AtomicUsize>,
}

/// Counts itself while it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Counting {
    fn engine(&self) -> Arc<Engine> {
        let (clock, open) = (Arc::new(TokioClock::default()), Arc::clone(&self.open));
        let store = Rewatched::new(&self.store, move |store, scope| {
            let counted = Counted::new(&open);
            let shown = move |seen| {
                let _ = &counted;
                seen
            };
            store.watch(scope).map(shown).boxed()
        });
        Engine::new(EngineId::new("a", 1), Arc::new(store), clock, os_random(), false, None, false)
    }

    fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Changes a lock, or makes it.
    fn put(&self, name: &LockName, renewals: u64) -> Snapshot {
        self.store.edit(name, |record| record.renewals = renewals)
    }
}

fn name(number: usize) -> LockName {
    LockName::new(format!("l-{number}")).unwrap()
}

async fn next(listener: &mut Listener) -> Sighting {
    tokio::time::timeout(Duration::from_secs(1), listener.next()).await.expect("something is seen")
}

/// Listens to so many locks, each of which begins with nothing.
async fn listen(engine: &Engine, names: std::ops::Range<usize>) -> Vec<Listener> {
    let mut listeners: Vec<_> = names.map(|number| Listener::new(engine, name(number))).collect();
    for listener in &mut listeners {
        assert_eq!(next(listener).await, Sighting::Listed(Vec::new()));
    }
    listeners
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn all_who_listen_to_a_lock_share_one_watch_and_begin_with_what_is_there() {
    let store = Counting::default();
    let (engine, first) = (store.engine(), store.put(&name(0), 1));
    let mut listeners: Vec<_> = (0..10).map(|_| Listener::new(&engine, name(0))).collect();
    for listener in &mut listeners {
        assert_eq!(next(listener).await, Sighting::Listed(vec![(name(0), first.clone())]));
    }
    assert_eq!(store.open(), 1);
    let second = store.put(&name(0), 2);
    for listener in &mut listeners {
        assert_eq!(next(listener).await, Sighting::Changed(name(0), second.clone()));
    }
    let mut late = Listener::new(&engine, name(0));
    assert_eq!(next(&mut late).await, Sighting::Listed(vec![(name(0), second)]));
    store.store.delete(name(0));
    assert!(matches!(next(&mut late).await, Sighting::Gone(..)));
    assert_eq!(next(&mut Listener::new(&engine, name(0))).await, Sighting::Listed(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_the_last_who_listens() {
    let store = Counting::default();
    let engine = store.engine();
    let (one, other) = (listen(&engine, 0..3).await, listen(&engine, 0..3).await);
    drop(one);
    settle().await;
    assert_eq!(store.open(), 3);
    drop(other);
    settle().await;
    assert_eq!(store.open(), 0);
    assert!(engine.lookouts.state().names.is_empty());
}

#[tokio::test(start_paused = true)]
async fn beyond_a_bound_one_watch_serves_all_the_others() {
    let store = Counting::default();
    let engine = store.engine();
    let mut listeners = listen(&engine, 0..2000).await;
    assert_eq!(store.open(), most() + 1);
    for number in [0, most() - 1, most(), 1999] {
        let made = store.put(&name(number), 1);
        assert_eq!(next(&mut listeners[number]).await, Sighting::Changed(name(number), made.clone()));
        let mut late = Listener::new(&engine, name(number));
        assert_eq!(next(&mut late).await, Sighting::Listed(vec![(name(number), made)]));
        store.store.delete(name(number));
        assert!(matches!(next(&mut listeners[number]).await, Sighting::Gone(..)));
    }
    listeners.truncate(most() + 1);
    settle().await;
    assert_eq!(store.open(), most() + 1);
    listeners.truncate(most());
    settle().await;
    assert_eq!(store.open(), most(), "nobody needs the watch of all");
    listeners.truncate(most() - 1);
    let more = listen(&engine, 3000..3002).await;
    assert_eq!(store.open(), most() + 1, "one took the place that was free");
    drop((listeners, more));
    settle().await;
    assert_eq!(store.open(), 0);
    let state = engine.lookouts.state();
    assert!(state.own == 0 && state.all.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_all_that_starts_over_tells_each_what_is_there_now() {
    let store = Counting::default();
    let engine = store.engine();
    let mut listeners = listen(&engine, 0..most() + 2).await;
    let made = store.put(&name(most()), 1);
    assert!(matches!(next(&mut listeners[most()]).await, Sighting::Changed(..)));
    store.store.expire_watches();
    assert_eq!(next(&mut listeners[most()]).await, Sighting::Listed(vec![(name(most()), made)]));
    assert_eq!(next(&mut listeners[most() + 1]).await, Sighting::Listed(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_to_listen_hears_the_newest_and_costs_no_room() {
    let store = Counting::default();
    let engine = store.engine();
    let mut listener = listen(&engine, 0..1).await.remove(0);
    let mut newest = store.put(&name(0), 0);
    for renewals in 1..1000 {
        newest = store.put(&name(0), renewals);
        settle().await;
    }
    let mut heard = 0;
    while next(&mut listener).await != Sighting::Changed(name(0), newest.clone()) {
        heard += 1;
    }
    assert!(heard <= KEPT, "{heard}");
}

#[tokio::test(start_paused = true)]
async fn who_listens_later_opens_nothing_if_it_ends_before() {
    let store = Counting::default();
    let engine = store.engine();
    let mut listener = Listener::later(&engine, name(0), Duration::from_secs(5));
    assert!(tokio::time::timeout(Duration::from_secs(4), listener.next()).await.is_err());
    assert_eq!(store.open(), 0);
    assert!(tokio::time::timeout(Duration::from_secs(2), listener.next()).await.is_ok());
    assert_eq!(store.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_for_those_who_listen_when_the_engine_is_gone() {
    let store = Counting::default();
    let mut listeners = listen(&store.engine(), 0..1).await;
    let made = store.put(&name(0), 1);
    assert_eq!(next(&mut listeners[0]).await, Sighting::Changed(name(0), made));
}

/// As this process is bound.
fn most() -> usize {
    bearable(getrlimit(Resource::Nofile).current)
}

#[test]
fn watches_leave_three_quarters_of_the_descriptors() {
    let bounds =
        [(None, 256), (Some(u64::MAX), 256), (Some(1024), 256), (Some(1023), 255), (Some(200), 50), (Some(3), 0)];
    for (descriptors, most) in bounds {
        assert_eq!(bearable(descriptors), most, "{descriptors:?}");
    }
}
