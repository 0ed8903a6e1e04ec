//! Elections on the memory store, in paused time.
#![allow(clippy::disallowed_methods, reason = "tokio's clock is the injected one here")]

mod ending;
mod failures;
mod observe;
mod standing;

use std::time::Duration;

use msync::{Client, Error, Leadership, LossReason, MemoryStore};
use tests::{
    faulty::{Fate, Faulty, Kind, Sight},
    memory::{TTL, client, client_of, pass, queue, record, until, within, yields},
};
use tokio::task::JoinHandle;

/// Starts a task that campaigns and returns its leadership.
fn campaign(client: &Client) -> JoinHandle<Leadership> {
    let election = client.election("e").unwrap();
    tokio::spawn(async move { election.campaign().await.expect("elected in the end") })
}

/// Lets several candidates campaign, in order.
async fn candidates(store: &MemoryStore, owners: &[&str]) -> Vec<(Client, JoinHandle<Leadership>)> {
    let mut all = Vec::new();
    for owner in owners {
        let (client, place) = (client(store, owner), queue(store, "e"));
        let task = campaign(&client);
        until("in the queue", || queue(store, "e") == place + 1).await;
        all.push((client, task));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn leaders_follow_each_other_in_order_and_the_record_is_kept() {
    let store = MemoryStore::new();
    let mut term = client(&store, "first").election("e").unwrap().campaign().await.unwrap();
    for (_client, next) in candidates(&store, &["a", "b", "c"]).await {
        let token = term.token();
        term.resign().await.unwrap();
        term = within(Duration::from_millis(10), "the next in the queue", next).await.unwrap();
        term.check().unwrap();
        assert!(term.token() > token);
    }
    term.resign().await.unwrap();
    assert!(record(&store, "e").unwrap().is_free());
    let again = client(&store, "last").election("e").unwrap().campaign().await.unwrap();
    assert_eq!((again.name().as_str(), store.snapshot(again.name()).unwrap().version.uid.as_ref()), ("e", "memory-1"));
}

/// A candidate may wait for days: a grant makes no leader before its acceptance is confirmed.
#[tokio::test(start_paused = true)]
async fn bug_44_nobody_leads_before_the_acceptance_is_confirmed() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, b) = (client(&store, "a"), client_of(faulty.clone(), "b"));
    let term = a.election("e").unwrap().campaign().await.unwrap();
    let next = campaign(&b);
    until("b waits", || queue(&store, "e") == 1).await;
    faulty.on(|request| if request.kind == Kind::Renew { Fate::Hang } else { Fate::Pass });
    term.resign().await.unwrap();
    pass(Duration::from_secs(1)).await;
    assert_eq!(record(&store, "e").unwrap().engine.owner(), "b", "granted");
    assert!(!next.is_finished(), "and not accepted");
    faulty.heal();
    within(TTL, "accepted", next).await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn l1_a_candidate_that_does_not_accept_costs_two_seconds() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let (a, dead) = (client(&store, "a"), client_of(faulty.clone(), "dead"));
    let term = a.election("e").unwrap().campaign().await.unwrap();
    let never = campaign(&dead);
    until("it waits", || queue(&store, "e") == 1).await;
    let mut live = candidates(&store, &["live"]).await;
    pass(Duration::from_secs(3600)).await;
    faulty.every(Fate::Hang);
    term.resign().await.unwrap();
    within(Duration::from_millis(2500), "passed over", live.remove(0).1).await.unwrap().check().unwrap();
    never.abort();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_dies_is_followed_within_a_ttl() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let dying = client_of(faulty.clone(), "dying").election("e").unwrap().campaign().await.unwrap();
    let mut others = candidates(&store, &["a", "b"]).await;
    pass(Duration::from_secs(3600)).await;
    faulty.every(Fate::Hang);
    faulty.watches(Sight::Blind);
    within(TTL * 102 / 100, "followed", others.remove(0).1).await.unwrap().check().unwrap();
    assert!(dying.check().is_err());
    assert_eq!(dying.lost().await, LossReason::Deadline);
}

#[tokio::test(start_paused = true)]
async fn a_leadership_is_handed_over_to_whom_the_leader_names() {
    let store = MemoryStore::new();
    let first = client(&store, "first").election("e").unwrap().campaign().await.unwrap();
    let mut others = candidates(&store, &["a", "b", "c"]).await;
    assert!(first.hand_over_to("b").await.unwrap(), "found");
    let b = within(Duration::from_millis(10), "b leads", others.remove(1).1).await.unwrap();
    assert_eq!(record(&store, "e").unwrap().engine.owner(), "b");
    assert!(!b.hand_over_to("nobody-of-this-name").await.unwrap(), "not found");
    let a = within(Duration::from_millis(10), "the first in the queue leads", others.remove(0).1).await.unwrap();
    a.resign().await.unwrap();
    within(Duration::from_millis(10), "then the last", others.remove(0).1).await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_to_a_candidate_that_has_just_left_reaches_the_next() {
    for turns in 0..30 {
        let store = MemoryStore::new();
        let first = client(&store, "first").election("e").unwrap().campaign().await.unwrap();
        let mut others = candidates(&store, &["a", "b"]).await;
        let handing = tokio::spawn(first.hand_over_to("b"));
        yields(turns).await;
        let (_client, gone) = others.remove(1);
        gone.abort();
        drop(gone);
        let next = within(Duration::from_secs(5), &format!("{turns} turns"), others.remove(0).1).await;
        next.unwrap().check().unwrap();
        handing.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_passes_by_local_candidates() {
    let store = MemoryStore::new();
    let here = client(&store, "here");
    let first = here.election("e").unwrap().campaign().await.unwrap();
    let local = campaign(&here);
    yields(5).await;
    let mut others = candidates(&store, &["there"]).await;
    assert!(first.hand_over_to("there").await.unwrap(), "found");
    let there = within(Duration::from_secs(1), "there leads", others.remove(0).1).await.unwrap();
    assert!(!local.is_finished());
    there.resign().await.unwrap();
    within(Duration::from_secs(1), "then here", local).await.unwrap().check().unwrap();
}

/// The name that a client was given is that of its owner, whatever had to be replaced in it.
#[tokio::test(start_paused = true)]
async fn a_leader_names_a_candidate_as_that_was_named() {
    let long = "pod-of-a-very-long-name-".repeat(4);
    let (one, two) = (format!("{long}1"), format!("{long}2"));
    for wished in ["Pod_B", "pod-b", &two] {
        let store = MemoryStore::new();
        let first = client(&store, "first").election("e").unwrap().campaign().await.unwrap();
        let mut others = candidates(&store, &["a", &one, "Pod_B", &two]).await;
        assert!(first.hand_over_to(wished).await.unwrap(), "{wished}");
        let place = if wished == two { 3 } else { 2 };
        within(Duration::from_millis(10), wished, others.remove(place).1).await.unwrap().check().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_names_itself_leaves_it_to_the_next_in_its_process() {
    let store = MemoryStore::new();
    let here = client(&store, "here");
    let first = here.election("e").unwrap().campaign().await.unwrap();
    let local = campaign(&here);
    yields(5).await;
    let _others = candidates(&store, &["there"]).await;
    assert!(first.hand_over_to("here").await.unwrap(), "found");
    within(Duration::from_secs(1), "leads", local).await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn s6_a_dropped_campaign_leaves_nothing() {
    for turns in 0..40 {
        let store = MemoryStore::new();
        let (a, b, c) = (client(&store, "a"), client(&store, "b"), client(&store, "c"));
        let term = a.election("e").unwrap().campaign().await.unwrap();
        let waiting = campaign(&b);
        until("b waits", || queue(&store, "e") == 1).await;
        pass(Duration::from_secs(60)).await;
        drop(term);
        yields(turns).await;
        waiting.abort();
        drop(waiting);
        let term = within(Duration::from_secs(3), &format!("{turns} turns"), campaign(&c)).await.unwrap();
        term.resign().await.unwrap();
        pass(Duration::from_secs(1)).await;
        let renews = store.calls().renews;
        pass(3 * TTL).await;
        assert_eq!(store.calls().renews, renews);
        assert!(record(&store, "e").unwrap().is_free());
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_runs_under_a_leadership_and_leaves_it() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let term = a.election("e").unwrap().campaign().await.unwrap();
    assert_eq!(term.run(async { 7 }).await.unwrap(), 7);
    term.ensure(Duration::from_secs(10)).unwrap();
    let nested = term.run(async { a.election("e").unwrap().campaign().await.err() }).await.unwrap();
    assert!(matches!(nested, Some(Error::WouldDeadlock { .. })));
    let token = term.cancellation_token();
    store.delete("e");
    let ended = term.run(std::future::pending::<()>()).await;
    assert!(matches!(ended, Err(Error::Lost { reason: LossReason::Deleted, .. })), "{ended:?}");
    token.cancelled().await;
    assert_eq!(term.remaining(), Duration::ZERO);
    assert!(term.resign().await.unwrap_err().is_lost());
}

#[tokio::test(start_paused = true)]
async fn an_election_may_be_won_after_a_wait_of_a_day() {
    let store = MemoryStore::new();
    let (a, b) = (client(&store, "a"), client(&store, "b"));
    let term = a.election("e").unwrap().campaign().await.unwrap();
    let next = campaign(&b);
    pass(Duration::from_secs(24 * 3600)).await;
    term.check().unwrap();
    term.resign().await.unwrap();
    within(Duration::from_millis(10), "elected", next).await.unwrap().check().unwrap();
}
