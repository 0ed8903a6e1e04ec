//! Heads: stalled, endless, malformed, several at once.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::{
    common::{Child, PATIENCE, connect, read_reply, talk},
    get, only, served,
};

#[test]
fn a_stalled_head_is_408_while_others_are_served() {
    let served = served();
    let mut stalled: Vec<TcpStream> = (0..100).map(|_| connect(served.address)).collect();
    for stream in &mut stalled {
        stream.write_all(b"GET /locks/a HTTP/1.1\r\nHos").unwrap();
    }
    served.serves_a_good_request();
    for mut stream in stalled {
        let reply = read_reply(&mut stream).unwrap();
        assert_eq!((reply.status, reply.closes()), (408, true));
    }
}

#[test]
fn a_head_that_trickles_is_408_in_time() {
    let served = served();
    let mut stream = connect(served.address);
    let begun = Instant::now();
    stream.write_all(b"GET /locks/a HTTP/1.1\r\nX: ").unwrap();
    let mut trickle = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        while trickle.write_all(b"y").is_ok() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(read_reply(&mut stream).unwrap().status, 408);
    assert!(begun.elapsed() < PATIENCE);
    served.serves_a_good_request();
}

#[test]
fn a_head_of_64_mib_is_431_in_bounded_memory() {
    let child = Child::start();
    let before = child.memory_kib();
    let mut stream = connect(child.address);
    let mut sender = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let chunk = vec![b'a'; 64 * 1024];
        sender.write_all(b"GET /locks/a HTTP/1.1\r\nX: ").unwrap();
        for _ in 0..1024 {
            if sender.write_all(&chunk).is_err() {
                return;
            }
        }
    });
    assert_eq!(read_reply(&mut stream).unwrap().status, 431);
    sending.join().unwrap();
    assert!(child.memory_kib() < before + 8 * 1024, "{before} -> {}", child.memory_kib());
    child.serves_a_good_request();
}

#[test]
fn a_head_just_over_the_limit_is_431() {
    let served = served();
    let pad = |size: usize| get(&format!("X: {}\r\n", "a".repeat(size)));
    assert_eq!(only(&served, pad(15 * 1024)).status, 404);
    assert_eq!(only(&served, pad(17 * 1024)).status, 431);
    assert_eq!(only(&served, get(&"A: b\r\n".repeat(200))).status, 431);
}

#[test]
fn bare_line_feeds_nul_and_control_bytes_are_400() {
    let served = served();
    for bytes in [
        b"GET /locks/a HTTP/1.1\n\n".as_slice(),
        b"GET /locks/a HTTP/1.1\r\nA: b\n\r\n",
        b"GET /locks/\0 HTTP/1.1\r\n\r\n",
        b"GET /locks/a HTTP/1.1\r\nA: \0\r\n\r\n",
        b"GET /locks/a HTTP/1.1\r\nA\0: b\r\n\r\n",
        b"\0\x01\x02\x03\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
        b"GET /locks/a\r\n\r\n",
        b"garbage\r\n\r\n",
    ] {
        assert_eq!(only(&served, bytes).status, 400, "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(only(&served, "GET /locks/a HTTP/2.0\r\n\r\n").status, 505);
}

#[test]
fn many_empty_lines_before_a_request_are_skipped_however_they_come() {
    let served = served();
    let ask = "GET /locks/absent HTTP/1.1\r\nConnection: close\r\n\r\n";
    for lines in [1, 2, 3, 511, 512, 513, 3000] {
        assert_eq!(only(&served, "\r\n".repeat(lines) + ask).status, 404, "{lines}");
    }
    let mut stream = connect(served.address);
    for piece in ["\r", "\n\r", "\n", "\r\n\r", "\n", ask] {
        stream.write_all(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(read_reply(&mut stream).unwrap().status, 404);
    assert_eq!(only(&served, "\r\n".repeat(20_000)).status, 400, "but not for ever");
}

#[test]
fn http_1_0_is_answered_and_closed() {
    let served = served();
    let reply = only(&served, "GET /locks/absent HTTP/1.0\r\n\r\n");
    assert_eq!((reply.status, reply.closes()), (404, true));
    assert!(only(&served, "GET /locks/absent HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").closes());
    assert_eq!(only(&served, "PUT /locks/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").status, 400);
}

#[test]
fn head_is_get_without_a_body() {
    let served = served();
    let mut stream = connect(served.address);
    stream.write_all(b"HEAD /locks/a HTTP/1.1\r\n\r\nGET /locks/a HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let heads: Vec<&str> = text.split("\r\n\r\n").collect();
    assert_eq!(heads.len(), 3, "{text}");
    assert!(heads[0].starts_with("HTTP/1.1 200 OK") && heads[1].starts_with("HTTP/1.1 200 OK"), "{text}");
    served.serves_a_good_request();
}

#[test]
fn a_refused_head_request_gets_no_body_either() {
    let served = served();
    for (request, status) in [
        ("HEAD /locks/%zz HTTP/1.1\r\n\r\n", 400),
        ("\r\nHEAD /locks/a HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        ("HEAD /locks/a HTTP/1.1\nHost: localhost\n\n", 400),
        ("HEAD /locks/a HTTP/1.1\r\nContent-Length: 70000\r\n\r\n", 413),
    ] {
        let mut stream = connect(served.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {head}");
        assert_eq!(body, "", "{request:?}");
    }
    served.serves_a_good_request();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let served = served();
    let put = "PUT /locks/a HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /";
    let chunked = "PUT /locks/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nPU\r\n0\r\n\r\n";
    let many = format!("\r\n\r\n{put}GET /locks/absent HTTP/1.1\r\n\r\n{chunked}\r\n{}", get(""));
    let statuses: Vec<u16> = talk(served.address, many.as_bytes()).iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 404, 200, 404]);
    served.serves_a_good_request();
}
