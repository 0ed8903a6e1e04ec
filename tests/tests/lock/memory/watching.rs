//! Watches that fail while everything else works.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, future::ready, stream};
use msync::{
    Client, Error, MemoryStore,
    clock::TokioClock,
    unstable::store::{Fatal, Fault, Rewatched, Sighting},
};
use tests::{
    logs::Logs,
    memory::{TTL, builder, is_untouched, pass, within},
};

/// A client of which every watch lists, then fails: the right to watch is missing, or a proxy cuts streams. `not_even`: the
/// list fails as well. Returns how many lists there were, too.
fn lists_only(fault: Fault, not_even: bool) -> (Client, MemoryStore, Arc<AtomicUsize>) {
    let (inner, lists) = (MemoryStore::new(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&lists);
    let store = Rewatched::new(&inner, move |_, _| {
        let (lists, fault) = (Arc::clone(&counted), fault.clone());
        let next = move |listed: bool| {
            let fault = fault.clone();
            lists.fetch_add(usize::from(!listed), Ordering::Relaxed);
            let seen = if listed || not_even { Err(fault) } else { Ok(Sighting::Listed(Vec::new())) };
            ready(Some((seen, !listed && !not_even)))
        };
        stream::unfold(false, next).boxed()
    });
    (builder("a", TokioClock::default()).store(Arc::new(store)).build(), inner, lists)
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_after_each_list_is_tried_ever_more_rarely_and_told_once() {
    let cut = tests::faulty::unknown();
    let forbidden = Fault::Fatal(Fatal::Forbidden("may not watch".to_owned()));
    for (fault, text) in [(cut, "connection was lost"), (forbidden, "may not watch")] {
        let logs = Logs::capture();
        let (client, _, lists) = lists_only(fault, false);
        let guard = client.lock("x").unwrap().acquire().await.unwrap();
        pass(Duration::from_secs(600)).await;
        let lists = lists.load(Ordering::Relaxed);
        assert!((100..300).contains(&lists), "{lists} lists in ten minutes");
        assert_eq!(logs.warnings(), 1, "{:?}", logs.lines());
        assert!(logs.lines()[0].contains(text), "{:?}", logs.lines());
        guard.check().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_says_when_a_watch_may_be_tried_again() {
    let (client, _, lists) = lists_only(Fault::Busy(Some(Duration::from_secs(60))), true);
    let _guard = client.lock("x").unwrap().acquire().await.unwrap();
    pass(Duration::from_secs(595)).await;
    assert_eq!(lists.load(Ordering::Relaxed), 10);
}

#[tokio::test(start_paused = true)]
async fn nobody_has_a_lock_of_a_resource_that_cannot_be_selected_by_engine() {
    let logs = Logs::capture();
    let outdated = Fault::Fatal(Fatal::CrdOutdated("outdated: it does not select by spec.engine".to_owned()));
    let (client, store, _) = lists_only(outdated, true);
    for _ in 0..2 {
        let lock = client.lock("x").unwrap();
        for error in [
            within(TTL, "acquire", lock.acquire()).await.map(drop).unwrap_err(),
            within(TTL, "a try", lock.try_acquire()).await.map(drop).unwrap_err(),
            within(TTL, "a campaign", client.election("x").unwrap().campaign()).await.map(drop).unwrap_err(),
        ] {
            assert!(matches!(&error, Error::CrdMissing(text) if text.contains("spec.engine")), "{error:?}");
        }
        pass(Duration::from_secs(1)).await;
    }
    assert!(is_untouched(&store, "x"));
    assert_eq!(logs.warnings(), 1, "{:?}", logs.lines());
}

#[tokio::test(start_paused = true)]
async fn who_cannot_even_list_has_locks_all_the_same() {
    let (client, _, _) = lists_only(Fault::Fatal(Fatal::Forbidden("may not list".to_owned())), true);
    let guard = within(Duration::from_millis(10), "at once", client.lock("x").unwrap().acquire()).await.unwrap();
    guard.release().await.unwrap();
}
