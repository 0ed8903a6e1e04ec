//! The front on hostile and odd input: each ends in the right answer, in bounded time, memory and threads, and the
//! next good request is served.
#![allow(clippy::disallowed_methods, reason = "sockets need real time; limits are generous")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::{PATIENCE, Reply, Served, Stub, connect, read_replies, read_reply, talk};
use msync_compat_sidecar::front::Limits;

fn quick() -> Limits {
    let short = Duration::from_millis(300);
    Limits { head_time: short, body_time: short, ..Limits::default() }
}

fn served() -> Served {
    Served::start(quick(), Stub::default())
}

/// The single answer to these bytes, after which a good request is served.
fn only(served: &Served, bytes: impl AsRef<[u8]>) -> Reply {
    let mut replies = talk(served.address, bytes.as_ref());
    assert_eq!(replies.len(), 1, "{replies:?}");
    served.serves_a_good_request();
    replies.remove(0)
}

fn get(fields: &str) -> String {
    format!("GET /locks/absent HTTP/1.1\r\nConnection: close\r\n{fields}\r\n")
}

#[test]
fn a_huge_content_length_without_a_body_is_413() {
    let served = served();
    for length in ["65537", "9000000000000000000", "18446744073709551615", "99999999999999999999999999"] {
        let reply = only(&served, format!("POST /locks HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"));
        assert_eq!(reply.status, 413, "{length}");
    }
}

#[test]
fn a_body_that_never_arrives_is_408() {
    let served = served();
    assert_eq!(only(&served, "POST /locks HTTP/1.1\r\nContent-Length: 20\r\n\r\n{").status, 408);
    assert_eq!(only(&served, "POST /locks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab").status, 408);
}

#[test]
fn a_body_cut_off_is_400() {
    let served = served();
    let mut stream = connect(served.address);
    stream.write_all(b"POST /locks HTTP/1.1\r\nContent-Length: 20\r\n\r\n{").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_reply(&mut stream).unwrap().status, 400);
    served.serves_a_good_request();
}

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
    let child = common::Child::start();
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
fn conflicting_lengths_and_smuggling_are_400_and_close() {
    let served = served();
    for fields in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length : 3\r\n",
        "Transfer-Encoding: chunked\r\n Content-Length: 3\r\n",
    ] {
        let smuggled = "0\r\n\r\nGET /locks/smuggled HTTP/1.1\r\n\r\n";
        let reply = only(&served, format!("POST /locks HTTP/1.1\r\n{fields}\r\n{smuggled}"));
        assert_eq!((reply.status, reply.closes()), (400, true), "{fields}");
    }
    let reply = only(&served, "POST /locks HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
    assert_eq!(reply.status, 501);
}

#[test]
fn a_chunked_body_is_read() {
    let served = served();
    let body = "8\r\n{\"metada\r\n11;x=y\r\nta\":{\"name\":\"a\"}}\r\n0\r\nT: 1\r\n\r\n";
    let head = "POST /locks HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(only(&served, format!("{head}{body}")).status, 200);
    assert_eq!(only(&served, format!("{head}x\r\n")).status, 400);
    assert_eq!(only(&served, format!("{head}FFFFFF\r\n")).status, 413);
}

#[test]
fn a_client_that_expects_100_is_invited() {
    let served = served();
    let mut stream = connect(served.address);
    let body = "{\"metadata\":{\"name\":\"a\"}}";
    let length = body.len();
    write!(stream, "POST /locks HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n").unwrap();
    let mut invitation = [0; 25];
    stream.read_exact(&mut invitation).unwrap();
    assert_eq!(&invitation, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(read_reply(&mut stream).unwrap().status, 200);

    assert_eq!(only(&served, get("Expect: a-miracle\r\n")).status, 417);
    let huge = "POST /locks HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n";
    assert_eq!(only(&served, huge).status, 413);
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
fn non_ascii_paths_are_answered_with_whole_bodies() {
    let served = served();
    let close = b" HTTP/1.1\r\nConnection: close\r\n\r\n";
    let ask = |target: &[u8]| only(&served, [b"GET ", target, close].concat());
    assert_eq!(ask("/locks/\u{e9}".as_bytes()).status, 422);
    assert_eq!(ask(b"/locks/\xe9").status, 422);
    assert_eq!(ask(b"/locks/%E9").status, 422);
    let reply = ask("/\u{e9}".as_bytes());
    assert_eq!((reply.status, reply.body["message"].as_str()), (404, Some("Unknown path: /\u{e9}")));
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
fn absolute_targets_are_served_when_they_name_loopback() {
    let served = served();
    let ask = |target: &str| {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        only(&served, bytes).status
    };
    assert_eq!(ask("http://localhost:8080/locks/absent"), 404);
    assert_eq!(ask("http://127.0.0.1/locks/a?#y"), 200);
    assert_eq!(ask("http://evil.example/locks/a"), 421);
    assert_eq!(ask("ftp://localhost/locks/a"), 400);
}

#[test]
fn odd_names_and_paths_are_clear_errors() {
    let served = served();
    let long = format!("/locks/{}", "a".repeat(254));
    for (target, status) in [
        ("/locks/a%2Fb", 400),
        ("/locks/..%2f", 422),
        ("/locks/..", 422),
        ("/locks/../../api", 400),
        ("/locks/%zz", 400),
        ("/locks/%", 400),
        ("/locks/[x]", 400),
        ("/locks/a b", 400),
        ("/locks/%20", 422),
        ("/locks/%00", 422),
        ("/locks/A", 422),
        (long.as_str(), 422),
        ("//locks/a", 400),
        ("locks/a", 400),
        ("/locksmith/x", 404),
        ("*", 404),
        ("/locks?x", 400),
    ] {
        let reply = only(&served, format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert_eq!(reply.status, status, "{target}");
    }
}

#[test]
fn invalid_utf8_and_deep_json_are_400() {
    let served = served();
    let deep = "[".repeat(60_000).into_bytes();
    for body in [b"{\"metadata\":{\"name\":\"\xff\"}}".to_vec(), deep, b"\0".to_vec()] {
        let head = format!("POST /locks HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(only(&served, [head.into_bytes(), body].concat()).status, 400);
    }
}

#[test]
fn other_methods_are_405_with_allow() {
    let served = served();
    for method in ["PATCH", "OPTIONS", "TRACE", "BREW", "get"] {
        let reply = only(&served, format!("{method} /locks/a HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert_eq!((reply.status, reply.field("allow")), (405, Some("GET, HEAD, PUT, POST, DELETE")), "{method}");
    }
}

#[test]
fn foreign_hosts_and_origins_are_refused() {
    let served = served();
    for (fields, status) in [
        ("", 404),
        ("Host:\r\n", 404),
        ("Host: localhost:1\r\n", 404),
        ("Host: [::1]:8080\r\nOrigin: http://localhost:3000\r\n", 404),
        ("Host: evil.example\r\n", 421),
        ("Host: localhost.evil.example:8080\r\n", 421),
        ("Host: localhost\r\nOrigin: https://evil.example\r\n", 403),
        ("Host: localhost\r\nHost: localhost\r\n", 400),
    ] {
        assert_eq!(only(&served, get(fields)).status, status, "{fields}");
    }
}

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

#[test]
fn calls_that_wait_hold_up_nobody_and_cost_no_threads() {
    let child = common::Child::start();
    child.serves_a_good_request();
    let before = child.threads();
    let mut waiting: Vec<TcpStream> = (0..500).map(|_| connect(child.address)).collect();
    for stream in &mut waiting {
        stream.write_all(b"GET /locks/slow HTTP/1.1\r\n\r\n").unwrap();
    }
    for _ in 0..20 {
        child.serves_a_good_request();
    }
    // Sixteen requests may be on their way to being read at once.
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

#[test]
fn ten_thousand_idle_connections_are_borne() {
    let child = common::Child::start();
    child.serves_a_good_request();
    let (threads, memory) = (child.threads(), child.memory_kib());
    let allowed = rustix_limit();
    let count = 10_000.min(allowed * 8 / 10);
    let idle: Vec<TcpStream> = (0..count).map(|_| connect(child.address)).collect();
    child.serves_a_good_request();
    assert!(child.threads() <= threads + 16, "{threads} -> {}", child.threads());
    let grown = child.memory_kib().saturating_sub(memory);
    assert!(grown < 64 * 1024, "{count} idle connections cost {grown} KiB");
    drop(idle);
    child.serves_a_good_request();
}

/// Descriptors this process may open, after raising its limit.
fn rustix_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let old = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: old.maximum, maximum: old.maximum });
    usize::try_from(getrlimit(Resource::Nofile).current.unwrap_or(1 << 20)).unwrap()
}

#[test]
fn exhausted_descriptors_are_survived() {
    let child = common::Child::start();
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
    let child = common::Child::with_descriptors(256);
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

/// Not a test: the server that some tests run in a process of its own.
#[test]
#[ignore = "run by other tests as a child process"]
fn child() {
    common::be_child();
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

#[test]
fn a_body_that_nobody_looks_at_is_not_kept() {
    let served = Served::start(Limits { bytes: 0, ..Limits::default() }, Stub::default());
    let body = "x".repeat(60_000);
    let length = body.len();
    let two = format!("PUT /locks/a HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}").repeat(2);
    let statuses: Vec<u16> =
        talk(served.address, (two + &get("")).as_bytes()).iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 200, 404]);
}

#[test]
fn what_is_over_the_budget_waits_and_is_refused() {
    // Two of six fit.
    let limits = Limits { bytes: 128 * 1024, body_time: Duration::from_secs(2), ..Limits::default() };
    let served = Served::start(limits, Stub::default());
    let address = served.address;
    let short = move || {
        let mut stream = connect(address);
        stream.write_all(b"POST /locks HTTP/1.1\r\nContent-Length: 60000\r\n\r\n").unwrap();
        // Whoever is refused is not read to its end.
        let _ = stream.write_all(&vec![b' '; 60_000 - 1]);
        read_reply(&mut stream).unwrap().status
    };
    let sending: Vec<_> = (0..6).map(|_| std::thread::spawn(short)).collect();
    served.serves_a_good_request();
    let statuses: Vec<u16> = sending.into_iter().map(|one| one.join().unwrap()).collect();
    assert!(statuses.contains(&503) && statuses.contains(&408), "{statuses:?}");
    let body = format!("{}{}", "{\"metadata\":{\"name\":\"a\"}}", " ".repeat(50_000));
    let whole = format!("POST /locks HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(only(&served, whole).status, 200, "and given back");
}
