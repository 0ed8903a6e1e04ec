//! What a real API server says when it cannot or will not serve: webhooks, a full etcd, an outdated resource, a restart,
//! wrong credentials and addresses. Each reaches the user in words, within a time, and at a bearable rate.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::{
    api::{
        core::v1::ConfigMap,
        rbac::v1::{Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{DynamicObject, ObjectMeta, Patch, PatchParams, PostParams},
    config::AuthInfo,
    core::ApiResource,
};
use msync::{
    Client, Error, LossReason, Timing,
    unstable::crd::{Lock, LockSpec, definition, install_crd},
};
use serde_json::json;
use tests::{
    cluster::{Cluster, LIMIT, soon, ttl},
    eventually,
    tamper::{Call, Tamper},
    testbed::{ADMIN, Options},
    webhook::{Verdict, Webhook},
};
use tokio::task::JoinSet;

use super::{acquiring, kube_of, millis};

/// Counts the calls of some seconds that begin after five.
async fn calls_after_five_seconds(tamper: &Tamper, seconds: u64) -> usize {
    tokio::time::sleep(Duration::from_secs(5)).await;
    let writes_and_reads = || {
        let watches = |call: &&Call| !call.path.contains("watch=") && !call.path.contains("fieldSelector");
        tamper.calls().iter().filter(watches).count()
    };
    let before = writes_and_reads();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    writes_and_reads() - before
}

#[tokio::test]
async fn a_webhook_that_is_down_is_said_and_not_hammered() -> Result<()> {
    let Some(cluster) = Cluster::shared().await?.and_then(Cluster::of_the_resource) else { return Ok(()) };
    let webhook = Webhook::before(&kube_of(&cluster).await?, cluster.namespace(), &["UPDATE"]).await?;
    webhook.says(Verdict::Down);
    let tamper = Tamper::new();
    let client = cluster.client_with(&tamper, false, "a", ttl(15_000)).await?;
    let waits = acquiring(&client, "x");
    let calls = calls_after_five_seconds(&tamper, 10).await;
    assert!(calls <= 20, "{calls} calls in ten seconds");
    let error = client.lock("x")?.acquire_timeout(Duration::from_secs(5)).await.map(drop).expect_err("no lock");
    assert!(matches!(&error, Error::Unavailable { .. }) && !error.is_busy(), "{error:?}");
    assert!(error.to_string().contains("failed calling webhook"), "{error}");
    webhook.says(Verdict::Allow);
    soon("it acquires", waits).await???.release().await?;
    webhook.remove().await
}

/// Stores until etcd refuses. Reads go on.
async fn fill(kube: &kube::Client) -> Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(kube.clone());
    for n in 0..200 {
        let data = [("x".to_owned(), "y".repeat(900_000))].into();
        let metadata = ObjectMeta { name: Some(format!("fill-{n}")), ..ObjectMeta::default() };
        match maps
            .create(&PostParams::default(), &ConfigMap { metadata, data: Some(data), ..ConfigMap::default() })
            .await
        {
            Ok(_) => {}
            Err(error) if error.to_string().contains("space exceeded") => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("etcd is never full")
}

#[tokio::test]
async fn a_full_etcd_is_said_and_not_hammered() -> Result<()> {
    let options = Options { etcd_quota: Some(32 << 20), ..Options::default() };
    let Some(cluster) = Cluster::start(options).await?.and_then(Cluster::of_the_resource) else { return Ok(()) };
    let tamper = Tamper::new();
    let client = cluster.client_with(&tamper, false, "a", ttl(6_000)).await?;
    let guard = client.lock("held")?.acquire().await?;
    fill(&kube_of(&cluster).await?).await?;
    assert_eq!(soon("the holder is told", guard.lost()).await?, LossReason::Deadline, "it may have been the network");
    drop(guard);
    cluster.until("the hold is past", "held", |found| found.is_some()).await?;
    tokio::time::sleep(millis(7_000)).await; // the release of what was lost is given up
    let waits = acquiring(&client, "x");
    let calls = calls_after_five_seconds(&tamper, 10).await;
    assert!(calls <= 20, "{calls} calls in ten seconds");
    for error in [
        client.lock("x")?.acquire_timeout(Duration::from_secs(3)).await.map(drop).expect_err("no lock"),
        client.lock("y")?.try_acquire().await.map(drop).expect_err("no lock"),
    ] {
        assert!(!error.is_busy() && error.to_string().contains("space exceeded"), "{error:?}");
    }
    waits.abort();
    Ok(())
}

/// What is changed of our resource to make it an older one, and what the user must read of it.
fn outdated() -> Result<Vec<(CustomResourceDefinition, &'static str)>> {
    let without = |field: &str| -> Result<CustomResourceDefinition> {
        let mut old = serde_json::to_value(definition())?;
        let spec = &mut old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        spec["properties"].as_object_mut().context("fields")?.remove(field).context("a field")?;
        let selectable = old["spec"]["versions"][0]["selectableFields"].as_array_mut().context("selectable fields")?;
        selectable.retain(|selectable| selectable["jsonPath"] != format!(".spec.{field}"));
        Ok(serde_json::from_value(old)?)
    };
    let mut unselectable = definition();
    unselectable.spec.versions[0].selectable_fields = None;
    let mut ancestor = serde_json::to_value(definition())?;
    let fields = json!({"owner": {"type": "string"}, "expiry": {"type": "string", "format": "date-time"}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": fields}}});
    ancestor["spec"]["versions"] =
        json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]);
    Ok(vec![
        (without("beat")?, "beat"),
        (without("waiters")?, "waiters"),
        (without("next")?, "next"),
        (unselectable, "spec.engine"),
        (serde_json::from_value(ancestor)?, "outdated"),
    ])
}

async fn replace(kube: &kube::Client, old: &CustomResourceDefinition) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(kube.clone());
    let patch = json!([{"op": "replace", "path": "/spec", "value": old.spec}]);
    let patch = Patch::<()>::Json(serde_json::from_value(patch)?);
    definitions.patch("locks.metaparticle.io", &PatchParams::default(), &patch).await?;
    let objects: Api<DynamicObject> = Api::namespaced_with(kube.clone(), "default", &ApiResource::erase::<Lock>(&()));
    let wanted: Vec<String> =
        serde_json::to_value(&old.spec.versions[0])?["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
            .as_object()
            .context("fields")?
            .keys()
            .cloned()
            .collect();
    let selects = old.spec.versions[0].selectable_fields.is_some();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let mut probe = DynamicObject::new("probe", &ApiResource::erase::<Lock>(&()));
    probe.data = json!({"spec": serde_json::to_value(LockSpec::default())?});
    probe.data["spec"]["expiry"] = json!("2026-11-22T14:00:50.000Z");
    let selector = kube::api::ListParams::default().fields("spec.engine=nobody");
    eventually("the other resource is served", LIMIT, async || {
        let made = objects.create(&dry, &probe).await.ok();
        let kept = made.and_then(|made| Some(made.data.get("spec")?.as_object()?.keys().cloned().collect::<Vec<_>>()));
        kept.is_some_and(|kept| kept.len() == wanted.len()) && objects.list(&selector).await.is_ok() == selects
    })
    .await
}

fn is_outdated(error: &Error, says: &str) -> bool {
    matches!(error, Error::CrdMissing(text) if text.contains("outdated") && text.contains(says))
}

#[tokio::test]
async fn nobody_has_a_lock_of_an_outdated_resource_and_everybody_is_told() -> Result<()> {
    let Some(cluster) = Cluster::start(Options::default()).await?.and_then(Cluster::of_the_resource) else {
        return Ok(());
    };
    let kube = kube_of(&cluster).await?;
    for (old, says) in outdated()? {
        replace(&kube, &old).await?;
        let client = cluster.client("a", Timing::default()).await?;
        for round in 0..2 {
            let lock = client.lock(format!("{}-{round}", if says == "spec.engine" { "engine" } else { says }))?;
            let acquired = soon("it acquires", lock.acquire()).await?.map(drop);
            let tried = soon("it tries", lock.try_acquire()).await?.map(drop);
            let within = soon("it waits", lock.acquire_timeout(Duration::from_secs(30))).await?.map(drop);
            let campaigned = soon("it campaigns", client.election("e")?.campaign()).await?.map(drop);
            for error in [acquired, tried, within, campaigned] {
                let error = error.expect_err("no lock of such a resource");
                assert!(is_outdated(&error, says), "{says}: {error:?}");
            }
        }
        eventually("nothing is left behind", LIMIT, async || {
            cluster_objects(&kube, cluster.namespace()).await.is_ok_and(|left| left.is_empty())
        })
        .await?;
    }
    install_crd(&kube).await?;
    let client = cluster.client("a", Timing::default()).await?;
    soon("it acquires", client.lock("x")?.acquire()).await??.release().await?;
    Ok(())
}

async fn cluster_objects(kube: &kube::Client, namespace: &str) -> Result<Vec<String>> {
    let objects: Api<DynamicObject> = Api::namespaced_with(kube.clone(), namespace, &ApiResource::erase::<Lock>(&()));
    let list = objects.list(&kube::api::ListParams::default()).await?;
    Ok(list.items.into_iter().filter_map(|object| object.metadata.name).collect())
}

/// Grants a user of the test server everything that msync needs.
async fn grant(cluster: &Cluster, user: &str) -> Result<()> {
    let kube = kube_of(cluster).await?;
    let role: Role = serde_json::from_value(json!({
        "metadata": {"name": "msync"},
        "rules": [{"apiGroups": ["metaparticle.io"], "resources": ["locks"],
                   "verbs": ["create", "delete", "get", "list", "patch", "watch"]}],
    }))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "msync"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "msync"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    }))?;
    Api::namespaced(kube.clone(), cluster.namespace()).create(&PostParams::default(), &role).await?;
    Api::namespaced(kube, cluster.namespace()).create(&PostParams::default(), &binding).await?;
    let locks: Api<Lock> = Api::namespaced(cluster.server().client(user).await?, cluster.namespace());
    eventually("the server knows the role", LIMIT, async || locks.list(&kube::api::ListParams::default()).await.is_ok())
        .await
}

/// Tasks of one client that have locks in turn, and one that asks on its own what the server says.
struct Crowd {
    over: AtomicBool,
    rounds: AtomicUsize,
    failures: AtomicUsize,
    /// How often the server said 403.
    denied: AtomicUsize,
}

impl Crowd {
    /// Has locks and gives them back, until it is over.
    async fn take_turns(self: Arc<Self>, lock: msync::Lock) {
        while !self.over.load(Ordering::Relaxed) {
            let round = async { lock.acquire().await?.release().await };
            if let Err(error) = round.await {
                println!("{error:?}");
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
            self.rounds.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(millis(20)).await;
        }
    }

    /// Reads without any patience, until it is over.
    async fn probe(self: Arc<Self>, locks: Api<Lock>) {
        while !self.over.load(Ordering::Relaxed) {
            if matches!(locks.get("held").await, Err(kube::Error::Api(status)) if status.code == 403) {
                self.denied.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep(millis(5)).await;
        }
    }

    fn start(client: &Client, locks: &Api<Lock>) -> Result<(Arc<Self>, JoinSet<()>)> {
        let [rounds, failures, denied] = [(); 3].map(|()| AtomicUsize::new(0));
        let (crowd, mut tasks) =
            (Arc::new(Self { over: AtomicBool::new(false), rounds, failures, denied }), JoinSet::new());
        for task in 0..20 {
            tasks.spawn(Arc::clone(&crowd).take_turns(client.lock(format!("busy-{task}"))?));
        }
        tasks.spawn(Arc::clone(&crowd).probe(locks.clone()));
        Ok((crowd, tasks))
    }
}

/// Right after its start the API server has read no rules of RBAC and answers 403 to everybody but its administrators. A start
/// may be too quick to show that: it is started until it has.
#[tokio::test]
async fn a_403_right_after_a_restart_costs_nobody_anything() -> Result<()> {
    const USER: &str = "web";
    let Some(cluster) = Cluster::start(Options::with_users(&[USER])).await?.and_then(Cluster::of_the_resource) else {
        return Ok(());
    };
    grant(&cluster, USER).await?;
    let kube = cluster.server().client(USER).await?;
    let client = cluster.client_of(kube.clone(), "a", ttl(120_000));
    let held = client.lock("held")?.acquire().await?;
    let (crowd, tasks) = Crowd::start(&client, &Api::namespaced(kube, cluster.namespace()))?;
    let (rounds, denied) = (|| crowd.rounds.load(Ordering::Relaxed), || crowd.denied.load(Ordering::Relaxed));
    let mut restarts = 0;
    while denied() == 0 || restarts < 2 {
        ensure!(restarts < 12, "no start has shown a 403");
        restarts += 1;
        cluster.server().restart().await?;
        let before = rounds();
        eventually("locks are had again", LIMIT, async || rounds() > before + 40).await?;
    }
    crowd.over.store(true, Ordering::Relaxed);
    soon("the tasks end", tasks.join_all()).await?;
    println!("{} rounds, {restarts} restarts, {} probes met a 403", rounds(), denied());
    assert_eq!(crowd.failures.load(Ordering::Relaxed), 0, "of {} rounds", rounds());
    held.check()?;
    held.release().await?;
    let admin = kube_of(&cluster).await?;
    eventually("every lock is given back", LIMIT, async || {
        cluster_objects(&admin, cluster.namespace()).await.is_ok_and(|left| left.is_empty())
    })
    .await
}

async fn given_up(client: &Client) -> Result<Error> {
    let error = soon("it gives up", client.lock("x")?.acquire_timeout(Duration::from_secs(3))).await?;
    let error = error.map(drop).expect_err("no lock");
    assert!(!error.is_busy(), "{error:?}");
    Ok(error)
}

#[tokio::test]
async fn credentials_that_nobody_knows_are_named() -> Result<()> {
    let Some(cluster) = Cluster::shared().await?.and_then(Cluster::of_the_resource) else { return Ok(()) };
    let mut config = cluster.server().config(ADMIN).await?;
    config.auth_info = AuthInfo { token: Some("expired".to_owned().into()), ..AuthInfo::default() };
    let client = cluster.client_of(kube::Client::try_from(config)?, "a", ttl(15_000));
    for error in [
        given_up(&client).await?,
        soon("it acquires", client.lock("x")?.acquire()).await?.map(drop).expect_err("no lock"),
        soon("it tries", client.lock("x")?.try_acquire()).await?.map(drop).expect_err("no lock"),
    ] {
        assert!(matches!(&error, Error::Forbidden(text) if text.contains("credentials")), "{error:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_address_or_authority_is_named_with_its_cause() -> Result<()> {
    let Some(cluster) = Cluster::shared().await?.and_then(Cluster::of_the_resource) else { return Ok(()) };
    let mut untrusted = cluster.server().config(ADMIN).await?;
    let key = rcgen_certificate()?;
    untrusted.root_cert = Some(vec![key]);
    let mut closed = cluster.server().config(ADMIN).await?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    closed.cluster_url = format!("https://127.0.0.1:{port}").parse()?;
    for (config, cause) in [(untrusted, "certificate"), (closed, "refused")] {
        let client = cluster.client_of(kube::Client::try_from(config)?, "a", ttl(15_000));
        let error = given_up(&client).await?;
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains(cause), "{error}");
    }
    Ok(())
}

/// Another authority than the server's.
fn rcgen_certificate() -> Result<Vec<u8>> {
    let key = rcgen::KeyPair::generate()?;
    Ok(rcgen::CertificateParams::new(vec!["other".to_owned()])?.self_signed(&key)?.der().to_vec())
}

#[tokio::test]
async fn a_frozen_server_is_not_busy() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await?.and_then(Cluster::of_the_resource) else { return Ok(()) };
    let client = cluster.client("a", ttl(15_000)).await?;
    cluster.server().freeze().await?;
    let error = given_up(&client).await;
    cluster.server().thaw().await?;
    let error = error?;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    Ok(())
}

/// What the server says of a failed `test` and of a missing path, on which all conditions rest.
#[tokio::test]
async fn a_failed_condition_is_a_422_about_nothing() -> Result<()> {
    let Some(cluster) = Cluster::shared().await?.and_then(Cluster::of_the_resource) else { return Ok(()) };
    cluster.make("x", json!({})).await?;
    let patches = [
        json!([{"op": "test", "path": "/spec/term", "value": "0000000000000001"}]),
        json!([{"op": "remove", "path": "/spec/waiters/5"}]),
        json!([{"op": "test", "path": "/spec/nothing", "value": ""}]),
    ];
    for patch in patches {
        let patch = Patch::<()>::Json(serde_json::from_value(patch)?);
        let refused = cluster.locks().patch("x", &PatchParams::default(), &patch).await;
        let Err(kube::Error::Api(status)) = refused else { bail!("{refused:?}") };
        let details = status.details.as_ref().context("details")?;
        assert_eq!((status.code, &*status.reason), (422, "Invalid"), "{status:?}");
        assert!(details.name.is_empty() && details.kind.is_empty() && details.causes.is_empty(), "{status:?}");
        assert_eq!(status.message, "the server rejected our request due to an error in our request");
    }
    Ok(())
}
