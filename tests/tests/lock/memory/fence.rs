//! What a lock cannot do, and what a fencing token can: the anti-test.

use std::time::Duration;

use msync::{Error, FencingToken, LockGuard, MemoryStore};
use tests::memory::{SuspendClock, TTL, builder, client, waiter, within};

/// A resource that takes whatever comes.
#[derive(Default)]
struct Unfenced(Vec<&'static str>);

/// A resource that refuses a token smaller than the greatest it has seen.
#[derive(Default)]
struct Fenced {
    greatest: Option<FencingToken>,
    written: Vec<&'static str>,
}

// === impl Fenced ===

impl Fenced {
    fn write(&mut self, token: FencingToken, text: &'static str) -> bool {
        let admitted = self.greatest.is_none_or(|greatest| token >= greatest);
        if admitted {
            self.greatest = Some(token);
            self.written.push(text);
        }
        admitted
    }
}

/// A holder freezes between its check and its write. Another takes over and writes; then the frozen one thaws.
async fn freeze_between_check_and_write() -> (LockGuard, LockGuard) {
    let (store, clock) = (MemoryStore::new(), SuspendClock::default());
    let a = builder("frozen", clock.clone()).memory(&store).build();
    let b = client(&store, "successor");
    let frozen = a.lock("x").unwrap().acquire().await.unwrap();
    frozen.check().expect("checked, and about to write");
    clock.suspend(TTL);
    let successor = within(2 * TTL, "taken over", waiter(&b, "x")).await.unwrap();
    (frozen, successor)
}

#[tokio::test(start_paused = true)]
async fn a_lock_alone_does_not_stop_a_frozen_holder_from_writing() {
    let (frozen, successor) = freeze_between_check_and_write().await;
    let mut register = Unfenced::default();
    successor.check().unwrap();
    register.0.push("successor");
    register.0.push("frozen");
    assert_eq!(register.0, ["successor", "frozen"], "the stale write is the last: dirty");
    assert!(frozen.check().is_err(), "a check tells, but only who asks");
}

#[tokio::test(start_paused = true)]
async fn a_fencing_token_stops_a_frozen_holder_from_writing() {
    let (frozen, successor) = freeze_between_check_and_write().await;
    let mut register = Fenced::default();
    assert!(register.write(successor.token(), "successor"));
    assert!(!register.write(frozen.token(), "frozen"), "refused");
    assert_eq!(register.written, ["successor"], "clean");
}

#[tokio::test(start_paused = true)]
async fn a_token_floor_refuses_tokens_that_the_resource_would_refuse() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let seen = a.lock("x").unwrap().acquire().await.unwrap().token();
    let restored = MemoryStore::new();
    let b = client(&restored, "b");
    let error = b.lock("x").unwrap().token_floor(seen).acquire().await.unwrap_err();
    assert!(matches!(error, Error::TokenTooLow { .. }), "{error}");
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(restored.names().is_empty(), "given back");
    let higher = a.lock("x").unwrap().token_floor(seen).acquire().await.unwrap();
    assert!(higher.token() > seen);
}
