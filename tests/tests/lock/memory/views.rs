//! What a program sees of what it holds: leases, sets, lists of names, cancellation tokens.

use std::time::Duration;

use msync::{Client, Error, LossReason, MemoryStore};
use tests::memory::{client, name, pass, ttl, until, waiter, within};

#[tokio::test(start_paused = true)]
async fn a_client_lists_what_it_holds_and_what_it_waits_for() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    assert!(a.held().is_empty() && a.waiting().is_empty());
    let x = a.lock("x").unwrap().acquire().await.unwrap();
    let term = a.election("e").unwrap().campaign().await.unwrap();
    assert_eq!((a.held(), a.waiting()), (vec![name("e"), name("x")], vec![]));
    let (here, there) = (waiter(&a, "x"), waiter(&b, "x"));
    until("they wait", || a.waiting() == [name("x")] && b.waiting() == [name("x")]).await;
    assert!(b.held().is_empty());
    x.release().await.unwrap();
    let x = here.await.unwrap();
    assert_eq!((a.held(), a.waiting()), (vec![name("e"), name("x")], vec![]));
    drop(x);
    let there = there.await.unwrap();
    assert_eq!((a.held(), b.held(), b.waiting()), (vec![name("e")], vec![name("x")], vec![]));
    term.resign().await.unwrap();
    assert!(a.held().is_empty());
    let gone = waiter(&a, "x");
    until("it waits", || a.waiting() == [name("x")]).await;
    gone.abort();
    until("it waits no more", || a.waiting().is_empty()).await;
    store.delete("x");
    there.lost().await;
    assert!(b.held().is_empty(), "lost is not held");
}

#[tokio::test(start_paused = true)]
async fn a_set_tells_of_its_first_loss() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let set = a.lock_all(["x", "y"]).unwrap().map(|lock| {
        let timing = if lock.name().as_str() == "x" { ttl(60) } else { ttl(10) };
        lock.timing(timing)
    });
    let guards = set.acquire().await.unwrap();
    assert_eq!(guards.remaining(), Duration::from_secs(9), "the shortest");
    let (lease, token, other) = (guards.lease(), guards.cancellation_token(), guards.cancellation_token());
    assert_eq!(lease.remaining(), guards.remaining());
    other.cancel();
    assert!(!token.is_cancelled(), "each has its own");
    store.delete("y");
    assert_eq!(within(Duration::from_secs(1), "told", guards.lost()).await, LossReason::Deleted);
    within(Duration::from_secs(1), "cancelled", token.cancelled()).await;
    assert_eq!((guards.remaining(), lease.remaining()), (Duration::ZERO, Duration::ZERO));
    assert!(matches!(guards.check(), Err(Error::Lost { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_orderly_release_cancels_no_token_and_says_released_to_views() {
    let a = client(&MemoryStore::new(), "a");
    let guard = a.lock("x").unwrap().acquire().await.unwrap();
    let guards = a.lock_all(["y", "z"]).unwrap().acquire().await.unwrap();
    let term = a.election("e").unwrap().campaign().await.unwrap();
    let leases = [guard.lease(), term.lease()];
    let tokens = [guard.cancellation_token(), leases[0].cancellation_token(), term.cancellation_token()];
    let (set, all) = (guards.lease(), guards.cancellation_token());
    guard.release().await.unwrap();
    guards.release().await.unwrap();
    term.resign().await.unwrap();
    pass(Duration::from_secs(100)).await;
    assert!(!all.is_cancelled() && tokens.iter().all(|token| !token.is_cancelled()));
    assert_eq!(set.lost().await, LossReason::Released);
    for lease in leases {
        assert!(matches!(lease.check(), Err(Error::Lost { reason: LossReason::Released, .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_of_one_hold_cost_one_task() {
    let a = client(&MemoryStore::new(), "a");
    let guards = a.lock_all(["x", "y"]).unwrap().acquire().await.unwrap();
    let guard = a.lock("z").unwrap().acquire().await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    drop((guards.cancellation_token(), guard.cancellation_token()));
    let before = tasks();
    for _ in 0..1000 {
        drop((guards.cancellation_token(), guard.cancellation_token(), guards.lease().cancellation_token()));
    }
    assert_eq!(tasks(), before);
    guards.release().await.unwrap();
    guard.release().await.unwrap();
    until("all have ended", || tasks() < before).await;
}

#[tokio::test]
async fn a_standalone_client_leads_whatever_others_do() {
    let (one, two) = (Client::standalone(), Client::standalone());
    for client in [&one, &two] {
        let term = client.election("e").unwrap().try_campaign().await.unwrap().expect("nobody else can lead");
        let guard = client.lock("x").unwrap().try_acquire().await.unwrap().expect("nobody else can have it");
        assert!(client.lock("x").unwrap().try_acquire().await.unwrap().is_none(), "it excludes its own tasks");
        guard.release().await.unwrap();
        term.resign().await.unwrap();
    }
}
