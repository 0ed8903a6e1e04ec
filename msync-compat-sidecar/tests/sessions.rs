//! What clients are told, over a stand-in for the engine and a clock that the test moves: the states of the contract's
//! section 2, the recorded pairs, and the answers while the API server gives none.
#![allow(clippy::disallowed_methods, reason = "waits for conditions with generous limits")]

mod common;

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use common::store::{Engine, World};
use common::{PATIENCE, Reply, Served, connect, read_reply};
use jiff::Timestamp;
use msync_compat_sidecar::front::Limits;
use msync_compat_sidecar::session::Sessions;
use serde_json::Value;

/// Two sidecars over one store.
struct Pair {
    world: World,
    a: (Sessions<Engine>, Served),
    b: (Sessions<Engine>, Served),
}

impl Pair {
    fn new() -> Self {
        let world = World::new();
        let serve = |owner| {
            let sessions = world.sessions(owner);
            let served = Served::start(Limits::default(), sessions.clone());
            (sessions, served)
        };
        let (a, b) = (serve("host-a"), serve("host-b"));
        Self { world, a, b }
    }

    /// Moves the clock and lets both sidecars end what is over.
    fn at(&self, seconds: f64) {
        self.world.set(Duration::from_secs_f64(seconds));
        for (sessions, served) in [&self.a, &self.b] {
            let handle = served.handle();
            let _entered = handle.enter();
            sessions.sweep();
        }
        for ((sessions, _), owner) in [(&self.a, "host-a"), (&self.b, "host-b")] {
            eventually(|| self.world.frozen() || self.world.owned(owner) <= sessions.held());
        }
    }

    fn ask(&self, to: &str, method: &str, target: &str, body: &str) -> Reply {
        let length = body.len();
        self.raw(to, &format!("{method} {target} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}"))
    }

    fn raw(&self, to: &str, bytes: &str) -> Reply {
        let served = if to == "A" { &self.a.1 } else { &self.b.1 };
        let mut stream = connect(served.address);
        stream.write_all(bytes.as_bytes()).unwrap();
        read_reply(&mut stream).expect("an answer")
    }

    fn status(&self, to: &str, method: &str) -> u16 {
        self.ask(to, method, "/locks/n", "").status
    }
}

fn eventually(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn recorded_pairs_are_answered_as_by_the_original() {
    let recorded: Value = serde_json::from_str(include_str!("data/examples.json")).unwrap();
    let mut sequences: Vec<(String, Vec<Value>)> = Vec::new();
    for example in recorded["examples"].as_array().unwrap() {
        let (sequence, _) = example["id"].as_str().unwrap().split_once('/').unwrap();
        match sequences.last_mut().filter(|(name, _)| name == sequence) {
            Some((_, examples)) => examples.push(example.clone()),
            None => sequences.push((sequence.to_owned(), vec![example.clone()])),
        }
    }
    for (sequence, examples) in sequences.iter().filter(|(_, examples)| examples[0]["class"] == "contract") {
        replay(sequence, examples);
    }
}

fn replay(sequence: &str, examples: &[Value]) {
    let pair = Pair::new();
    let name = format!("run-{sequence}");
    let mut versions = HashMap::new();
    if sequence.starts_with("time-") || sequence == "put-steal" {
        let made = pair.ask("A", "PUT", &format!("/locks/{name}"), "");
        versions.insert("rv0".to_owned(), made.body["metadata"]["resourceVersion"].clone());
    }
    for example in examples {
        let request = &example["request"];
        pair.at(request["at_s"].as_f64().unwrap_or(0.0));
        let reply = send(&pair, request, &name);
        let answer = &example["answer"];
        let id = &example["id"];
        assert_eq!(Value::from(reply.status), answer["status"], "{id}: {reply:?}");
        if answer["closes"] == true {
            assert!(reply.closes(), "{id}");
        }
        compare(&reply.body, &answer["body"], pair.world.now().wall, &mut versions, id);
    }
}

fn send(pair: &Pair, request: &Value, name: &str) -> Reply {
    let field = |key: &str| request[key].as_str().unwrap_or_default().replace("{n}", name).replace("$A", "host-a");
    let version = request["version"].as_str().unwrap_or("HTTP/1.1");
    let (method, target, body) = (field("method"), field("target"), field("body"));
    let framed = if request["chunked"] == true {
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    } else {
        format!("Content-Length: {}\r\n\r\n{body}", body.len())
    };
    pair.raw(&field("to"), &format!("{method} {target} {version}\r\n{framed}"))
}

/// Compares as the notation of the examples says: offsets in seconds, owners and versions by name.
fn compare(got: &Value, wanted: &Value, now: Timestamp, versions: &mut HashMap<String, Value>, id: &Value) {
    match wanted {
        Value::Object(fields) if fields.contains_key("$offset_s") => {
            let text = got.as_str().unwrap();
            assert_eq!(text.len(), "2026-11-22T14:03:40.534Z".len(), "{id}: {text}");
            let offset = text.parse::<Timestamp>().unwrap().duration_since(now).as_secs_f64();
            let wanted = fields["$offset_s"].as_f64().unwrap();
            assert!((offset - wanted).abs() < 0.25, "{id}: {offset} for {wanted}");
        }
        Value::Object(fields) => {
            let keys = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
            assert_eq!(keys(got), keys(wanted), "{id}");
            for (key, wanted) in fields {
                compare(&got[key], wanted, now, versions, id);
            }
        }
        Value::String(text) if text == "$A" => assert_eq!(got, "host-a", "{id}"),
        Value::String(text) if text == "$B" => assert_eq!(got, "host-b", "{id}"),
        Value::String(text) if text.starts_with("rv") => {
            let known = versions.entry(text.clone()).or_insert_with(|| got.clone());
            assert_eq!(known, got, "{id}");
        }
        _ => assert_eq!(got, wanted, "{id}"),
    }
}

#[test]
fn the_states_of_the_contract_have_its_statuses() {
    let pair = Pair::new();
    let row = |wanted: [u16; 3]| {
        // PUT last, as it alone takes over.
        assert_eq!(pair.status("B", "GET"), wanted[0]);
        assert_eq!(pair.status("B", "POST"), wanted[2]);
        assert_eq!(pair.status("B", "PUT"), wanted[1]);
    };
    assert_eq!(pair.status("B", "GET"), 404);
    assert_eq!(pair.status("A", "POST"), 200);
    row([200, 409, 409]);
    pair.at(31.0);
    row([200, 200, 409]);
    pair.at(50.0);
    row([200, 200, 409]);
    assert_eq!(pair.status("A", "PUT"), 409);
}

#[test]
fn two_clients_of_one_sidecar_share_a_lock() {
    let pair = Pair::new();
    assert_eq!(pair.status("A", "PUT"), 200);
    assert_eq!(pair.status("A", "PUT"), 200);
    assert_eq!(pair.status("B", "PUT"), 409);
}

#[test]
fn a_client_that_stops_beating_loses_its_lock_to_the_next_that_asks() {
    let pair = Pair::new();
    assert_eq!(pair.status("A", "PUT"), 200);
    for at in [10.0, 20.0] {
        pair.at(at);
        assert_eq!(pair.status("A", "PUT"), 200);
    }
    pair.at(49.0);
    assert_eq!(pair.status("B", "PUT"), 409);
    pair.at(50.1);
    eventually(|| pair.status("B", "PUT") == 200);
    assert_eq!(pair.status("A", "PUT"), 409);
}

#[test]
fn a_beat_while_the_lease_is_fresh_costs_no_request() {
    let pair = Pair::new();
    assert_eq!(pair.status("A", "PUT"), 200);
    let before = pair.world.requests();
    for _ in 0..50 {
        assert_eq!(pair.status("A", "GET"), 200);
        assert_eq!(pair.status("A", "PUT"), 200);
        assert_eq!(pair.status("A", "POST"), 409);
    }
    assert_eq!(pair.world.requests(), before);
}

#[test]
fn a_get_of_a_lock_held_elsewhere_costs_one_request() {
    let pair = Pair::new();
    assert_eq!(pair.status("A", "PUT"), 200);
    let before = pair.world.requests();
    assert_eq!(pair.status("B", "GET"), 200);
    assert_eq!(pair.world.requests(), before + 1);
}

#[test]
fn a_frozen_api_server_turns_beats_into_409_before_the_deadline() {
    let pair = Pair::new();
    assert_eq!(pair.status("A", "PUT"), 200);
    pair.world.freeze(true);
    pair.at(10.0);
    assert_eq!(pair.status("A", "PUT"), 200);
    pair.at(18.0);
    let reply = pair.ask("A", "PUT", "/locks/n", "");
    let expiry: Timestamp = reply.body["spec"]["expiry"].as_str().unwrap().parse().unwrap();
    assert_eq!(reply.status, 200);
    let left = expiry.duration_since(pair.world.now().wall).as_secs_f64();
    assert!((left - 12.0).abs() < 0.1, "the expiry shown is our own deadline: {left}");
    pair.at(18.1);
    let begun = Instant::now();
    assert_eq!(pair.status("A", "PUT"), 409);
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert_eq!(pair.status("A", "GET"), 200);
    pair.world.freeze(false);
    eventually(|| pair.status("B", "PUT") == 200);
}

#[test]
fn a_stale_hold_that_can_be_renewed_answers_200() {
    let pair = Pair::new();
    assert_eq!(pair.status("A", "PUT"), 200);
    pair.world.freeze(true);
    pair.at(19.0);
    let world = pair.world.clone();
    let thaw = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        world.freeze(false);
    });
    assert_eq!(pair.status("A", "PUT"), 200);
    thaw.join().unwrap();
}

#[test]
fn only_names_never_seen_get_503_while_the_api_server_is_down() {
    let pair = Pair::new();
    assert_eq!(pair.status("A", "PUT"), 200);
    assert_eq!(pair.status("B", "GET"), 200);
    pair.world.freeze(true);
    let ask = |method: &str, name: &str| {
        let begun = Instant::now();
        let status = pair.ask("B", method, &format!("/locks/{name}"), "").status;
        assert!(begun.elapsed() < Duration::from_secs(8), "{method} {name}");
        status
    };
    std::thread::scope(|scope| {
        let asked =
            [("GET", "n", 200), ("PUT", "n", 409), ("POST", "n", 409), ("GET", "new", 503), ("PUT", "new", 503)].map(
                |(method, name, status)| scope.spawn(move || assert_eq!(ask(method, name), status, "{method} {name}")),
            );
        for asked in asked {
            asked.join().unwrap();
        }
    });
    pair.world.freeze(false);
}

#[test]
fn a_lock_that_was_seen_stays_200_when_a_peer_deletes_it() {
    let pair = Pair::new();
    assert_eq!(pair.status("A", "PUT"), 200);
    assert_eq!(pair.status("B", "GET"), 200);
    pair.world.delete("n");
    assert_eq!(pair.status("B", "GET"), 200);
    pair.at(1.0);
    let reply = pair.ask("A", "GET", "/locks/n", "");
    assert_eq!((reply.status, reply.body["spec"]["owner"].as_str()), (200, Some("host-a")));
    assert_eq!(pair.ask("A", "GET", "/locks/other", "").status, 404);
}

#[test]
fn a_draining_sidecar_keeps_what_it_holds_and_takes_nothing_new() {
    let pair = Pair::new();
    assert_eq!(pair.status("A", "PUT"), 200);
    let sessions = pair.a.0.clone();
    let drained = pair.a.1.handle().spawn(async move { sessions.drain().await });
    eventually(|| pair.ask("A", "PUT", "/locks/new", "").status == 409);
    assert_eq!(pair.ask("A", "POST", "/locks/new2", "").status, 409);
    assert_eq!(pair.status("A", "PUT"), 200);
    assert!(!drained.is_finished());
    pair.at(31.0);
    eventually(|| drained.is_finished());
    assert_eq!(pair.status("B", "PUT"), 200);
}

#[test]
fn exactly_one_of_two_sidecars_takes_an_absent_lock() {
    let pair = Pair::new();
    for round in 0..50 {
        let target = format!("/locks/round-{round}");
        let statuses = std::thread::scope(|scope| {
            ["A", "B"]
                .map(|to| (to, scope.spawn(|| pair.ask(to, "PUT", &target, "").status)))
                .map(|(_, asked)| asked.join().unwrap())
        });
        assert!(statuses.contains(&200) && statuses.contains(&409), "{statuses:?}");
    }
}
