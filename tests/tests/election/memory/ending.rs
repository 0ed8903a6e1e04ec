//! How a leadership ends when its client does, or when nobody is left who would lead.

use std::{future::pending, time::Duration};

use msync::MemoryStore;
use tests::memory::{client, drop_after, is_untouched, pass, record, until, within, yields};

use super::{campaign, candidates};

const SECOND: Duration = Duration::from_secs(1);

/// Whichever comes first, the hand-over or the end: whom the leader named leads next.
#[tokio::test(start_paused = true)]
async fn whom_a_leader_names_leads_next_though_its_client_is_shut_down() {
    for turns in 0..24 {
        for shut_first in [false, true] {
            let store = MemoryStore::new();
            let ending = client(&store, "first");
            let first = ending.election("e").unwrap().campaign().await.unwrap();
            let mut others = candidates(&store, &["a", "b"]).await;
            let said = format!("{turns} turns apart, shut down first: {shut_first}");
            let shutdown = tokio::spawn({
                let ending = ending.clone();
                async move {
                    yields(if shut_first { 0 } else { turns }).await;
                    ending.shutdown().await;
                }
            });
            yields(if shut_first { turns } else { 0 }).await;
            match within(SECOND, &said, first.hand_over_to("b")).await {
                Ok(found) => assert!(found, "{said}"),
                Err(error) => assert!(error.is_shut_down() && !error.is_lost(), "{said}: {error}"),
            }
            within(SECOND, &said, others.remove(1).1).await.unwrap().check().unwrap();
            within(SECOND, &said, shutdown).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_to_no_name_reaches_the_first_of_the_queue() {
    for nobody in ["", " ", "\0", "..", "first-of-all"] {
        let store = MemoryStore::new();
        let first = client(&store, "first").election("e").unwrap().campaign().await.unwrap();
        let mut others = candidates(&store, &["a", "b"]).await;
        assert!(!first.hand_over_to(nobody).await.unwrap(), "{nobody:?}");
        within(SECOND, "the first", others.remove(0).1).await.unwrap().check().unwrap();
    }
}

/// A candidate is a handle: it leads on without its client, and its end is that of the client if it is the last.
#[tokio::test(start_paused = true)]
async fn a_candidate_leads_on_without_its_client_and_ends_with_its_last_handle() {
    let store = MemoryStore::new();
    let a = client(&store, "a");
    let mut candidate = a.election("e").unwrap().candidate();
    drop(a);
    candidate.changed().await.unwrap();
    let next = campaign(&client(&store, "b"));
    let clone = candidate.clone();
    drop(candidate);
    pass(100 * SECOND).await;
    assert!(clone.is_leading() && !next.is_finished());
    drop(clone);
    within(SECOND, "the next leads at once", next).await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn s6_who_stands_by_and_is_dropped_at_any_turn_leaves_nothing() {
    for turns in 0..40 {
        let store = MemoryStore::new();
        let (a, b) = (client(&store, "a"), client(&store, "b"));
        let election = a.election("e").unwrap();
        drop_after(turns, election.lead(async |_term| pending::<()>().await)).await;
        let mut candidate = election.candidate();
        drop_after(turns, candidate.changed()).await;
        drop(candidate);
        let term = within(SECOND, "nobody else leads", campaign(&b)).await.unwrap();
        term.resign().await.unwrap();
        until("nobody waits", || is_untouched(&store, "e")).await;
        let writes = store.calls().writes();
        pass(600 * SECOND).await;
        assert_eq!((store.calls().writes(), record(&store, "e").unwrap().is_free()), (writes, true), "{turns} turns");
    }
}
