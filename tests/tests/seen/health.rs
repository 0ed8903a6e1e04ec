//! `client.health()`: what a liveness probe asks.

use std::time::Duration;

use msync::{MemoryStore, Unhealthy};
use tests::{
    faulty::{Fate, Faulty, unknown},
    memory::{SuspendClock, TTL, builder, client, client_of, pass},
};

#[tokio::test(start_paused = true)]
async fn a_leader_is_healthy_while_it_leads_and_after_it_has_let_go() {
    let client = client(&MemoryStore::new(), "a");
    client.health().unwrap();
    let term = client.election("e").unwrap().campaign().await.unwrap();
    pass(Duration::from_secs(600)).await;
    client.health().unwrap();
    drop(term);
    pass(Duration::from_secs(600)).await;
    client.health().unwrap();
}

/// An outage of the API server is no reason to restart anything; what does not notice its end is.
#[tokio::test(start_paused = true)]
async fn a_leadership_that_is_over_and_not_given_up_is_unhealthy() {
    let faulty = Faulty::new(MemoryStore::new());
    let client = client_of(faulty.clone(), "a");
    let stuck = client.election("e").unwrap().campaign().await.unwrap();
    let lock = client.lock("x").unwrap().acquire().await.unwrap();
    faulty.every(Fate::Fail(unknown()));
    stuck.lost().await;
    client.health().expect("it has just lost it");
    pass(TTL + Duration::from_secs(1)).await;
    match client.health() {
        Err(Unhealthy::Overdue { name, over }) => assert!(name.as_str() == "e" && over > TTL, "{name} {over:?}"),
        other => panic!("{other:?}"),
    }
    drop(stuck);
    pass(Duration::from_secs(1)).await;
    client.health().expect("it is given up; a guard of a lock may lie about");
    drop(lock);
}

/// What renews locks is blocked: only somebody who asks from outside can tell.
#[tokio::test(start_paused = true)]
async fn a_runtime_that_stands_still_is_unhealthy() {
    let clock = SuspendClock::default();
    let client = builder("a", clock.clone()).memory(&MemoryStore::new()).build();
    client.health().unwrap();
    clock.suspend(Duration::from_secs(11)); // this task does not yield, so nothing else runs meanwhile
    assert!(matches!(client.health(), Err(Unhealthy::Stuck { .. })));
    pass(Duration::from_millis(1)).await;
    client.health().unwrap();
}
