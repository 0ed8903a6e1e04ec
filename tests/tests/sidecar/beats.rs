//! Whoever holds is served before any question of queues: beats beside others who wait, in paused time.

use std::time::Duration;

use msync_compat_sidecar::api::{Outcome, Verb};
use tokio::time::Instant;

use crate::{
    memory::{Shared, Sidecar, wait},
    waits::{asked, outcome, put_waiting, token},
};

/// The clients that hold, by id and by the ttl that they name.
const HOLDERS: [(Option<&str>, Option<u64>); 4] =
    [(None, None), (Some("holder"), None), (Some("holder"), Some(30)), (None, Some(30))];

fn put(ttl: Option<u64>) -> Verb {
    Verb::Put { wait: Duration::ZERO, ttl: ttl.map(Duration::from_secs) }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_beats_is_never_refused_while_others_wait() {
    for (client, ttl) in HOLDERS {
        for pause in [5, 10, 14] {
            let shared = Shared::default();
            let (a, b) = (shared.sidecar("a", None), shared.sidecar("b", None));
            let first = token(&a.ask_as(client, put(ttl)).await);
            let here = asked(&a, Some("waiter"), put_waiting(300)).await;
            let nameless = match client {
                Some(_) => Some(asked(&a, None, put_waiting(300)).await),
                None => None,
            };
            let there = asked(&b, None, put_waiting(300)).await;
            for beat in 1..=60 / pause {
                wait(f64::from(pause)).await;
                let answer = a.ask_as(client, put(ttl)).await;
                assert!(matches!(answer, Outcome::Good(_)), "{client:?} {ttl:?}, beat {beat}: {answer:?}");
                assert_eq!(token(&answer), first, "the same hold");
                let looked = a.ask_as(client, Verb::Get).await;
                assert_eq!(token(&looked), first, "a heartbeat's GET, too");
            }
            assert!(!here.is_finished() && !there.is_finished() && nameless.is_none_or(|task| !task.is_finished()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_was_refused_a_beat_in_time_may_not_overtake_those_who_wait() {
    let shared = Shared::default();
    let a = shared.sidecar("a", None);
    a.put().await.unwrap();
    let waiting = asked(&a, Some("waiter"), put_waiting(300)).await;
    wait(30.5).await;
    assert!(matches!(outcome(waiting).await, Outcome::Good(_)), "it was silent for its thirty seconds");
    assert!(matches!(a.ask(Verb::PUT).await, Outcome::Taken(_)));
}

/// Many connections of one client, as several processes of a pod without ids are: none waits for the others' renewals.
#[tokio::test(start_paused = true)]
async fn many_beats_of_one_client_do_not_queue_behind_each_other_while_the_api_server_is_frozen() {
    let shared = Shared::default();
    let a = shared.sidecar("a", None);
    a.put().await.unwrap();
    wait(5.1).await;
    shared.freeze(true);
    // 18 s of our own deadline are left then, and the client is due for a new expiry.
    wait(16.5 - 5.1).await;
    let start = Instant::now();
    let mut beats = Vec::new();
    for _ in 0..50 {
        let sidecar = Sidecar(a.0.clone());
        beats.push(tokio::spawn(async move { sidecar.ask(Verb::PUT).await }));
    }
    for beat in beats {
        let answer = outcome(beat).await;
        assert!(matches!(answer, Outcome::Good(_)), "{answer:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    shared.freeze(false);
}

/// A release or an attempt of another holds the turn of the name as long as the API server is silent.
#[tokio::test(start_paused = true)]
async fn a_beat_does_not_wait_for_what_others_ask_of_the_same_lock() {
    let shared = Shared::default();
    let a = shared.sidecar("a", None);
    a.ask_as(Some("holder"), Verb::PUT).await;
    wait(5.1).await;
    shared.freeze(true);
    wait(11.0).await;
    let mut others = Vec::new();
    for verb in [Verb::Delete, Verb::PUT, Verb::POST, put_waiting(60), Verb::Get] {
        others.push(asked(&a, Some("other"), verb).await);
    }
    let start = Instant::now();
    let answer = a.ask_as(Some("holder"), Verb::PUT).await;
    assert!(matches!(answer, Outcome::Good(_)), "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    shared.freeze(false);
    for other in others {
        other.abort();
    }
}
