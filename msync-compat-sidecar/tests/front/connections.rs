//! Connections: how many, for how long, and with few descriptors.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use msync_compat_sidecar::front::Limits;

use crate::{
    common::{Child, PATIENCE, Served, Stub, connect, descriptors_allowed, read_replies, read_reply, talk},
    get, quick, served,
};

#[test]
fn an_idle_connection_is_kept_and_then_closed() {
    let idle = Duration::from_millis(400);
    let served = Served::start(Limits { idle_time: idle, ..quick() }, Stub::default());
    let mut stream = connect(served.address);
    for _ in 0..2 {
        std::thread::sleep(idle / 2);
        stream.write_all(b"GET /locks/absent HTTP/1.1\r\n\r\n").unwrap();
        let reply = read_reply(&mut stream).unwrap();
        assert_eq!((reply.status, reply.closes()), (404, false));
    }
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
}

/// None of them can make room: each is owed an answer.
#[test]
fn connections_past_the_limit_are_told_so() {
    let served = Served::start(Limits { connections: 4, ..quick() }, Stub::default());
    let mut kept: Vec<TcpStream> = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(served.address);
        stream.write_all(b"GET /locks/a HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(read_reply(&mut stream).unwrap().status, 200);
        stream.write_all(b"PUT /locks/never?wait=300 HTTP/1.1\r\n\r\n").unwrap();
        kept.push(stream);
    }
    let begun = Instant::now();
    let told = || talk(served.address, get("").as_bytes()).pop();
    while told().is_none_or(|reply| (reply.status, reply.closes()) != (503, true)) {
        assert!(begun.elapsed() < PATIENCE);
    }
    drop(kept);
    served.serves_a_good_request();
}

#[test]
fn ten_thousand_idle_connections_are_borne() {
    let child = Child::start();
    child.serves_a_good_request();
    let (threads, memory) = (child.threads(), child.memory_kib());
    let allowed = descriptors_allowed();
    let count = 10_000.min(allowed * 8 / 10);
    let idle: Vec<TcpStream> = (0..count).map(|_| connect(child.address)).collect();
    child.serves_a_good_request();
    assert!(child.threads() <= threads + 16, "{threads} -> {}", child.threads());
    let grown = child.memory_kib().saturating_sub(memory);
    assert!(grown < 64 * 1024, "{count} idle connections cost {grown} KiB");
    drop(idle);
    child.serves_a_good_request();
}

#[test]
fn exhausted_descriptors_are_survived() {
    let child = Child::start();
    child.serves_a_good_request();
    let open = child.descriptors();
    child.limit_descriptors(u64::try_from(open).unwrap() + 10);
    let many: Vec<TcpStream> = (0..50).map(|_| connect(child.address)).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(many);
    child.serves_a_good_request();
    child.limit_descriptors(4096);
    child.serves_a_good_request();
}

#[test]
fn few_descriptors_mean_fewer_connections_not_a_crash() {
    let child = Child::with_descriptors(256);
    let mut many: Vec<TcpStream> = (0..200).map(|_| connect(child.address)).collect();
    for stream in &mut many {
        // The refused ones have been closed already.
        let _ = stream.write_all(b"GET /locks/a HTTP/1.1\r\n\r\n");
    }
    let answered: Vec<u16> =
        many.iter_mut().filter_map(|stream| read_replies(stream, 1).pop()).map(|reply| reply.status).collect();
    assert!(answered.iter().all(|status| [200, 503].contains(status)), "{answered:?}");
    assert!(answered.len() >= 60 && answered.contains(&200), "{answered:?}");
    drop(many);
    child.serves_a_good_request();
}

/// Go's binding never closes a body: each request leaks its connection for 10 s.
#[test]
fn a_connection_leaked_per_request_is_borne() {
    let served = served();
    let leaked: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = connect(served.address);
            stream.write_all(b"PUT /locks/a HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap();
            stream
        })
        .collect();
    served.serves_a_good_request();
    drop(leaked);
}

/// Old clients open a connection for each beat.
#[test]
fn a_flood_of_connections_does_not_keep_new_ones_out() {
    let limits = Limits { connections: 50, idle_time: Duration::from_secs(10), ..Limits::default() };
    let served = Served::start(limits, Stub::default());
    let mut served_once = connect(served.address);
    served_once.write_all(b"GET /locks/a HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut served_once).unwrap().status, 200);
    let flood: Vec<TcpStream> = (0..200)
        .map(|at| {
            let mut stream = connect(served.address);
            stream.write_all(if at % 2 == 0 { b"GET /lo" } else { b"" }).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        served.serves_a_good_request();
    }
    served_once.write_all(b"GET /locks/a HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut served_once).unwrap().status, 200, "who was served goes last");
    let answered: Vec<u16> =
        flood.into_iter().flat_map(|mut one| read_replies(&mut one, 1)).map(|one| one.status).collect();
    assert!(answered.iter().all(|status| [408, 503].contains(status)), "{answered:?}");
}
