#![allow(clippy::disallowed_methods, reason = "the clock of these tests is tokio's, and it is paused")]

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{future::BoxFuture, stream};

use super::*;
use crate::{
    clock::TokioClock,
    record::{Change, EngineId},
    store::{Version, Watch},
};

/// A store whose watches end as soon as they are opened, all but the last.
#[derive(Debug)]
struct Ending {
    opened: AtomicUsize,
    lasts: usize,
}

impl Store for Ending {
    fn read<'a>(&'a self, _: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        unreachable!("nobody acquires")
    }

    fn apply<'a>(&'a self, _: &'a LockName, _: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        unreachable!("nobody acquires")
    }

    fn delete<'a>(&'a self, _: &'a LockName, _: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        unreachable!("nobody acquires")
    }

    fn watch(&self, _: Scope) -> Watch {
        if self.opened.fetch_add(1, Ordering::Relaxed) + 1 < self.lasts {
            return stream::empty().boxed();
        }
        stream::iter([Ok(Sighting::Alive)]).chain(stream::pending()).boxed()
    }
}

fn lookout(store: &Arc<Ending>) -> Lookout {
    let (store, clock): (Arc<dyn Store>, Arc<dyn Clock>) = (Arc::clone(store) as _, Arc::new(TokioClock::default()));
    Lookout::new(&store, &clock, &crate::clock::os_random(), Scope::Engine(EngineId::new("a", 1)))
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_at_once_is_opened_again_after_a_pause() {
    let store = Arc::new(Ending { opened: AtomicUsize::new(0), lasts: usize::MAX });
    let mut lookout = lookout(&store);
    assert!(tokio::time::timeout(Duration::from_secs(60), lookout.next()).await.is_err());
    let opened = store.opened.load(Ordering::Relaxed);
    assert!((10..30).contains(&opened), "opened {opened} times in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_lasts_again_is_used() {
    let store = Arc::new(Ending { opened: AtomicUsize::new(0), lasts: 4 });
    let seen = tokio::time::timeout(Duration::from_secs(5), lookout(&store).next()).await;
    assert_eq!(seen.expect("seen soon"), Sighting::Alive);
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_is_opened_again_at_once() {
    let store = Arc::new(Ending { opened: AtomicUsize::new(0), lasts: 1 });
    let mut lookout = lookout(&store);
    assert_eq!(lookout.next().await, Sighting::Alive);
    let start = tokio::time::Instant::now();
    assert_eq!(lookout.next().await, Sighting::Alive);
    assert_eq!(start.elapsed().as_secs(), 90);
}
