//! Bodies: their lengths, their ends, what is kept of them.

use std::{
    io::{Read, Write},
    net::Shutdown,
    time::Duration,
};

use msync_compat_sidecar::front::Limits;

use crate::{
    common::{Served, Stub, connect, read_reply, talk},
    get, only, served,
};

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
fn invalid_utf8_and_deep_json_are_400() {
    let served = served();
    let deep = "[".repeat(60_000).into_bytes();
    for body in [b"{\"metadata\":{\"name\":\"\xff\"}}".to_vec(), deep, b"\0".to_vec()] {
        let head = format!("POST /locks HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(only(&served, [head.into_bytes(), body].concat()).status, 400);
    }
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

/// What is decoded leaves the buffer that it came in, and was forgotten by the budget with it.
#[test]
fn a_chunked_body_that_is_kept_counts_against_the_budget() {
    let served = Served::start(Limits { bytes: 16 * 1024, ..Limits::default() }, Stub::default());
    let post = |blanks: usize| {
        let body = format!("{}{}", "{\"metadata\":{\"name\":\"a\"}}", " ".repeat(blanks));
        let chunks: Vec<_> = body.as_bytes().chunks(500).map(chunk).collect();
        let head = "POST /locks HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        only(&served, head.to_owned() + &chunks.concat() + "0\r\n\r\n").status
    };
    assert_eq!(post(500), 200, "what is small is a connection's own");
    assert_eq!(post(30_000), 503, "a budget without room for the longest body has none for this one");
}

fn chunk(part: &[u8]) -> String {
    format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part))
}

#[test]
fn what_is_over_the_budget_waits_and_is_refused() {
    // Two of six fit: these run out of time, and whoever waits for their place has been told so long before.
    let limits = Limits { bytes: 128 * 1024, body_time: Duration::from_secs(4), ..Limits::default() };
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
    let count = |status| statuses.iter().filter(|one| **one == status).count();
    assert_eq!((count(503), count(408)), (4, 2), "{statuses:?}");
    let body = format!("{}{}", "{\"metadata\":{\"name\":\"a\"}}", " ".repeat(50_000));
    let whole = format!("POST /locks HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(only(&served, whole).status, 200, "and given back");
}
