//! Requests that wait by their client's wish: without threads, beside others, and no longer than the client listens.
#![allow(clippy::disallowed_methods, reason = "sockets need real time; limits are generous")]

mod common;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::{Child, PATIENCE, Served, Stub, connect, descriptors_allowed, read_reply, talk};
use msync_compat_sidecar::front::Limits;

const WAITS: &[u8] = b"PUT /locks/never?wait=300 HTTP/1.1\r\nContent-Length: 0\r\n\r\n";

fn served(limits: Limits) -> (Stub, Served) {
    let stub = Stub::default();
    (stub.clone(), Served::start(limits, stub))
}

fn waiting(served: &Served) -> TcpStream {
    let mut stream = connect(served.address);
    stream.write_all(WAITS).unwrap();
    stream
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_that_hangs_up_waits_no_longer() {
    let (stub, served) = served(Limits::default());
    for hang_up in ["close", "shut down", "pipeline first"] {
        let mut stream = waiting(&served);
        eventually("it waits", || stub.waiting() == 1);
        match hang_up {
            "shut down" => stream.shutdown(Shutdown::Write).unwrap(),
            "pipeline first" => stream.write_all(WAITS).unwrap(),
            _ => {}
        }
        if hang_up != "shut down" {
            drop(stream);
        }
        eventually(hang_up, || stub.waiting() == 0);
    }
    served.serves_a_good_request();
}

/// However much it has sent before, which nobody reads while it waits.
#[test]
fn a_hang_up_behind_unread_bytes_is_noticed() {
    let (stub, served) = served(Limits::default());
    for size in [900, 1100, 17 * 1024, 3 << 20] {
        let mut stream = waiting(&served);
        eventually("it waits", || stub.waiting() == 1);
        let junk = vec![b'x'; size];
        // A part of what is large stays on this side, where it is lost with the connection.
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let _ = stream.write_all(&junk);
        drop(stream);
        eventually("it has left the queue", || stub.waiting() == 0);
    }
    served.serves_a_good_request();
}

#[test]
fn who_sends_more_than_can_be_kept_while_it_waits_has_this_answer_and_no_other() {
    let (_, served) = served(Limits::default());
    let mut stream = connect(served.address);
    let pipelined = b"GET /locks/absent HTTP/1.1\r\n\r\n".repeat(700);
    stream.write_all(b"PUT /locks/slow?wait=60 HTTP/1.1\r\n\r\n").unwrap();
    stream.write_all(&pipelined).unwrap();
    let reply = read_reply(&mut stream).unwrap();
    assert_eq!((reply.status, reply.closes()), (200, true));
    assert!(read_reply(&mut stream).is_none());
}

#[test]
fn a_request_behind_a_long_one_is_answered_after_it() {
    let (_, served) = served(Limits::default());
    let mut stream = connect(served.address);
    stream.write_all(b"PUT /locks/slow?wait=60 HTTP/1.1\r\n\r\nGET /locks/absent HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut stream).unwrap().status, 200);
    assert_eq!(read_reply(&mut stream).unwrap().status, 404);
}

#[test]
fn a_wait_is_not_cut_short_by_the_limit_of_answers() {
    let (_, served) = served(Limits { answer_time: Duration::from_millis(300), ..Limits::default() });
    let mut stream = connect(served.address);
    stream.write_all(b"PUT /locks/slow HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut stream).unwrap().status, 503);
    stream.write_all(b"PUT /locks/slow?wait=60 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut stream).unwrap().status, 200);
}

#[test]
fn those_who_wait_leave_room_for_beats() {
    let (stub, served) = served(Limits { pending: 4, ..Limits::default() });
    let _two = [waiting(&served), waiting(&served)];
    eventually("two wait", || stub.waiting() == 2);
    let mut third = waiting(&served);
    assert_eq!(read_reply(&mut third).unwrap().status, 503);
    served.serves_a_good_request();
}

#[test]
fn the_client_id_goes_along() {
    let (_, served) = served(Limits::default());
    let put = |fields: &str| {
        let request = format!("PUT /locks/n HTTP/1.1\r\nConnection: close\r\n{fields}\r\n");
        let reply = talk(served.address, request.as_bytes()).pop().unwrap();
        (reply.status, reply.body["spec"]["owner"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(put(""), (200, "stub".into()));
    assert_eq!(put("msync-client-id: Worker.1\r\n"), (200, "Worker.1".into()));
    for bad in ["Msync-Client-Id:\r\n", "Msync-Client-Id: a b\r\n", "Msync-Client-Id: \u{e9}\r\n"] {
        assert_eq!(put(bad).0, 400, "{bad}");
    }
    assert_eq!(put("Msync-Client-Id: a\r\nMsync-Client-Id: a\r\n").0, 400);
}

#[test]
fn a_thousand_waits_cost_neither_threads_nor_much_memory() {
    let child = Child::start();
    child.serves_a_good_request();
    let threads = child.threads();
    assert!(descriptors_allowed() > 1100, "1,000 connections need them");
    let streams: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut stream = connect(child.address);
            stream.write_all(WAITS).unwrap();
            stream
        })
        .collect();
    // Their descriptors say that all have arrived: one for each client, and two for the way on.
    eventually("all wait", || child.descriptors() >= 3000);
    child.serves_a_good_request();
    let most = child.threads();
    assert!(most < threads + 40, "{threads} -> {most} threads while they came");
    // A server's workers may have been started since they were counted first.
    eventually("no thread is left of their coming", || child.threads() <= threads + 4);
    assert!(child.memory_kib() < 64 * 1024, "{} KiB", child.memory_kib());
    drop(streams);
    eventually("all have gone", || child.descriptors() < 200);
    child.serves_a_good_request();
}

/// Not a test: the server that a test runs in a process of its own.
#[test]
#[ignore = "run by other tests as a child process"]
fn child() {
    common::be_child();
}
