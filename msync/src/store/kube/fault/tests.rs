use serde_json::{Value, json};

use super::*;
use crate::{
    LockName,
    store::{KubeStore, Store},
};

fn fault(verb: Verb, status: Value) -> Fault {
    let call = Call { verb, namespace: "shop".into() };
    call.fault(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())))
}

fn refused(verb: Verb, status: Value) -> Refused {
    match fault(verb, status) {
        Fault::Refused(refused) => refused,
        other => panic!("no refusal: {other:?}"),
    }
}

fn fatal(verb: Verb, status: Value) -> Fatal {
    match fault(verb, status) {
        Fault::Fatal(fatal) => fatal,
        other => panic!("not fatal: {other:?}"),
    }
}

/// With kube's own client, so that its words are the real ones.
#[test]
fn a_client_whose_runtime_has_ended_is_of_no_more_use() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
    let client = first.block_on(async { kube::Client::try_from(config) }).unwrap();
    drop(first);
    let (store, name) = (KubeStore::new(client, "shop"), LockName::new("x").unwrap());
    let fault = runtime().block_on(store.read(&name)).unwrap_err();
    assert!(matches!(&fault, Fault::Fatal(Fatal::Other(why)) if why.to_string().starts_with(ENDED)), "{fault:?}");
}

#[test]
fn a_422_without_causes_is_a_condition_that_did_not_hold() {
    let status = json!({"code": 422, "reason": "Invalid", "details": {}});
    assert_eq!(refused(Verb::Patch, status), Refused::Mismatch);
    assert_eq!(refused(Verb::Patch, json!({"code": 422, "reason": "Invalid"})), Refused::Mismatch);
}

#[test]
fn a_422_of_too_many_waiters_is_a_full_queue() {
    let causes = json!([{"reason": "FieldValueTooMany", "field": "spec.waiters"}]);
    let status = json!({"code": 422, "reason": "Invalid", "details": {"name": "a", "causes": causes}});
    assert_eq!(refused(Verb::Patch, status), Refused::Full);
}

#[test]
fn any_other_422_is_fatal_and_says_what_the_server_said() {
    let causes = json!([{"reason": "FieldValueInvalid", "field": "spec.term"}]);
    let status = json!({"code": 422, "message": "spec.term: bad", "details": {"causes": causes}});
    assert!(matches!(fatal(Verb::Patch, status), Fatal::Other(why) if why.to_string().contains("spec.term: bad")));
}

#[test]
fn a_404_is_the_lock_or_the_namespace_or_the_resource() {
    let of = |kind: &str| json!({"code": 404, "reason": "NotFound", "details": {"name": "a", "kind": kind}});
    assert_eq!(refused(Verb::Get, of("locks")), Refused::Absent);
    let namespace = fatal(Verb::Create, of("namespaces")).to_string();
    assert!(namespace.contains("namespace shop does not exist"), "{namespace}");
    let missing = fatal(Verb::Create, json!({"code": 404, "message": "404 page not found"}));
    assert!(matches!(&missing, Fatal::CrdMissing(how) if how.contains("crd.yaml")), "{missing:?}");
}

#[test]
fn a_409_depends_on_what_was_asked() {
    let status = json!({"code": 409, "reason": "Conflict"});
    assert_eq!(refused(Verb::Create, json!({"code": 409, "reason": "AlreadyExists"})), Refused::Exists);
    assert_eq!(refused(Verb::Delete, status.clone()), Refused::Mismatch);
    assert!(matches!(fault(Verb::Patch, status), Fault::Busy(None)));
}

#[test]
fn a_429_says_when_to_come_back() {
    let status = json!({"code": 429, "details": {"retryAfterSeconds": 3}});
    assert!(matches!(fault(Verb::Get, status), Fault::Busy(Some(wait)) if wait == Duration::from_secs(3)));
    assert!(matches!(fault(Verb::Get, json!({"code": 429})), Fault::Busy(None)));
}

const AUTHORIZER: &str =
    r#"locks.metaparticle.io "a" is forbidden: User "x" cannot patch resource "locks" in API group"#;

#[test]
fn a_403_of_admission_names_no_rule() {
    let quota = "locks.metaparticle.io \"a\" is forbidden: exceeded quota: few";
    let Fatal::Forbidden(text) = fatal(Verb::Create, json!({"code": 403, "message": quota})) else {
        panic!("not forbidden")
    };
    assert!(text.contains(quota) && !text.contains("rbac.yaml"), "{text}");
}

#[test]
fn a_409_of_a_quota_says_nothing_about_the_lock() {
    let status = json!({"code": 409, "reason": "Conflict", "message": "cannot be fulfilled on resourcequotas"});
    assert!(matches!(fault(Verb::Create, status), Fault::Busy(None)));
}

#[test]
fn a_403_names_verb_namespace_and_the_missing_rule() {
    let Fatal::Forbidden(text) = fatal(Verb::Patch, json!({"code": 403, "message": AUTHORIZER})) else {
        panic!("not forbidden")
    };
    for part in ["patch", "shop", "metaparticle.io", "locks", "verbs", "rbac.yaml", AUTHORIZER] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn a_403_of_a_terminating_namespace_is_not_about_rights() {
    let causes = json!([{"reason": "NamespaceTerminating"}]);
    let status = json!({"code": 403, "message": "x", "details": {"causes": causes}});
    assert!(matches!(fatal(Verb::Create, status), Fatal::Other(why) if why.to_string().contains("being deleted")));
}

#[test]
fn what_may_have_been_applied_is_unknown() {
    for code in [401, 408, 410, 500, 502, 503, 504] {
        let fault = fault(Verb::Patch, json!({"code": code, "message": "x"}));
        assert!(matches!(&fault, Fault::Unknown(why) if why.to_string().contains(&code.to_string())), "{code}");
    }
}
