//! What the calls of an election say in an outage, at a loss, after a shutdown, and when their runtime is gone: the table in
//! the documentation of `Election`.

use std::{future::pending, time::Duration};

use futures::StreamExt;
use msync::{Client, Error, LossReason, MemoryStore};
use tests::{
    faulty::{Faulty, Kind},
    memory::{DEADLINE, TTL, client_of, pass, until, within},
};
use tokio::runtime::Builder;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn in_an_outage_nobody_is_told_that_another_leads() {
    let store = MemoryStore::new();
    let election = store.client("a").election("e").unwrap();
    store.outage(HOUR);
    let tried = within(TTL, "a try ends", election.try_campaign()).await;
    assert!(matches!(&tried, Err(error @ Error::Store { .. }) if !error.is_busy()), "{tried:?}");
    let waited = within(40 * SECOND, "a limit ends", election.campaign_timeout(30 * SECOND)).await;
    assert!(matches!(&waited, Err(Error::Unavailable { after, .. }) if *after == 30 * SECOND), "{waited:?}");
    let candidate = election.candidate();
    pass(60 * SECOND).await;
    assert!(!candidate.is_leading() && candidate.fault().is_none(), "it waits, as campaign does");
    let start = tokio::time::Instant::now();
    let led = election.lead(async |term| term.check().is_ok());
    drop(candidate);
    assert!(within(2 * HOUR, "led after it", led).await.unwrap());
    assert!(start.elapsed() > HOUR / 2);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_leads_is_told_from_nobody_who_could_be_seen() {
    let store = MemoryStore::new();
    let _term = store.client("a").election("e").unwrap().campaign().await.unwrap();
    let late = store.client("b").election("e").unwrap().campaign_timeout(5 * SECOND).await;
    assert!(matches!(&late, Err(error @ Error::Timeout { .. }) if error.is_busy()), "{late:?}");
    until("nobody waits", || store.waiting("e") == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_in_an_outage_learns_of_it_at_its_deadline_by_each_of_its_views() {
    let store = MemoryStore::new();
    let term = store.client("a").election("e").unwrap().advertise("10.0.0.1").unwrap().campaign().await.unwrap();
    let (lease, token) = (term.lease(), term.cancellation_token());
    pass(100 * SECOND).await;
    store.outage(HOUR);
    let ended = within(DEADLINE + SECOND, "dropped", term.run(pending::<()>())).await.unwrap_err();
    assert!(matches!(ended, Error::Lost { reason: LossReason::Deadline, .. }) && ended.is_lost());
    token.cancelled().await;
    assert!(lease.check().is_err() && lease.remaining().is_zero());
    let resigned = within(SECOND, "nothing is waited for", term.resign()).await;
    assert!(matches!(resigned, Err(Error::Lost { .. })), "{resigned:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_shutdown_every_call_says_so_at_once() {
    let client = Client::builder().memory(&MemoryStore::new()).clock(msync::clock::TokioClock::default()).build();
    let election = client.election("e").unwrap();
    let term = election.campaign().await.unwrap();
    let (lease, mut candidate) = (term.lease(), client.election("f").unwrap().candidate());
    candidate.changed().await.unwrap();
    let (resigned, ()) = tokio::join!(
        async {
            assert_eq!(lease.lost().await, LossReason::ShutDown);
            term.resign().await
        },
        client.shutdown()
    );
    assert!(resigned.is_err_and(|error| error.is_shut_down()), "whoever resigns then is told what ended it");
    assert!(matches!(election.campaign().await, Err(Error::ShutDown)));
    assert!(matches!(election.try_campaign().await, Err(Error::ShutDown)));
    assert!(matches!(election.campaign_timeout(SECOND).await, Err(Error::ShutDown)));
    assert!(matches!(election.lead(async |_| ()).await, Err(Error::ShutDown)));
    while candidate.changed().await.is_ok() {}
    assert!(!candidate.is_leading() && candidate.fault().is_some_and(|fault| fault.is_shut_down()));
    let late = election.candidate();
    until("told", || late.fault().is_some_and(|fault| fault.is_shut_down())).await;
    assert!(client.held().is_empty() && client.waiting().is_empty() && client.is_shut_down());
}

/// A client with the clock of a test lives on the test's runtime, and ends with it; one with the real clock does not.
#[test]
fn when_the_runtime_of_an_injected_clock_has_ended_its_terms_have_as_well() {
    let store = MemoryStore::new();
    let runtime = || Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let first = runtime();
    let (term, candidate) = first.block_on(async {
        let (a, b) = (store.client("a"), store.client("b"));
        let term = a.election("e").unwrap().campaign().await.unwrap();
        let mut candidate = b.election("f").unwrap().candidate();
        candidate.changed().await.unwrap();
        (term, candidate)
    });
    drop(first);
    runtime().block_on(async move {
        assert_eq!(term.lost().await, LossReason::RuntimeEnded);
        assert!(term.check().is_err() && !candidate.is_leading());
        let resigned = term.resign().await;
        assert!(matches!(resigned, Err(Error::Lost { reason: LossReason::RuntimeEnded, .. })), "{resigned:?}");
        candidate.resign().await.expect("there is nothing left to give back");
    });
}

#[test]
fn with_the_real_clock_a_term_outlives_the_runtime_that_it_was_won_on() {
    let client = Client::standalone();
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let term = first.block_on(async { client.election("e").unwrap().campaign().await.unwrap() });
    drop(first);
    runtime().block_on(async move {
        term.check().expect("a thread of msync's own keeps it");
        term.resign().await.unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn what_is_advertised_outlives_an_outage_within_the_term() {
    let store = MemoryStore::new();
    let election = store.client("a").election("e").unwrap().advertise("10.0.0.1").unwrap();
    let term = election.campaign().await.unwrap();
    store.outage(6 * SECOND);
    pass(5 * SECOND).await;
    assert_eq!(advertised(&store), None, "it is written by a request of its own");
    pass(5 * SECOND).await;
    assert_eq!(advertised(&store).as_deref(), Some("10.0.0.1"));
    term.check().expect("such an outage ends no term");
}

#[tokio::test(start_paused = true)]
async fn what_is_advertised_is_never_put_up_for_a_term_that_is_over() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let election = client_of(faulty.clone(), "a").election("e").unwrap().advertise("10.0.0.1").unwrap();
    let term = election.campaign().await.unwrap();
    store.outage(HOUR);
    assert_eq!(term.lost().await, LossReason::Deadline);
    pass(TTL).await;
    let asked = faulty.count(Kind::Advertise);
    assert!(asked > 1, "tried again while the term lasted");
    pass(2 * HOUR).await;
    assert_eq!((faulty.count(Kind::Advertise), advertised(&store)), (asked, None));
    drop(term);
    let term = election.campaign().await.unwrap();
    until("put up for the next term", || advertised(&store).is_some()).await;
    store.take_over("e");
    assert_eq!(term.lost().await, LossReason::TakenOver);
    let seen = store.client("watcher").election("e").unwrap().observe().next().await.unwrap().expect("a leader");
    assert_eq!((seen.owner(), seen.advert()), ("somebody-else", None), "what stands there is out of date");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_the_tries_to_advertise() {
    let store = MemoryStore::new();
    let faulty = Faulty::new(store.clone());
    let client = client_of(faulty.clone(), "a");
    let term = client.election("e").unwrap().advertise("10.0.0.1").unwrap().campaign().await.unwrap();
    store.outage(5 * SECOND);
    pass(SECOND).await;
    let ((), reason) = tokio::join!(client.shutdown(), async {
        let reason = term.lost().await;
        drop(term);
        reason
    });
    assert_eq!(reason, LossReason::ShutDown);
    let asked = faulty.count(Kind::Advertise);
    pass(HOUR).await;
    assert_eq!((faulty.count(Kind::Advertise), advertised(&store)), (asked, None));
}

fn advertised(store: &MemoryStore) -> Option<String> {
    tests::memory::record(store, "e").and_then(|record| record.advert().map(str::to_owned))
}

#[tokio::test(start_paused = true)]
async fn an_observer_sees_nobody_in_an_outage_and_goes_on_after_it() {
    let store = MemoryStore::new();
    let mut leaders = store.client("watcher").election("e").unwrap().observe();
    assert_eq!(leaders.next().await, Some(None));
    let leads = tokio::spawn({
        let election = store.client("a").election("e").unwrap();
        async move { election.lead(async |_term| pending::<()>().await).await }
    });
    assert_eq!(leaders.next().await.unwrap().expect("a leads").owner(), "a");
    store.outage(60 * SECOND);
    assert_eq!(within(2 * TTL, "counted as none", leaders.next()).await, Some(None));
    let again = within(120 * SECOND, "seen after it", leaders.next()).await.unwrap();
    assert_eq!(again.expect("a leads again").owner(), "a");
    leads.abort();
}

#[tokio::test(start_paused = true)]
async fn an_observer_whose_client_was_shut_down_is_told_of_no_end() {
    let store = MemoryStore::new();
    let client = store.client("watcher");
    let mut leaders = client.election("e").unwrap().observe();
    assert_eq!(leaders.next().await, Some(None));
    client.shutdown().await;
    let told = tokio::time::timeout(HOUR, leaders.next()).await;
    assert!(told.is_err(), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_label_is_nobodys_and_changes_nothing() {
    let store = MemoryStore::new();
    let election = store.client("a").election("e").unwrap().label_pod();
    let term = within(SECOND, "leads", election.campaign()).await.unwrap();
    store.outage(HOUR);
    assert_eq!(term.lost().await, LossReason::Deadline);
    let resigned = within(SECOND, "nothing is waited for", term.resign()).await;
    assert!(matches!(resigned, Err(Error::Lost { .. })), "{resigned:?}");
}
