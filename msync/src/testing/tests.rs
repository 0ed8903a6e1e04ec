#![allow(clippy::disallowed_methods, reason = "tests on the clock of tokio, which they pause")]

use std::time::Duration;

use super::*;
use crate::{Error, LossReason, MemoryStore, Timing};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn clients_of_one_owner_are_two_and_do_each_time_what_they_did_the_last_time() {
    let identities = || {
        let store = MemoryStore::new();
        [store.client("a"), store.client("a"), store.client("b")].map(|client| client.identity().to_owned())
    };
    let (first, second) = (identities(), identities());
    assert_eq!(first, second);
    assert!(first[0] != first[1] && first[1] != first[2]);
}

/// Two that draw the same would have one term, and so one lock, between them.
#[test]
fn no_two_clients_draw_the_same_numbers() {
    let mut drawn = std::collections::BTreeSet::new();
    for (owner, nth) in ('a'..='z').flat_map(|owner| (1..=50).map(move |nth| (owner, nth))) {
        assert!(drawn.insert(random_of(&owner.to_string(), nth)()), "{owner} {nth}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loss_on_demand_has_the_reason_that_was_asked_for() {
    let store = MemoryStore::new();
    let lock = store.client("web").lock("Job nº 7").unwrap();
    let guard = lock.acquire().await.unwrap();
    store.take_over("Job nº 7");
    assert_eq!(guard.lost().await, LossReason::TakenOver);
    assert_eq!(store.holder("Job nº 7").as_deref(), Some("somebody-else"), "one rule for names");
    drop(guard);
    let start = tokio::time::Instant::now();
    let guard = lock.acquire().await.unwrap();
    assert!(start.elapsed() >= 15 * SECOND, "after its ttl");
    assert!(store.delete("Job nº 7") && !store.delete("Job nº 7"));
    assert_eq!(guard.lost().await, LossReason::Deleted);
    assert_eq!((store.names(), store.waiting("Job nº 7")), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn an_outage_ends_holds_at_their_deadline_and_then_itself() {
    let store = MemoryStore::new();
    let client = store.client("web");
    let guard = client.lock("job").unwrap().acquire().await.unwrap();
    let start = tokio::time::Instant::now();
    store.outage(60 * SECOND);
    store.outage(10 * SECOND); // the later end counts
    assert_eq!(guard.lost().await, LossReason::Deadline);
    assert!(start.elapsed() <= Timing::default().ttl());
    let early = client.lock("other").unwrap().acquire_timeout(5 * SECOND).await;
    assert!(matches!(early, Err(Error::Unavailable { .. })), "{early:?}");
    drop(guard);
    let _guard = client.lock("job").unwrap().acquire().await.unwrap();
    assert!(start.elapsed() >= 60 * SECOND);
}

/// What happens in an outage, its watches show afterwards.
#[tokio::test(start_paused = true)]
async fn a_hand_edit_during_an_outage_is_seen_after_it() {
    let store = MemoryStore::new();
    let guard = store.client("web").lock("job").unwrap().acquire().await.unwrap();
    let start = tokio::time::Instant::now();
    store.outage(2 * SECOND);
    store.take_over("job");
    assert_eq!(guard.lost().await, LossReason::TakenOver);
    assert!(start.elapsed() >= 2 * SECOND && start.elapsed() < 4 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_takes_its_time_until_it_is_told_otherwise() {
    let store = MemoryStore::new();
    let lock = store.client("web").lock("job").unwrap();
    store.slow(SECOND);
    let start = tokio::time::Instant::now();
    let guard = lock.acquire().await.unwrap();
    assert!(start.elapsed() >= SECOND && start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    tokio::time::sleep(100 * SECOND).await;
    guard.check().expect("renewed all the same");
    store.slow(Duration::ZERO);
    let start = tokio::time::Instant::now();
    guard.release().await.unwrap();
    assert!(start.elapsed() < SECOND);
}

/// On the clock of a service, with no runtime of its own.
#[test]
fn outages_work_where_nobody_pauses_time() {
    let store = MemoryStore::new();
    store.outage(Duration::from_millis(20));
    let lock = store.client("web").lock("job").unwrap();
    let start = crate::clock::of_caller();
    let before = start.now();
    let taken = async move { lock.acquire().await.unwrap().release().await.unwrap() };
    crate::runtime::block_on(taken, 10 * SECOND);
    assert!(start.now().since(before) >= Duration::from_millis(15));
}

#[tokio::test(start_paused = true)]
async fn a_staged_hold_is_what_the_test_says() {
    let (lease, hold) = lease("job", 7);
    assert!(lease.check().is_ok() && lease.ensure(3600 * SECOND).is_ok());
    hold.remaining(10 * SECOND);
    assert!(matches!(lease.ensure(11 * SECOND), Err(Error::TooShort { .. })));
    assert_eq!(lease.remaining(), 10 * SECOND);
    let start = tokio::time::Instant::now();
    assert_eq!(lease.lost().await, LossReason::Deadline);
    assert!(start.elapsed() >= 10 * SECOND);
    hold.remaining(10 * SECOND);
    assert!(lease.check().is_err(), "lost is final");

    for reason in [LossReason::TakenOver, LossReason::Deleted, LossReason::ShutDown] {
        let (term, hold) = leadership("job", 9);
        let token = term.cancellation_token();
        assert_eq!((term.token().get(), term.name().as_str()), (9, "job"));
        hold.lose(reason);
        assert_eq!(term.lost().await, reason);
        token.cancelled().await;
        assert!(matches!(term.resign().await, Err(Error::Lost { reason: told, .. }) if told == reason));
    }
}

#[tokio::test(start_paused = true)]
async fn a_staged_leadership_is_released_when_it_is_resigned_or_dropped() {
    for resigns in [true, false] {
        let (term, hold) = leadership("job", 7);
        assert!(!hold.is_released());
        if resigns {
            term.resign().await.unwrap();
        } else {
            drop(term);
        }
        hold.released().await;
        assert!(hold.is_released());
    }
}

#[tokio::test(start_paused = true)]
async fn a_staged_candidate_is_told_of_what_the_test_says() {
    let (mut candidate, stage) = candidate("writer");
    assert!(!candidate.is_leading() && candidate.fault().is_none() && candidate.name().as_str() == "writer");
    let hold = stage.lead(7);
    candidate.changed().await.unwrap();
    let term = candidate.term().unwrap();
    hold.lose(LossReason::Deadline);
    candidate.changed().await.unwrap();
    assert!(!candidate.is_leading() && term.check().is_err());
    let (second, third) = (stage.lead(8), stage.lead(9));
    candidate.changed().await.unwrap();
    assert_eq!(candidate.term().unwrap().token().get(), 9);
    drop((second, third));
    stage.fail(Error::Forbidden("no right".to_owned()));
    assert!(!candidate.is_leading() && matches!(candidate.fault(), Some(Error::Forbidden(_))));
    stage.lead(10);
    assert!(!stage.has_resigned());
    let clone = candidate.clone();
    candidate.resign().await.unwrap();
    assert!(stage.has_resigned() && !clone.is_leading());
    stage.lead(11);
    assert!(!clone.is_leading(), "it has resigned");
}

#[tokio::test(start_paused = true)]
async fn a_staged_candidate_that_is_dropped_has_resigned() {
    let (candidate, stage) = candidate("writer");
    let term = stage.lead(7);
    drop(candidate.clone());
    tokio::task::yield_now().await;
    assert!(!stage.has_resigned(), "one is left");
    drop(candidate);
    while !stage.has_resigned() {
        tokio::task::yield_now().await;
    }
    drop(term);
}
