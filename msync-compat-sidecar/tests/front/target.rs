//! What is asked for, how, and from where.

use crate::{get, only, served};

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
