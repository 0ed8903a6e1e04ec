use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

/// Reads a request without a client's id.
fn ask(method: &str, target: &str, body: &[u8]) -> Result<Request, Answer> {
    read(Raw { method, target, client: None, body })
}

fn call(verb: Verb, name: &str) -> Request {
    Request::Lock(Call { verb, name: Name::new(name).unwrap(), client: None })
}

fn status(method: &str, target: &str, body: &str) -> u16 {
    match ask(method, target, body.as_bytes()) {
        Ok(call) => panic!("{method} {target} {body}: {call:?}"),
        Err(answer) => {
            let json: Value = serde_json::from_str(&answer.body).expect("JSON");
            assert!(json["message"].is_string(), "{}", answer.body);
            answer.status
        }
    }
}

fn lock() -> Lock {
    Lock {
        name: name("n"),
        namespace: "default".into(),
        version: "0".into(),
        created: None,
        owner: "pod-1".into(),
        expiry: Some("2026-11-22T14:03:40.534Z".parse().unwrap()),
        grant: None,
        watch: None,
    }
}

#[test]
fn a_name_in_the_path_is_a_call_whatever_the_body() {
    for (method, verb) in [("GET", Verb::Get), ("PUT", Verb::PUT), ("POST", Verb::POST), ("HEAD", Verb::Get)] {
        for target in ["/locks/a.b-1", "/locks/a.b-1/", "/locks/a.b-1//", "/locks/a.b-1?", "/%6cocks/%61.b-1"] {
            for body in ["", "{", "{\"metadata\":{\"name\":\"other\"}}", "\u{0}"] {
                assert_eq!(ask(method, target, body.as_bytes()), Ok(call(verb, "a.b-1")));
            }
        }
    }
}

#[test]
fn a_lock_as_body_names_the_call_on_the_collection() {
    for (method, verb) in [("GET", Verb::Get), ("PUT", Verb::PUT), ("POST", Verb::POST)] {
        for target in ["/locks", "/locks/", "/locks//"] {
            for body in [
                r#"{"metadata":{"name":"n"}}"#,
                r#" {"metadata":{"name":"n"}} "#,
                r#"{"apiVersion":"v9","kind":7,"metadata":{"name":"n","namespace":"x","labels":3},"spec":{"owner":4}}"#,
                r#"{"metadata":{"name":"n","creationTimestamp":"2026-11-22T14:03:40Z","resourceVersion":"9"},"spec":null}"#,
                r#"{"metadata":{"name":"n","creationTimestamp":null},"spec":{"owner":"me","expiry":null},"more":[]}"#,
            ] {
                assert_eq!(ask(method, target, body.as_bytes()), Ok(call(verb, "n")), "{body}");
            }
        }
    }
}

#[test]
fn a_body_that_is_no_lock_is_400() {
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "  ",
        "{",
        "{\"metadata\":",
        "null",
        "[]",
        "\"n\"",
        "7",
        "{}",
        &deep,
        r#"{"metadata":null}"#,
        r#"{"metadata":[]}"#,
        r#"{"metadata":"n"}"#,
        r#"{"metadata":{}}"#,
        r#"{"metadata":{"name":null}}"#,
        r#"{"metadata":{"name":7}}"#,
        r#"{"metadata":{"name":"n"},"spec":[]}"#,
        r#"{"metadata":{"name":"n"},"spec":"x"}"#,
        r#"{"metadata":{"name":"n","creationTimestamp":"yesterday"}}"#,
        r#"{"metadata":{"name":"n","creationTimestamp":{"iMillis":1}}}"#,
        r#"{"metadata":{"name":"n"}} x"#,
        r"{metadata:{name:'n'}}",
        "\u{feff}{\"metadata\":{\"name\":\"n\"}}",
    ] {
        assert_eq!(status("POST", "/locks", body), 400, "{}", &body[..body.len().min(80)]);
        assert_eq!(status("PUT", "/locks", body), 400);
    }
    let invalid = ask("POST", "/locks", b"{\"metadata\":{\"name\":\"\xff\"}}").unwrap_err();
    assert_eq!(invalid.status, 400);
}

#[test]
fn names_the_api_server_would_not_take_are_422() {
    let long = "a".repeat(254);
    for bad in [
        ".", "..", "-a", "a-", "a..b", ".a", "a.", "A", "a_b", "a:b", "a~", "a@b", &long, "a b", "\u{e9}", "a\"", "a\0",
    ] {
        let body = json!({ "metadata": { "name": bad } }).to_string();
        assert_eq!(status("POST", "/locks", &body), 422, "{bad}");
        let escaped = bad.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
        for method in ["GET", "PUT", "POST"] {
            assert_eq!(status(method, &format!("/locks/{escaped}"), ""), 422, "{bad}");
        }
    }
    assert_eq!(status("POST", "/locks", r#"{"metadata":{"name":""}}"#), 422);
    assert_eq!(status("POST", "/locks", r#"{"metadata":{"name":"a/b"}}"#), 422);
    assert_eq!(status("GET", "/locks/..%2f", ""), 422);
    assert!(Name::new(&"a".repeat(253)).is_ok());
}

#[test]
fn other_paths_are_404_with_the_decoded_path() {
    for method in ["GET", "PUT", "POST", "DELETE", "get", "BREW"] {
        for target in ["//", "/foo", "/locksmith/x", "/locksfoo", "/LOCKS/x", "*", "/lock", "/%C3%A9", "/%FF"] {
            assert_eq!(status(method, target, ""), 404, "{target}");
        }
    }
    let answer = ask("GET", "/f%6Fo?x", b"").unwrap_err();
    assert_eq!(answer.body, r#"{"message":"Unknown path: /foo"}"#);
}

#[test]
fn malformed_paths_are_400() {
    for target in [
        "/locks/a/b",
        "/locks//a",
        "/locks/a%2Fb",
        "/locks/../x",
        "/locks/..%2f..%2fx",
        "/locks/a;b=c",
        "/locks/%zz",
        "/%",
    ] {
        assert_eq!(status("GET", target, ""), 400, "{target}");
    }
}

#[test]
fn other_methods_are_405_with_allow() {
    for method in ["PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "put"] {
        for (target, allow) in
            [("/locks/a", ON_LOCK), ("/locks", ON_COLLECTION), ("/", ON_FIXED), ("/healthz", ON_FIXED)]
        {
            let answer = ask(method, target, b"").unwrap_err();
            assert_eq!((answer.status, answer.field("Allow")), (405, Some(allow)), "{method} {target}");
        }
    }
    assert_eq!(status("DELETE", "/locks", ""), 405);
    assert_eq!(status("PUT", "/metrics", ""), 405);
}

#[test]
fn parameters_say_how_long_to_wait_and_to_be_silent() {
    let secs = Duration::from_secs;
    let version = Version { run: 0x0012_abcd, number: 7 };
    for (method, target, verb) in [
        ("PUT", "/locks/n?wait=0", Verb::PUT),
        ("PUT", "/locks/n?wait=300", Verb::Put { wait: secs(300), ttl: None }),
        ("PUT", "/locks/n?ttl=5", Verb::Put { wait: secs(0), ttl: Some(secs(5)) }),
        ("PUT", "/locks/n?ttl=3600&wait=1", Verb::Put { wait: secs(1), ttl: Some(secs(3600)) }),
        ("PUT", "/locks/n?&", Verb::PUT),
        ("POST", "/locks/n?ttl=60", Verb::Post { ttl: Some(secs(60)) }),
        ("GET", "/locks/n?watch=0012abcd-7", Verb::Watch { version, wait: secs(30) }),
        ("GET", "/locks/n?wait=0&watch=0012abcd-7", Verb::Watch { version, wait: secs(0) }),
        ("DELETE", "/locks/n", Verb::Delete),
    ] {
        assert_eq!(ask(method, target, b""), Ok(call(verb, "n")), "{method} {target}");
    }
    assert_eq!(version.to_string(), "0012abcd-7");
}

#[test]
fn what_is_no_parameter_of_the_request_is_400_and_says_which() {
    for (method, target, word) in [
        ("PUT", "/locks/n?wait", "wait"),
        ("PUT", "/locks/n?wait=", "wait"),
        ("PUT", "/locks/n?wait=301", "from 0 to 300"),
        ("PUT", "/locks/n?wait=-1", "wait"),
        ("PUT", "/locks/n?wait=1.5", "wait"),
        ("PUT", "/locks/n?wait=99999999999999999999", "wait"),
        ("PUT", "/locks/n?ttl=4", "from 5 to 3600"),
        ("PUT", "/locks/n?ttl=3601", "ttl"),
        ("PUT", "/locks/n?wait=1&wait=1", "twice"),
        ("PUT", "/locks/n?Wait=1", "Wait"),
        ("PUT", "/locks/n?x=%41&y", "\\\"x\\\""),
        ("PUT", "/locks/n?watch=0012abcd-7", "watch"),
        ("POST", "/locks/n?wait=1", "wait"),
        ("GET", "/locks/n?wait=1", "only with watch"),
        ("GET", "/locks/n?ttl=9", "ttl"),
        ("GET", "/locks/n?watch=7", "Msync-Version"),
        ("GET", "/locks/n?watch=0012ABCD-7", "Msync-Version"),
        ("GET", "/locks/n?watch=12abcd-7", "Msync-Version"),
        ("GET", "/locks/n?watch=0012abcd-", "Msync-Version"),
        ("GET", "/locks/n?watch=0012abcd-99999999999999999999", "Msync-Version"),
        ("DELETE", "/locks/n?ttl=9", "ttl"),
        ("GET", "/locks?x", "x"),
        ("GET", "/locks?ttl=9", "ttl"),
        ("GET", "/healthz?x", "x"),
        ("GET", "/?x", "x"),
    ] {
        let answer = ask(method, target, b"").unwrap_err();
        assert!(answer.status == 400 && answer.body.contains(word), "{method} {target}: {answer:?}");
    }
}

#[test]
fn only_a_wish_to_wait_makes_a_long_poll() {
    for (target, wait) in [
        ("/locks/n", None),
        ("/locks/n?wait=0", None),
        ("/locks/n?ttl=9", None),
        ("/locks/n?wait=301", None),
        ("/locks/n?wait=7&ttl=9", Some(7)),
        ("/locks/n?watch=0012abcd-7", Some(30)),
        ("/locks/n?watch=0012abcd-7&wait=0", None),
        ("/locks/n?watch=0012abcd-7&wait=300", Some(300)),
    ] {
        assert_eq!(long_poll(target), wait.map(Duration::from_secs), "{target}");
    }
}

#[test]
fn a_client_may_say_who_it_is() {
    let read = |client| read(Raw { method: "PUT", target: "/locks/n", client: Some(client), body: b"" });
    let long = "c".repeat(128);
    for good in ["a", "worker-1", "A.b_c:9", &long] {
        let client = Some(Client::new(good).unwrap());
        assert_eq!(read(good), Ok(Request::Lock(Call { verb: Verb::PUT, name: name("n"), client })));
    }
    for bad in ["", " ", "a b", "a/b", "\u{e9}", "<b>", &(long.clone() + "c")] {
        let answer = read(bad).unwrap_err();
        assert!(answer.status == 400 && answer.body.contains("Msync-Client-Id"), "{bad}: {answer:?}");
    }
}

#[test]
fn what_is_no_lock_has_its_own_paths() {
    assert_eq!(ask("GET", "/locks", b""), Ok(Request::List));
    assert_eq!(ask("HEAD", "/locks/", b" "), Ok(Request::List));
    assert_eq!(ask("GET", "/readyz", b""), Ok(Request::Ready));
    assert_eq!(ask("GET", "/metrics", b""), Ok(Request::Metrics));
    assert_eq!(ask("GET", "/healthz", b"").unwrap_err().status, 200);
    let page = ask("GET", "/", b"").unwrap_err();
    assert_eq!((page.status, page.kind), (200, Kind::Html));
}

#[test]
fn who_holds_is_told_its_token_and_its_time() {
    let grant = Some(Grant { token: u64::MAX, remaining: Duration::from_micros(12_345_678) });
    let watch = Some(Version { run: 1, number: 2 });
    let answer = write(&Outcome::Good(Lock { grant, watch, ..lock() }));
    assert_eq!(answer.field("Msync-Fencing-Token"), Some("18446744073709551615"));
    assert_eq!(answer.field("Msync-Remaining-Seconds"), Some("12.345"), "never more than there is");
    assert_eq!(answer.field("Msync-Version"), Some("00000001-2"));
    assert_eq!(answer.body, write(&Outcome::Good(lock())).body, "the body is the old one");
    assert!(answer.fields.iter().all(|(name, _)| FIELDS.contains(name)));
}

#[test]
fn new_outcomes_have_clear_answers() {
    for (outcome, status) in [
        (Outcome::Released, 204),
        (Outcome::NotHeld, 404),
        (Outcome::Foreign("client b".into()), 403),
        (Outcome::Stale, 410),
        (Outcome::Ending, 503),
        (Outcome::Well, 200),
        (Outcome::Listed(Listing::default()), 200),
        (Outcome::Metrics("x".into()), 200),
    ] {
        assert_eq!(write(&outcome).status, status, "{outcome:?}");
    }
    assert_eq!(write(&Outcome::Ending).field("Retry-After"), Some("1"));
    assert!(write(&Outcome::Foreign("client b".into())).body.contains("client b"));
}

#[test]
fn outcomes_have_the_statuses_and_bodies_of_the_contract() {
    let shown = r#"{"metadata":{"name":"n","namespace":"default","resourceVersion":"0"},"kind":"Lock","apiVersion":"metaparticle.io/v1","spec":{"owner":"pod-1","expiry":"2026-11-22T14:03:40.534Z"}}"#;
    for (outcome, status, body) in [
        (Outcome::Good(lock()), 200, shown),
        (Outcome::Taken(lock()), 409, shown),
        (Outcome::Exists, 409, r#"{"message":"Conflict"}"#),
        (Outcome::Absent(None), 404, r#"{"message":"Not found."}"#),
        (Outcome::Refused("r".into()), 409, r#"{"message":"r"}"#),
        (Outcome::Unavailable("u".into()), 503, r#"{"message":"u"}"#),
    ] {
        let answer = write(&outcome);
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
    }
}

#[test]
fn dates_have_three_digits_and_a_z() {
    let date = |text: &str| {
        let shown = write(&Outcome::Good(Lock { expiry: Some(text.parse().unwrap()), ..lock() }));
        let json: Value = serde_json::from_str(&shown.body).unwrap();
        json["spec"]["expiry"].as_str().unwrap().to_owned()
    };
    assert_eq!(date("2026-11-22T14:03:40Z"), "2026-11-22T14:03:40.000Z");
    assert_eq!(date("2026-11-22T14:03:40.999999999+02:00"), "2026-11-22T12:03:40.999Z");
    let created = Lock { created: Some("2026-11-22T14:03:40.5Z".parse().unwrap()), expiry: None, ..lock() };
    let body = write(&Outcome::Good(created)).body;
    assert!(body.contains(r#""creationTimestamp":"2026-11-22T14:03:40Z""#), "{body}");
    assert!(body.contains(r#""expiry":null"#), "{body}");
}

/// The recorded pairs, as far as they can be judged without a store.
#[test]
fn recorded_requests_are_read_as_they_were_meant() {
    let recorded: Value = serde_json::from_str(include_str!("../../tests/data/examples.json")).unwrap();
    for example in recorded["examples"].as_array().unwrap() {
        let request = &example["request"];
        let field =
            |key: &str| request[key].as_str().unwrap_or_default().replace("{n}", "run-1").replace("{N}", "RUN-1");
        let result = ask(&field("method"), &field("target"), field("body").as_bytes());
        let id = example["id"].as_str().unwrap();
        match example["class"].as_str().unwrap() {
            "contract" if id.starts_with("path-foo") => assert_eq!(result.unwrap_err().status, 404),
            "contract" => match result.unwrap() {
                Request::Lock(call) => assert_eq!(call.name, name("run-1"), "{id}"),
                other => panic!("{id}: {other:?}"),
            },
            // What the original never answered is now a call.
            "accident" if id.starts_with("method-DELETE") => assert_eq!(result, Ok(call(Verb::Delete, "run-1"))),
            "accident" => {
                let better = example["better"]["status"].as_array().unwrap().clone();
                let status = result.unwrap_err().status;
                assert!(better.contains(&json!(status)), "{id}: {status}");
            }
            _ => assert_eq!(result.unwrap_err().status, 422, "{id}"),
        }
    }
}

mod fuzz {
    use proptest::prelude::*;

    use super::*;

    /// 10^6 inputs: `MSYNC_FUZZ_CASES=1000000 cargo test --release -p msync-compat-sidecar fuzz`.
    fn config() -> ProptestConfig {
        let cases = std::env::var("MSYNC_FUZZ_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(512);
        ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
    }

    fn target() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => prop::sample::select(vec!["/", "/locks", "/locks/", "a", "..", "%2F", "%2e", "%", "%ff", "?", "#", ";", "-", "A"])
                .prop_map(str::to_owned),
            1 => any::<String>(),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    fn body() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            "\"metadata\"",
            "\"name\"",
            ":",
            ",",
            "\"a\"",
            "null",
            "\"spec\"",
            "7",
            "\\u0000",
            "\u{e9}",
        ]);
        prop_oneof![
            prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..64),
        ]
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn every_request_is_a_valid_call_or_a_clear_4xx(
            method in prop_oneof![Just("GET".to_owned()), Just("PUT".to_owned()), Just("POST".to_owned()), any::<String>()],
            target in target(),
            body in body(),
        ) {
            match ask(&method, &target, &body) {
                Ok(Request::Lock(call)) => prop_assert!(Name::new(call.name.as_str()).is_ok()),
                Ok(_) => {}
                Err(answer) if answer.kind == Kind::Html => prop_assert_eq!(answer.status, 200),
                Err(answer) => {
                    prop_assert!([400, 404, 405, 422].contains(&answer.status));
                    prop_assert!(serde_json::from_str::<Value>(&answer.body).unwrap().is_object());
                }
            }
        }
    }
}
