use kube::api::ObjectMeta;
use serde_json::json;

use super::*;
use crate::record::{Advert, Beat, Claim, Term};

fn record() -> Record {
    let claim = |term| Claim {
        engine: EngineId::new("web-7f9c", 0xab),
        term: Term(term),
        ttl: Duration::from_secs(15),
        instant: true,
    };
    Record {
        engine: EngineId::new("web-7f9c", 0xab),
        term: Term(0x5f0c),
        beat: Beat(0x81c1),
        renewals: 7,
        instant: true,
        ttl: Duration::from_secs(15),
        acquired: Some(Wall::from_millis(1_795_356_000_000)),
        expiry: Some(Wall::from_millis(1_795_356_050_000)),
        waiters: vec![claim(2).entry(Wall::from_millis(1_795_356_003_000)), Entry::from_text("dead")],
        next: claim(2).engine,
        next_owner: Some("web-2k1x".into()),
        advertised: Some(Advert { term: Term(0x5f0c), text: "10.0.0.7:8080".into() }),
        under: Term(0x5e55),
    }
}

/// An object as the API server shows it: what the spec does not say has its default.
fn lock(spec: impl Into<Value>) -> Lock {
    let mut full = serde_json::to_value(LockSpec::default()).unwrap();
    full.as_object_mut().unwrap().extend(spec.into().as_object().cloned().unwrap_or_default());
    bare(full)
}

fn bare(spec: impl Into<Value>) -> Lock {
    let spec = spec.into();
    let metadata = json!({"name": "invoices", "namespace": "shop", "resourceVersion": "17", "uid": "u"});
    let object = json!({"apiVersion": "metaparticle.io/v1", "kind": "Lock", "metadata": metadata, "spec": spec});
    serde_json::from_value(object).expect("every spec is legible")
}

fn told(fault: &Fault) -> String {
    match fault {
        Fault::Fatal(Fatal::Other(source)) => source.to_string(),
        other => panic!("not fatal: {other:?}"),
    }
}

#[test]
fn a_record_is_written_as_the_resource_says() {
    let wire = serde_json::to_value(LockSpec::from(&record())).unwrap();
    let expected = json!({
        "owner": "web-7f9c", "engine": "web-7f9c.00000000000000ab", "term": "0000000000005f0c",
        "beat": "00000000000081c1", "renewals": 7, "instant": true, "kind": "lock",
        "ttlMilliseconds": 15000, "ttl": "15s",
        "acquired": "2026-11-22T14:00:00.000Z", "expiry": "2026-11-22T14:00:50.000Z",
        "waiters": ["0000000000000002 web-7f9c.00000000000000ab 15000 instant 2026-11-22T14:00:03.000Z", "dead"],
        "next": "web-7f9c.00000000000000ab",
        "nextOwner": "web-2k1x",
        "advertised": "0000000000005f0c 10.0.0.7:8080",
        "under": "0000000000005e55",
    });
    assert_eq!(wire, expected);
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    for record in [record(), Record::default()] {
        let (name, snapshot) = lock(serde_json::to_value(LockSpec::from(&record)).unwrap()).snapshot().unwrap();
        assert_eq!((name.as_str(), snapshot.version.number, &*snapshot.version.uid), ("invoices", 17, "u"));
        assert_eq!(snapshot.record, record);
    }
}

#[test]
fn a_field_that_is_not_there_says_that_the_resource_is_outdated() {
    let whole = serde_json::to_value(LockSpec::default()).unwrap();
    assert_eq!(bare(whole.clone()).snapshot().unwrap().1.record, Record::default());
    let hints = ["nextOwner", "kind", "ttl"];
    for field in whole.as_object().unwrap().keys().filter(|field| !hints.contains(&field.as_str())) {
        let mut pruned = whole.clone();
        pruned.as_object_mut().unwrap().remove(field);
        let fault = bare(pruned).snapshot().unwrap_err();
        let Fault::Fatal(Fatal::CrdOutdated(text)) = &fault else { panic!("{field}: {fault:?}") };
        assert!(text.contains("outdated") && text.contains(field) && text.contains("crd.yaml"), "{text}");
    }
    let former = bare(json!({"owner": "web", "expiry": "2026-11-22T14:00:50.000Z"})).snapshot();
    assert!(matches!(former, Err(Fault::Fatal(Fatal::CrdOutdated(_)))), "{former:?}");
}

#[test]
fn illegible_fields_are_neutral_and_unknown_ones_ignored() {
    let spec = json!({
        "owner": null, "engine": 5, "renewals": -1, "instant": "yes", "ttlMilliseconds": -15000,
        "acquired": "9999-12-31T23:59:59Z", "expiry": "tomorrow", "waiters": "none", "colour": "blue",
        "term": "0000000000005f0c", "beat": null,
    });
    let read = lock(spec).snapshot().unwrap().1.record;
    assert_eq!(read, Record { term: Term(0x5f0c), ..Record::default() });
}

#[test]
fn an_absurd_ttl_is_kept_and_answered_with_patience() {
    let read = lock(json!({"ttlMilliseconds": i64::MAX})).snapshot().unwrap().1.record;
    assert_eq!(read.patience(), crate::record::FALLBACK_TTL);
    assert_eq!(LockSpec::from(&read).ttl_milliseconds, i64::MAX);
}

#[test]
fn a_term_or_beat_that_is_not_ours_is_an_error_that_names_the_lock() {
    for spec in [json!({"term": "mine"}), json!({"beat": 5}), json!({"term": "0000000000000000"})] {
        let message = told(&lock(spec).snapshot().unwrap_err());
        assert!(message.starts_with("lock shop/invoices: its "), "{message}");
    }
}

#[test]
fn a_version_that_makes_no_token_is_an_error_that_names_the_lock() {
    for version in [None, Some("abc"), Some("-1"), Some("281474976710656")] {
        let metadata = ObjectMeta { resource_version: version.map(str::to_owned), ..lock(json!({})).metadata };
        let message = told(&Lock { metadata, spec: LockSpec::default() }.snapshot().unwrap_err());
        assert!(message.contains("invoices") && message.contains("resourceVersion"), "{message}");
    }
}

#[test]
fn every_field_has_a_default_and_the_spec_has_one_too() {
    let definition = serde_json::to_value(definition()).unwrap();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(spec["default"], json!({}));
    let fields = spec["properties"].as_object().unwrap();
    assert_eq!(fields.len(), 16);
    let neutral = serde_json::to_value(LockSpec::default()).unwrap();
    for (name, schema) in fields {
        assert_eq!(schema["default"], neutral[name], "{name}");
    }
}

#[test]
fn limits_stand_at_the_leaves() {
    let definition = serde_json::to_value(definition()).unwrap();
    let spec = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let field = |name: &str| &spec["properties"][name];
    assert_eq!(field("waiters")["maxItems"], 64);
    assert_eq!((field("term")["pattern"].as_str(), field("beat")["pattern"].as_str()), (Some(NONCE), Some(NONCE)));
    assert_eq!((&field("renewals")["minimum"], &field("ttlMilliseconds")["minimum"]), (&json!(0.0), &json!(0.0)));
    assert!(!definition.to_string().contains("x-kubernetes-validations"));
}

/// What an earlier msync has written is held and awaited as well: nothing but what people see is missing.
#[test]
fn a_record_without_what_is_for_people_reads_the_same() {
    let mut wire = serde_json::to_value(LockSpec::from(&record())).unwrap();
    for field in ["nextOwner", "kind", "ttl"] {
        wire.as_object_mut().unwrap().remove(field);
    }
    wire["waiters"][0] = json!("0000000000000002 web-7f9c.00000000000000ab 15000 instant");
    let read = bare(wire).snapshot().unwrap().1.record;
    assert_eq!(
        Record { waiters: vec![], next_owner: Some("web-2k1x".into()), ..read.clone() },
        Record { waiters: vec![], ..record() }
    );
    assert_eq!(read.waiters[0].claim(), record().waiters[0].claim());
    assert_eq!((read.waiters[0].since(), record().waiters[0].since().is_some()), (None, true));
}

#[test]
fn a_ttl_is_told_with_its_unit() {
    let told = [1_000, 1_500, 15_000, 86_400_000].map(|millis| in_units(Duration::from_millis(millis)));
    assert_eq!(told, ["1s", "1500ms", "15s", "86400s"]);
}

#[test]
fn people_see_who_since_when_for_how_long_of_what_kind_and_who_is_next() {
    let definition = serde_json::to_value(definition()).unwrap();
    let columns = definition["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
    let told = |column: &Value| (column["name"].as_str().unwrap().to_owned(), column["priority"].as_i64().unwrap_or(0));
    let expected = [
        ("Owner", 0),
        ("Since", 0),
        ("TTL", 0),
        ("Expiry", 0),
        ("Kind", 0),
        ("Next", 0),
        ("Waiters", 1),
        ("Under", 1),
        ("Age", 1),
    ];
    assert_eq!(
        columns.iter().map(told).collect::<Vec<_>>(),
        expected.map(|(name, priority)| (name.to_owned(), priority))
    );
    assert_eq!(definition["spec"]["names"]["categories"], json!(["msync"]));
}
