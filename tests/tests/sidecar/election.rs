//! Elections for pods of other languages: who leads, in paused time, and over the wire.

use std::time::Duration;

use anyhow::{Result, ensure};
use msync_compat_sidecar::{
    api::{Inquiry, Led, Name, Outcome, Request},
    server::Locks,
};
use serde_json::Value;
use tests::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    http::{Reply, send},
    memory::{Shared, Sidecar, wait},
    process::{self, prepared},
};

const LIMIT: Duration = Duration::from_secs(30);

async fn inquire(sidecar: &Sidecar, seen: Option<(&Led, u64)>) -> Led {
    let seen = seen.map(|(led, seconds)| (led.version, Duration::from_secs(seconds)));
    let inquiry = Inquiry { name: Name::new("e").unwrap(), asks: true, seen };
    match sidecar.0.call(Request::Election(inquiry)).await {
        Outcome::Leader(led) => led,
        other => panic!("{other:?}"),
    }
}

/// Asks every few seconds, as a client does, until somebody else or nobody leads than before.
async fn asked_until(sidecar: &Sidecar, leader: &str, seconds: u64) -> Led {
    for _ in 0..seconds {
        let led = inquire(sidecar, None).await;
        if led.leader == leader {
            return led;
        }
        wait(1.0).await;
    }
    panic!("{leader:?} is not shown after {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn one_pod_leads_and_all_are_told_the_same() {
    let shared = Shared::default();
    let (a, b) = (shared.candidate("a"), shared.candidate("b"));
    assert_eq!(inquire(&a, None).await.leader, "");
    let leads = asked_until(&a, "a", 5).await;
    let grant = leads.grant.expect("what it has");
    assert!(grant.token > 0 && grant.remaining <= Duration::from_secs(30), "{grant:?}");
    let follows = asked_until(&b, "a", 5).await;
    assert_eq!(follows.grant, None);
    for _ in 0..30 {
        wait(9.0).await;
        assert_eq!(inquire(&a, None).await.grant.map(|grant| grant.token), Some(grant.token));
        let led = inquire(&b, None).await;
        assert_eq!((led.leader.as_str(), led.since), ("a", follows.since), "nothing is news");
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_client_stops_asking_steps_down() {
    let shared = Shared::default();
    let (a, b) = (shared.candidate("a"), shared.candidate("b"));
    asked_until(&a, "a", 5).await;
    inquire(&a, None).await;
    let silent = Instant::now();
    let led = asked_until(&b, "b", 40).await;
    let took = silent.elapsed();
    assert!((29.0..33.0).contains(&took.as_secs_f64()), "{took:?}");
    assert!(led.grant.is_some());
    // A hung client that comes back is told, and stands behind.
    assert_eq!(inquire(&a, None).await.leader, "b");
}

#[tokio::test(start_paused = true)]
async fn a_pod_where_nobody_asks_does_not_lead() {
    let shared = Shared::default();
    let (_silent, b) = (shared.candidate("a"), shared.candidate("b"));
    wait(100.0).await;
    assert!(shared.store.names().is_empty(), "nobody campaigns");
    asked_until(&b, "b", 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_api_server_ends_what_the_leader_is_told_in_time() {
    let shared = Shared::default();
    let a = shared.candidate("a");
    asked_until(&a, "a", 5).await;
    wait(2.0).await;
    shared.freeze(true);
    let frozen = Instant::now();
    loop {
        let led = inquire(&a, None).await;
        if led.leader.is_empty() {
            break;
        }
        assert!(led.grant.unwrap().remaining >= Duration::from_secs(12), "{led:?}");
        wait(1.0).await;
    }
    assert!((12.0..24.0).contains(&frozen.elapsed().as_secs_f64()), "{:?}", frozen.elapsed());
    shared.freeze(false);
    asked_until(&a, "a", 60).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_leader_changes() {
    let shared = Shared::default();
    let (a, b) = (shared.candidate("a"), shared.candidate("b"));
    asked_until(&a, "a", 5).await;
    let seen = asked_until(&b, "a", 5).await;
    let start = Instant::now();
    let next = inquire(&b, Some((&seen, 25))).await;
    assert_eq!((next.leader.as_str(), next.version), ("a", seen.version), "unchanged");
    assert!(start.elapsed() >= Duration::from_secs(25));
    let news = inquire(&b, Some((&next, 60))).await;
    assert_eq!(news.leader, "b", "a has fallen silent");
    assert!(news.since > seen.since && news.version != seen.version);
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_ends_tells_its_client_and_steps_down() {
    let shared = Shared::default();
    let (a, b) = (shared.candidate("a"), shared.candidate("b"));
    asked_until(&a, "a", 5).await;
    asked_until(&b, "a", 5).await;
    let sessions = a.0.clone();
    let drained = tokio::spawn(async move { sessions.drain().await });
    wait(1.0).await;
    assert!(!drained.is_finished(), "its client does not know");
    assert_eq!(inquire(&b, None).await.leader, "a");
    assert_eq!(inquire(&a, None).await.leader, "");
    timeout(Duration::from_secs(2), drained).await.expect("it ends").unwrap();
    asked_until(&b, "b", 3).await;
}

#[tokio::test(start_paused = true)]
async fn an_election_that_was_not_named_is_none() {
    let shared = Shared::default();
    let a = shared.candidate("a");
    let inquiry = Inquiry { name: Name::new("other").unwrap(), asks: true, seen: None };
    assert_eq!(a.0.call(Request::Election(inquiry)).await, Outcome::NoElection);
}

async fn get(sidecar: &process::Sidecar, target: &str) -> Result<Reply> {
    send(sidecar.port(), &format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_elector_is_served_as_json_and_as_events() -> Result<()> {
    let spawn = prepared("pod-1").args(["--store", "memory", "--elections", "e,other"]);
    let sidecar = process::Sidecar::started(spawn).await?;
    let mut stream = TcpStream::connect(("127.0.0.1", sidecar.port())).await?;
    stream.write_all(b"GET /election/e/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut events = String::new();
    let reading = async {
        // Until the end, which comes after a while, so that a client must show that it lives.
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        events = String::from_utf8(bytes)?;
        anyhow::Ok(())
    };
    timeout(LIMIT + LIMIT, reading).await??;
    let (head, body) = events.split_once("\r\n\r\n").expect("a head");
    ensure!(head.starts_with("HTTP/1.1 200 OK") && head.contains("\r\nContent-Type: text/event-stream"), "{head}");
    ensure!(body.starts_with("retry: "), "{body}");
    let told: Vec<Value> = body
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let leaders: Vec<&str> = told.iter().filter_map(|event| event["name"].as_str()).collect();
    ensure!(leaders == ["", "pod-1"] || leaders == ["pod-1"], "{leaders:?}");
    let reply = get(&sidecar, "/election/e").await?;
    let fields: Vec<&String> = reply.body.as_object().expect("an object").keys().collect();
    ensure!(fields == ["last_update", "name"], "{fields:?}");
    ensure!(reply.body["name"] == "pod-1" && reply.body["last_update"] == told.last().expect("one")["last_update"]);
    ensure!(reply.body["last_update"].as_str().is_some_and(|date| date.parse::<jiff::Timestamp>().is_ok()));
    ensure!(reply.head.contains("Msync-Fencing-Token: ") && reply.head.contains("Msync-Remaining-Seconds: "));
    for (target, status) in [
        ("/election/unknown", 404),
        ("/election/unknown/stream", 404),
        ("/election/e/stream?wait=3", 400),
        ("/election/e/x", 404),
        ("/election/", 422),
        ("/election/E", 422),
    ] {
        let reply = get(&sidecar, target).await?;
        ensure!(reply.status == status, "{target}: {reply:?}");
    }
    eventually("the listing shows it", LIMIT, async || {
        let listing = get(&sidecar, "/locks").await.map(|reply| reply.body);
        listing.is_ok_and(|listing| listing["elections"][0]["leads"] == true && listing["elections"][1]["leader"] == "")
    })
    .await
}
