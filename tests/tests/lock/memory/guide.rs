//! What the guide says that the compiler does not catch, row by row, and what it says to write instead.

use std::time::Duration;

use msync::MemoryStore;
use tests::memory::{DEADLINE, SuspendClock, builder, client, pass, record, until};

const LONG: Duration = Duration::from_secs(100);

fn is_held(store: &MemoryStore) -> bool {
    record(store, "x").is_some_and(|record| !record.is_free())
}

#[tokio::test(start_paused = true)]
async fn a_guard_that_is_bound_to_an_underscore_is_dropped_at_once() {
    let store = MemoryStore::new();
    let lock = client(&store, "a").lock("x").unwrap();
    let _ = lock.acquire().await.unwrap();
    until("nothing is locked", || !is_held(&store)).await;

    let _guard = lock.acquire().await.unwrap();
    pass(LONG).await;
    assert!(is_held(&store), "a name keeps it to the end of the scope");
}

#[tokio::test(start_paused = true)]
#[allow(clippy::redundant_pattern_matching, reason = "the very thing that the guide warns of")]
async fn a_guard_that_if_let_does_not_bind_is_held_in_the_block_only() {
    let store = MemoryStore::new();
    let lock = client(&store, "a").lock("x").unwrap();
    let mut ran = false;
    if let Some(_) = lock.try_acquire().await.unwrap() {
        pass(LONG).await;
        assert!(is_held(&store), "in the block");
        ran = true;
    }
    assert!(ran);
    until("not after it", || !is_held(&store)).await;

    let Some(_guard) = lock.try_acquire().await.unwrap() else { return };
    pass(LONG).await;
    assert!(is_held(&store), "a name keeps it to the end of the scope");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_a_body_has_spawned_goes_on_and_a_lease_tells_it() {
    let store = MemoryStore::new();
    let lock = client(&store, "a").lock("x").unwrap();
    let (send, receive) = tokio::sync::oneshot::channel();
    let ended = lock.run(async move |guard| {
        let lease = guard.lease();
        let _spawned = tokio::spawn(async move {
            pass(LONG).await;
            send.send(lease.check().is_err()).expect("somebody listens");
        });
        store.take_over("x");
        std::future::pending::<()>().await;
    });
    assert!(ended.await.is_err_and(|error| error.is_lost()), "the body is dropped");
    assert!(receive.await.expect("the task went on"), "and its lease says lost");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_yield_goes_on_and_a_lease_tells_it() {
    let (store, clock) = (MemoryStore::new(), SuspendClock::default());
    let lock = builder("a", clock.clone()).memory(&store).build().lock("x").unwrap();
    let ended = lock.run(async move |guard| {
        clock.suspend(DEADLINE); // as sleeping or computing for so long would: nobody else of this thread has run meanwhile
        assert!(guard.lease().check().is_err(), "it has not been interrupted, and can ask");
    });
    assert!(ended.await.is_err_and(|error| error.is_lost()));
}
