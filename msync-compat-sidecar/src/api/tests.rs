use super::*;

fn name(text: &str) -> Name {
    Name::new(text).expect("a valid name")
}

fn status(method: &str, target: &str, body: &str) -> u16 {
    match read(method, target, body.as_bytes()) {
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
    }
}

#[test]
fn a_name_in_the_path_is_a_call_whatever_the_body() {
    for (method, verb) in [("GET", Verb::Get), ("PUT", Verb::Put), ("POST", Verb::Post), ("HEAD", Verb::Get)] {
        for target in ["/locks/a.b-1", "/locks/a.b-1/", "/locks/a.b-1//", "/locks/a.b-1?x=%41&y", "/%6cocks/%61.b-1"] {
            for body in ["", "{", "{\"metadata\":{\"name\":\"other\"}}", "\u{0}"] {
                assert_eq!(read(method, target, body.as_bytes()), Ok(Call { verb, name: name("a.b-1") }));
            }
        }
    }
}

#[test]
fn a_lock_as_body_names_the_call_on_the_collection() {
    for (method, verb) in [("GET", Verb::Get), ("PUT", Verb::Put), ("POST", Verb::Post)] {
        for target in ["/locks", "/locks/", "/locks//", "/locks?x"] {
            for body in [
                r#"{"metadata":{"name":"n"}}"#,
                r#" {"metadata":{"name":"n"}} "#,
                r#"{"apiVersion":"v9","kind":7,"metadata":{"name":"n","namespace":"x","labels":3},"spec":{"owner":4}}"#,
                r#"{"metadata":{"name":"n","creationTimestamp":"2026-11-22T14:03:40Z","resourceVersion":"9"},"spec":null}"#,
                r#"{"metadata":{"name":"n","creationTimestamp":null},"spec":{"owner":"me","expiry":null},"more":[]}"#,
            ] {
                assert_eq!(read(method, target, body.as_bytes()), Ok(Call { verb, name: name("n") }), "{body}");
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
    let invalid = read("POST", "/locks", b"{\"metadata\":{\"name\":\"\xff\"}}").unwrap_err();
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
        for target in ["/", "/foo", "/locksmith/x", "/locksfoo", "/LOCKS/x", "*", "/lock", "/%C3%A9", "/%FF"] {
            assert_eq!(status(method, target, ""), 404, "{target}");
        }
    }
    let answer = read("GET", "/f%6Fo?x", b"").unwrap_err();
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
    for method in ["DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "put"] {
        let answer = read(method, "/locks/a", b"").unwrap_err();
        assert_eq!((answer.status, answer.allow.as_deref()), (405, Some(ON_LOCK)), "{method}");
        assert_eq!(read(method, "/locks", b"").unwrap_err().status, 405);
    }
    for target in ["/locks", "/locks/", "/locks//"] {
        assert_eq!(status("GET", target, ""), 405);
        assert_eq!(status("HEAD", target, ""), 405);
    }
}

#[test]
fn outcomes_have_the_statuses_and_bodies_of_the_contract() {
    let shown = r#"{"metadata":{"name":"n","namespace":"default","resourceVersion":"0"},"kind":"Lock","apiVersion":"metaparticle.io/v1","spec":{"owner":"pod-1","expiry":"2026-11-22T14:03:40.534Z"}}"#;
    for (outcome, status, body) in [
        (Outcome::Good(lock()), 200, shown),
        (Outcome::Taken(lock()), 409, shown),
        (Outcome::Exists, 409, r#"{"message":"Conflict"}"#),
        (Outcome::Absent, 404, r#"{"message":"Not found."}"#),
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
        let result = read(&field("method"), &field("target"), field("body").as_bytes());
        let id = example["id"].as_str().unwrap();
        match example["class"].as_str().unwrap() {
            "contract" if id.starts_with("path-foo") => assert_eq!(result.unwrap_err().status, 404),
            "contract" => assert_eq!(result.unwrap().name, name("run-1"), "{id}"),
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
            match read(&method, &target, &body) {
                Ok(call) => prop_assert!(Name::new(call.name.as_str()).is_ok()),
                Err(answer) => {
                    prop_assert!([400, 404, 405, 422].contains(&answer.status));
                    prop_assert!(serde_json::from_str::<Value>(&answer.body).unwrap().is_object());
                }
            }
        }
    }
}
