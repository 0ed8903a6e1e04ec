//! What admission refuses, a webhook or a policy: it reaches the user at once and in its own words, whatever code it has.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, api::PostParams};
use msync::{
    Error, LossReason, Timing,
    clock::{BootClock, Clock},
};
use serde_json::json;
use tests::{
    cluster::{
        Cluster, LIMIT,
        leases::{probe, resource},
        soon, ttl,
    },
    eventually,
    tamper::Tamper,
    webhook::{Verdict, Webhook},
};

use super::{kube_of, waiting};

const WORDS: &str = "locks need a label of their team";

fn is_said(error: &Error) -> bool {
    matches!(error, Error::Store { .. }) && error.to_string().contains(WORDS)
}

#[tokio::test]
async fn a_write_that_a_webhook_denies_reaches_the_user_with_its_words() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let webhook = Webhook::before(&kube_of(&cluster).await?, cluster.namespace(), &["UPDATE", "DELETE"]).await?;
    let client = cluster.client("a", ttl(15_000)).await?;
    for code in [422, 403, 400, 404, 409] {
        webhook.says(Verdict::Deny(code, WORDS.to_owned()));
        let began = BootClock.now();
        let acquired = soon("it acquires", client.lock("x")?.acquire()).await?.map(drop);
        let tried = soon("it tries", client.lock("x")?.try_acquire()).await?.map(drop);
        let campaigned = soon("it campaigns", client.election("e")?.campaign()).await?.map(drop);
        assert!(BootClock.now().since(began) < Duration::from_secs(15), "{code}: at once");
        for error in [acquired, tried, campaigned] {
            let error = error.expect_err("nothing may be written");
            assert!(is_said(&error), "{code}: {error:?}");
        }
    }
    webhook.remove().await
}

/// A policy that allows no lock in a namespace, and says why with a reason of its own.
async fn forbid(kube: &kube::Client, namespace: &str, reason: &str) -> Result<()> {
    let name = format!("{namespace}-{}", reason.to_lowercase());
    let (group, plural) = resource();
    let locks = json!({"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE"], "resources": [plural]});
    let policy = json!({
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [locks]},
            "validations": [{"expression": "false", "message": WORDS, "reason": reason}],
        },
    });
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let binding = json!({
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {"namespaceSelector": here}},
    });
    let policy: ValidatingAdmissionPolicy = serde_json::from_value(policy)?;
    let binding: ValidatingAdmissionPolicyBinding = serde_json::from_value(binding)?;
    Api::all(kube.clone()).create(&PostParams::default(), &policy).await?;
    Api::all(kube.clone()).create(&PostParams::default(), &binding).await?;
    Ok(())
}

/// It answers 403, 413 or 422, by its reason; none of them is about rights or a failed `test`.
#[tokio::test]
async fn a_write_that_an_admission_policy_denies_reaches_the_user_with_its_words() -> Result<()> {
    for reason in ["Forbidden", "Invalid", "RequestEntityTooLarge"] {
        let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
        let kube = kube_of(&cluster).await?;
        forbid(&kube, cluster.namespace(), reason).await?;
        eventually("the policy is in force", LIMIT, async || probe(&kube, cluster.namespace()).await.is_err()).await?;
        let client = cluster.client("a", ttl(15_000)).await?;
        let began = BootClock.now();
        let acquired = soon("it acquires", client.lock("x")?.acquire()).await?.map(drop);
        let tried = soon("it tries", client.lock("x")?.try_acquire()).await?.map(drop);
        let campaigned = soon("it campaigns", client.election("e")?.campaign()).await?.map(drop);
        assert!(BootClock.now().since(began) < Duration::from_secs(8), "{reason}: at once");
        for error in [acquired, tried, campaigned] {
            let error = error.expect_err("nothing may be written");
            assert!(is_said(&error), "{reason}: {error:?}");
        }
    }
    Ok(())
}

/// 422 without causes is what a failed `test` looks like, but for the words.
#[tokio::test]
async fn a_422_of_a_webhook_is_no_failed_condition() -> Result<()> {
    const SHORT: u64 = 6_000;
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let webhook = Webhook::before(&kube_of(&cluster).await?, cluster.namespace(), &["UPDATE", "DELETE"]).await?;
    let tamper = Tamper::new();
    let (a, b) = (cluster.client("a", ttl(SHORT)).await?, cluster.client_with(&tamper, false, "b", ttl(SHORT)).await?);
    let guard = a.lock("x")?.acquire().await?;
    webhook.says(Verdict::Deny(422, WORDS.to_owned()));
    let waited = soon("a waiter is told", b.lock("x")?.acquire()).await?.map(drop).expect_err("it cannot wait");
    assert!(is_said(&waited), "{waited:?}");
    assert!(tamper.calls().len() < 20, "{:?}", tamper.calls());
    assert_eq!(soon("the holder is told", guard.lost()).await?, LossReason::Refused);
    drop(guard);
    webhook.says(Verdict::Allow);
    let guard = soon("all is well again", a.lock("x")?.acquire()).await??;
    webhook.says(Verdict::Deny(422, WORDS.to_owned()));
    let released = soon("a release is told", guard.release()).await?.expect_err("it may not delete");
    assert!(is_said(&released), "{released:?}");
    webhook.says(Verdict::Allow);
    cluster.until_gone("x").await?;
    webhook.remove().await
}

/// The API server gives a request up with its client: nothing is ever written in the usual time of a call, 2.5 s.
#[tokio::test]
async fn a_webhook_that_takes_three_seconds_is_waited_for() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let webhook = Webhook::before(&kube_of(&cluster).await?, cluster.namespace(), &["UPDATE", "DELETE"]).await?;
    webhook.says(Verdict::AllowLate(Duration::from_secs(3)));
    let (a, b) = (cluster.client("a", Timing::default()).await?, cluster.client("b", Timing::default()).await?);
    let guard = soon("it acquires", a.lock("x")?.acquire()).await??;
    let waits = waiting(&cluster, &b, "x").await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    guard.check()?;
    guard.release().await?;
    let guard = soon("the successor acquires", waits).await???;
    guard.check()?;
    guard.release().await?;
    webhook.remove().await
}
