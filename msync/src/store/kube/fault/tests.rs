use serde_json::{Value, json};

use super::*;
use crate::{
    LockName,
    store::{KubeStore, Store},
};

fn fault(verb: Verb, status: Value) -> Fault {
    let call = Call { verb, namespace: "shop".into(), resource: &LOCKS };
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

/// As Kubernetes 1.36 answers to a `test` that fails and to a path that is missing.
fn failed_condition() -> Value {
    let message = "the server rejected our request due to an error in our request";
    json!({"code": 422, "reason": "Invalid", "status": "Failure", "message": message, "details": {}})
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
fn what_was_met_on_the_way_is_told_without_kubes_word_for_it() {
    let call = Call { verb: Verb::Get, namespace: "shop".into(), resource: &LOCKS };
    let fault = call.fault(kube::Error::Service("cannot connect to https://10.0.0.1".into()));
    assert!(matches!(fault, Fault::Unknown(_)), "{fault:?}");
    assert_eq!(fault.describe(), "cannot connect to https://10.0.0.1");
}

#[test]
fn a_422_about_nothing_is_a_condition_that_did_not_hold() {
    assert_eq!(refused(Verb::Patch, failed_condition()), Refused::Mismatch);
}

#[test]
fn a_422_that_is_no_failed_condition_is_fatal_and_says_what_the_server_said() {
    let webhook = "admission webhook \"p.example.com\" denied the request: locks need a label";
    let changed = |change: Value| {
        let mut status = failed_condition();
        status.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        status
    };
    for other in [
        changed(json!({"message": webhook})),
        changed(json!({"message": "locks need a label", "details": {"name": "a", "kind": "locks"}})),
        changed(json!({"message": "locks need a label", "details": {"causes": [{"message": "a label"}]}})),
        changed(json!({"message": "locks need a label", "reason": "Forbidden"})),
        changed(json!({"message": "locks need a label", "details": null})),
    ] {
        let why = fatal(Verb::Patch, other.clone()).to_string();
        assert!(why.contains("locks need a label"), "{other}: {why}");
    }
    assert!(matches!(fatal(Verb::Create, failed_condition()), Fatal::Other(_)), "a creation has no conditions");
}

#[test]
fn a_webhook_may_deny_with_any_code() {
    let webhook = "admission webhook \"p.example.com\" denied the request: locks need a label";
    for code in [400, 401, 403, 404, 409, 410, 413, 422] {
        for verb in [Verb::Create, Verb::Patch, Verb::Delete] {
            for reason in ["AlreadyExists", "Conflict", "Invalid", ""] {
                let why = fatal(verb, json!({"code": code, "message": webhook, "reason": reason}));
                assert!(matches!(&why, Fatal::Other(why) if why.to_string().contains("a label")), "{code}: {why:?}");
            }
        }
    }
    let busy = json!({"code": 429, "message": webhook, "details": {"retryAfterSeconds": 2}});
    assert!(matches!(fault(Verb::Patch, busy), Fault::Busy(Some(_))));
    assert!(matches!(fault(Verb::Patch, json!({"code": 503, "message": webhook})), Fault::Unknown(_)));
}

#[test]
fn a_policy_denies_at_once_whatever_its_reason() {
    let policy = "locks.metaparticle.io \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: locks need a label";
    for (code, reason) in [(403, "Forbidden"), (413, "RequestEntityTooLarge"), (422, "Invalid")] {
        for verb in [Verb::Create, Verb::Patch, Verb::Delete] {
            let why = fatal(verb, json!({"code": code, "message": policy, "reason": reason}));
            assert!(matches!(&why, Fatal::Other(why) if why.to_string().contains("a label")), "{code}: {why:?}");
        }
    }
}

#[test]
fn a_401_may_pass_and_names_the_credentials() {
    let why = fatal(Verb::Get, json!({"code": 401, "message": "Unauthorized"}));
    assert!(matches!(&why, Fatal::Forbidden(text) if text.contains("credentials")), "{why:?}");
    assert!(why.may_pass());
}

#[test]
fn a_field_that_cannot_be_selected_by_means_an_outdated_resource() {
    let status = json!({"code": 400, "reason": "BadRequest", "message": "field label not supported: spec.engine"});
    let why = fatal(Verb::List, status.clone());
    assert!(matches!(&why, Fatal::CrdOutdated(text) if text.contains("outdated") && text.contains("spec.engine")));
    assert!(!why.may_pass());
    assert!(matches!(fatal(Verb::Patch, status), Fatal::Other(_)));
}

#[test]
fn what_no_retry_would_change_is_fatal() {
    for code in [400, 405, 413, 415] {
        assert!(matches!(fatal(Verb::Patch, json!({"code": code, "message": "x"})), Fatal::Other(_)), "{code}");
    }
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
    for code in [408, 410, 500, 502, 503, 504] {
        let fault = fault(Verb::Patch, json!({"code": code, "message": "x"}));
        assert!(matches!(&fault, Fault::Unknown(why) if why.to_string().contains(&code.to_string())), "{code}");
    }
}

/// Every code that there is, with and without details and causes, to every verb: only what is known to be a race is taken for one, and only
/// rights, credentials and the resource for what may pass. Whatever else an answer is, it is neither tried for ever in silence
/// nor final while it may be the server's weakness.
#[test]
fn no_unknown_answer_is_a_race_and_no_weakness_of_the_server_is_final() {
    let verbs = [Verb::Get, Verb::Create, Verb::Patch, Verb::Delete, Verb::List, Verb::Watch];
    let reasons =
        ["", "Invalid", "NotFound", "AlreadyExists", "Conflict", "Expired", "InternalError", "MethodNotAllowed"];
    let details = [
        json!(null),
        json!({}),
        json!({"name": "a", "kind": "locks", "group": "metaparticle.io"}),
        json!({"name": "a", "kind": "pods"}),
        json!({"causes": [{"reason": "FieldValueInvalid", "field": "spec.term"}]}),
        json!({"causes": [{"reason": "InternalError", "message": "failed calling webhook"}]}),
        json!({"causes": [{"reason": "FieldValueTooMany", "field": "spec.waiters"}]}),
    ];
    let codes = (400..=431).chain(500..=511);
    for (code, verb) in codes.flat_map(|code| verbs.map(|verb| (code, verb))) {
        for (reason, details) in reasons.iter().flat_map(|reason| details.iter().map(move |details| (*reason, details)))
        {
            let status = json!({"code": code, "reason": reason, "message": "something is wrong", "details": details});
            let said = format!("{verb:?}: {status}");
            let about_nothing = *details == json!({});
            let race = match code {
                404 => details["kind"] == "locks",
                409 => verb == Verb::Delete || (verb == Verb::Create && reason == "AlreadyExists"),
                422 if verb == Verb::Patch && reason == "Invalid" && about_nothing => true,
                422 => details["causes"][0]["reason"] == "FieldValueTooMany",
                _ => false,
            };
            let weak = matches!(code, 408..=410 | 429 | 500..) && !race;
            let fault = fault(verb, status);
            assert_eq!(matches!(fault, Fault::Refused(_)), race, "{said}: {fault:?}");
            assert_eq!(matches!(fault, Fault::Busy(_) | Fault::Unknown(_)), weak, "{said}: {fault:?}");
            if let Fault::Fatal(fatal) = &fault {
                let may_pass = matches!(code, 401 | 403) || (code == 404 && details.is_null());
                assert_eq!(fatal.may_pass(), may_pass, "{said}: {fatal:?}");
                assert!(fatal.to_string().contains("something is wrong"), "{said}: {fatal:?}");
            }
        }
    }
}
