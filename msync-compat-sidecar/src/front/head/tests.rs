use super::*;

fn parsed(bytes: &[u8]) -> Result<Head, Refusal> {
    assert_eq!(scan(bytes, 0), Scan::Complete(bytes.len()), "{}", String::from_utf8_lossy(bytes));
    parse(bytes, &Hosts::loopback())
}

fn of(line: &str, fields: &[&str]) -> Result<Head, Refusal> {
    let mut text = format!("{line}\r\n");
    for field in fields {
        text += field;
        text += "\r\n";
    }
    parsed((text + "\r\n").as_bytes())
}

fn status(line: &str, fields: &[&str]) -> u16 {
    of(line, fields).expect_err("refused").status
}

const GET: &str = "GET /locks/a HTTP/1.1";
const PUT: &str = "PUT /locks/a HTTP/1.1";

#[test]
fn a_plain_request_passes() {
    let head = of(GET, &["Host: localhost:8080", "X: \u{e9}"]).unwrap();
    let target = "/locks/a".to_owned();
    let framing = Framing::Length(0);
    assert_eq!(
        head,
        Head { method: "GET".into(), target, client: None, framing, expects_continue: false, close: false }
    );
}

#[test]
fn the_scan_finds_the_end_whatever_the_pieces() {
    let bytes = b"\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nrest";
    for end in 0..bytes.len() {
        let first = scan(&bytes[..end], 0);
        let expected = if end >= bytes.len() - 4 { Scan::Complete(bytes.len() - 4) } else { Scan::Partial };
        assert_eq!(first, expected, "{end}");
        assert_eq!(scan(bytes, end.min(bytes.len() - 5)), Scan::Complete(bytes.len() - 4), "{end}");
    }
    assert_eq!(leading_blank(b"\r\n\r\nGET"), 4);
}

#[test]
fn bare_line_feeds_are_no_line_ends() {
    for bytes in [b"GET / HTTP/1.1\n\n".as_slice(), b"\nGET", b"GET / HTTP/1.1\r\nA: b\n\r\n", b"GET / HTTP/1.1\r\n\n"]
    {
        assert_eq!(scan(bytes, 0), Scan::BareLineFeed, "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn garbage_in_the_request_line_is_400() {
    for line in [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "G\0T / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/11.1",
        "GET / FTP/1.1",
        "(GET) / HTTP/1.1",
        "\u{1}\u{2}\u{3}",
        "GET locks/a HTTP/1.1",
        "GET //locks/a HTTP/1.1",
        "CONNECT localhost:80 HTTP/1.1",
        "GET /locks/[a] HTTP/1.1",
        "GET /locks/%zz HTTP/1.1",
        "GET /locks/%4 HTTP/1.1",
        "GET /locks/a|b HTTP/1.1",
        "GET /locks/a?x=%g0 HTTP/1.1",
    ] {
        assert_eq!(status(line, &[]), 400, "{line:?}");
    }
}

#[test]
fn other_versions_are_505() {
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0"] {
        assert_eq!(status(&format!("GET / {version}"), &[]), 505);
    }
}

#[test]
fn malformed_fields_are_400() {
    for field in ["A b: c", "A : b", ": b", "A", " A: b", "A: \0", "A: b\rc", "\u{e9}: b"] {
        assert_eq!(status(GET, &[field]), 400, "{field:?}");
    }
    assert_eq!(status(GET, &["A: b", " folded"]), 400);
}

#[test]
fn too_many_fields_are_431() {
    assert_eq!(status(GET, &["A: b"; 200]), 431);
    assert!(of(GET, &["A: b"; 100]).is_ok());
}

#[test]
fn ambiguous_framing_is_400() {
    for fields in [
        ["Content-Length: 3", "Content-Length: 4"],
        ["Content-Length: 3", "content-length: 3"],
        ["Content-Length: 3", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: gzip"],
    ] {
        assert_eq!(status(PUT, &fields), 400, "{fields:?}");
    }
    for length in ["", "-1", "+5", "5, 5", "0x5", "5 5", "1e3", "\u{665}"] {
        assert_eq!(status(PUT, &[&format!("Content-Length: {length}")]), 400, "{length:?}");
    }
    assert_eq!(status("PUT / HTTP/1.0", &["Transfer-Encoding: chunked"]), 400);
    for coding in ["gzip, chunked", "chunked, chunked", "identity", "", "xchunked"] {
        assert_eq!(status(PUT, &[&format!("Transfer-Encoding: {coding}")]), 501, "{coding:?}");
    }
}

#[test]
fn clear_framing_passes() {
    let framing = |field| of(PUT, &[field]).unwrap().framing;
    assert_eq!(framing("Content-Length: 007"), Framing::Length(7));
    assert_eq!(framing("Content-Length:  9000000000000000000 "), Framing::Length(9_000_000_000_000_000_000));
    assert_eq!(framing("Content-Length: 99999999999999999999999"), Framing::Length(u64::MAX));
    assert_eq!(framing("transfer-encoding: Chunked"), Framing::Chunked);
}

#[test]
fn only_the_known_expectation_is_met() {
    assert!(of(PUT, &["Expect: 100-Continue"]).unwrap().expects_continue);
    assert!(!of("PUT /locks/a HTTP/1.0", &["Expect: 100-continue"]).unwrap().expects_continue);
    assert_eq!(status(PUT, &["Expect: 200-ok"]), 417);
}

#[test]
fn the_connection_closes_when_asked_or_old() {
    assert!(of("GET / HTTP/1.0", &["Connection: keep-alive"]).unwrap().close);
    assert!(of(GET, &["Connection: keep-alive, Close"]).unwrap().close);
    assert!(!of(GET, &["Connection: Keep-Alive"]).unwrap().close);
}

#[test]
fn targets_become_origin_form() {
    for (raw, target) in [
        ("http://localhost:8080/locks/a", "/locks/a"),
        ("HTTP://127.0.0.1", "/"),
        ("http://[::1]?x=[1]", "/?x=[1]"),
        ("/locks/a?x=[1]#f", "/locks/a?x=[1]"),
        ("*", "*"),
        ("/locks/a;p", "/locks/a;p"),
        ("/a://b", "/a://b"),
        ("/locks/\u{e9}", "/locks/%C3%A9"),
    ] {
        assert_eq!(of(&format!("GET {raw} HTTP/1.1"), &[]).unwrap().target, target, "{raw}");
    }
    let latin1 = parsed(b"GET /locks/\xe9 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(latin1.target, "/locks/%E9");
    assert_eq!(status("GET http://evil.example/locks/a HTTP/1.1", &["Host: localhost"]), 421);
    assert_eq!(status(GET, &["Host: localhost", "Host: localhost"]), 400);
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    /// 10^6 inputs: `MSYNC_FUZZ_CASES=1000000 cargo test --release -p msync-compat-sidecar fuzz`.
    fn config() -> ProptestConfig {
        let cases = std::env::var("MSYNC_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(512);
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    /// Pieces that make heads which come close to good ones, and plain bytes.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec![
                "GET ", "PUT ", "/locks/", "a", " HTTP/1.1", " HTTP/1.0", "\r\n", "\r\n\r\n", "\n", "Host: localhost",
                "Content-Length: ", "7", ",", "Transfer-Encoding: chunked", "Connection: close", "%2F", "%", "..", "[",
                "http://", "Expect: 100-continue", "\0", " ", "?", "#", ":", "\t", "\u{e9}", "Origin: null",
            ]).prop_map(|text| text.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..8),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn whatever_arrives_is_refused_or_canonical(mut bytes in bytes()) {
            let whole = scan(&bytes, 0);
            if whole == Scan::Partial {
                bytes.extend_from_slice(b"\r\n\r\n");
            }
            if let Ok(head) = parse(&bytes, &Hosts::loopback()) {
                prop_assert!(head.method.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(head.target == "*" || head.target.starts_with('/'));
                prop_assert!(head.target.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn a_scan_in_pieces_agrees_with_a_whole_one(bytes in bytes(), cut in 0_usize..64) {
            let cut = cut.min(bytes.len());
            let whole = scan(&bytes, 0);
            match scan(&bytes[..cut], 0) {
                Scan::Partial => prop_assert_eq!(scan(&bytes, cut), whole),
                early => prop_assert_eq!(early, whole),
            }
        }
    }
}
