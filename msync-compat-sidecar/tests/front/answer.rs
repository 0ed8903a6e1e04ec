//! Answers that are long in coming, or do not come.

use std::{io::Write, net::TcpStream, time::Duration};

use msync_compat_sidecar::front::Limits;

use crate::{
    common::{Child, Reply, Served, Stub, connect, read_reply},
    only, quick, served,
};

#[test]
fn calls_that_wait_hold_up_nobody_and_cost_no_threads() {
    let child = Child::start();
    child.serves_a_good_request();
    let before = child.threads();
    let mut waiting: Vec<TcpStream> = (0..500).map(|_| connect(child.address)).collect();
    for stream in &mut waiting {
        stream.write_all(b"GET /locks/slow HTTP/1.1\r\n\r\n").unwrap();
    }
    for _ in 0..20 {
        child.serves_a_good_request();
    }
    // Few requests are on their way to being read at once.
    assert!(child.threads() < before + 40, "{before} -> {}", child.threads());
    for stream in &mut waiting {
        assert_eq!(read_reply(stream).unwrap().status, 200);
    }
}

#[test]
fn too_many_waiting_requests_are_503_and_the_connection_lives() {
    let limits = Limits { pending: 4, ..quick() };
    let served = Served::start(limits, Stub::default());
    let mut waiting: Vec<TcpStream> = (0..8).map(|_| connect(served.address)).collect();
    for stream in &mut waiting {
        stream.write_all(b"GET /locks/slow HTTP/1.1\r\n\r\n").unwrap();
    }
    let replies: Vec<Reply> = waiting.iter_mut().map(|stream| read_reply(stream).unwrap()).collect();
    assert_eq!(replies.iter().filter(|reply| reply.status == 503 && !reply.closes()).count(), 4);
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 4);
    served.serves_a_good_request();
}

#[test]
fn an_answer_that_does_not_come_is_503_in_time() {
    let limits = Limits { answer_time: Duration::from_millis(200), ..quick() };
    let served = Served::start(limits, Stub::default());
    assert_eq!(only(&served, "GET /locks/slow HTTP/1.1\r\nConnection: close\r\n\r\n").status, 503);
}

#[test]
fn a_panic_behind_the_front_is_500_and_hurts_nobody_else() {
    let served = served();
    for name in ["panic", "panic-later"] {
        for _ in 0..4 {
            let reply = only(&served, format!("GET /locks/{name} HTTP/1.1\r\nConnection: close\r\n\r\n"));
            assert_eq!(reply.status, 500);
        }
    }
}
