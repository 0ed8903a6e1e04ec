//! The label on the leader's own pod: put on, taken off before a release, and by the successor after a crash.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    core::v1::{Pod, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Config, ResourceExt,
    api::{ListParams, PostParams},
};
use msync::{Client, Election, LossReason};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::{
    cluster::{Cluster, LIMIT, on_leases, soon, ttl},
    tamper::{Call, Fate, Reply, Tamper},
    testbed::ADMIN,
};
use tokio::time::{Instant, sleep};

const SELECTOR: &str = "msync.dev/leader-of-e=true";
/// One of the users that the shared server has.
const USER: &str = "limited";

/// Pods that nobody runs, and clients of the same names.
struct Pods {
    cluster: Cluster,
    pods: Api<Pod>,
}

// === impl Pods ===

impl Pods {
    /// None when there is no server.
    async fn new(names: &[&str]) -> Result<Option<Self>> {
        let Some(cluster) = Cluster::shared().await? else { return Ok(None) };
        let client = cluster.server().client(ADMIN).await?;
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), cluster.namespace());
        let account = serde_json::from_value(json!({"metadata": {"name": "default"}}))?;
        match accounts.create(&PostParams::default(), &account).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {} // a controller was quicker
            made => drop(made?),
        }
        let pods = Api::namespaced(client, cluster.namespace());
        for name in names {
            let pod = json!({
                "metadata": {"name": name},
                "spec": {"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "none"}]},
            });
            pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        }
        Ok(Some(Self { cluster, pods }))
    }

    /// As in a pod: its namespace is the default one.
    async fn config(&self, user: &str) -> Result<Config> {
        let mut config = self.cluster.server().config(user).await?;
        self.cluster.namespace().clone_into(&mut config.default_namespace);
        Ok(config)
    }

    async fn admin(&self, owner: &str) -> Result<(Client, Election)> {
        election(self.config(ADMIN).await?, owner, 5000)
    }

    /// What a Service with the selector would route to.
    async fn labelled(&self) -> Result<Vec<String>> {
        let found = self.pods.list(&ListParams::default().labels(SELECTOR)).await?;
        Ok(found.items.iter().map(ResourceExt::name_any).collect())
    }

    async fn until_labelled(&self, wanted: &[&str]) -> Result<()> {
        let start = Instant::now();
        loop {
            let labelled = self.labelled().await?;
            if labelled == wanted {
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "labelled are {labelled:?}, and not {wanted:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A candidate with the name of a pod.
fn election(config: Config, owner: &str, millis: u64) -> Result<(Client, Election)> {
    let builder = Client::builder().owner(owner).timing(ttl(millis)).config(config);
    let client = if on_leases() { builder.leases() } else { builder }.build()?;
    let election = client.election("e")?.label_pod();
    Ok((client, election))
}

fn document<T: DeserializeOwned>(file: &str, kind: &str) -> Result<T> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/manifests").join(file);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(path)?)?;
    let found = documents.into_iter().find(|document| document["kind"] == kind);
    Ok(serde_json::from_value(found.with_context(|| format!("{file} has a {kind}"))?)?)
}

#[tokio::test]
async fn the_label_is_off_before_the_release_is_sent_and_the_next_leader_wears_it() -> Result<()> {
    let Some(pods) = Pods::new(&["a", "b"]).await? else { return Ok(()) };
    let ((_a, one), (_b, two)) = (pods.admin("a").await?, pods.admin("b").await?);
    assert_eq!(one.pod_label(), "msync.dev/leader-of-e");
    let term = one.campaign().await?;
    pods.until_labelled(&["a"]).await?;
    let history = pods.cluster.history("e").await?;
    let next = tokio::spawn(async move { two.campaign().await });
    pods.cluster.until_waiting("e", 1).await?;
    assert_eq!(pods.labelled().await?, ["a"], "who waits wears none");
    term.resign().await?;
    let term = soon("the next leads", next).await???;
    pods.until_labelled(&["b"]).await?;
    // One counter counts the writes of all objects.
    let off: u64 = pods.pods.get("a").await?.resource_version().context("it has one")?.parse()?;
    let handed = history.sights().into_iter().filter_map(|sight| sight.snapshot);
    let handed =
        handed.filter(|snapshot| snapshot.record.engine.owner() == "b").map(|snapshot| snapshot.version.number);
    let handed = handed.min().context("it was handed over")?;
    ensure!(off < handed, "the label was taken off by write {off}, and the lock was given away by {handed}");
    drop(term);
    pods.until_labelled(&[]).await
}

#[tokio::test]
async fn what_a_leader_wears_that_was_cut_off_its_successor_takes_off() -> Result<()> {
    let Some(pods) = Pods::new(&["a", "b"]).await? else { return Ok(()) };
    let proxy = pods.cluster.server().proxy().await?;
    let mut config = pods.config(ADMIN).await?;
    config.cluster_url = format!("https://{}", proxy.addr()).parse()?;
    let ((_a, one), (_b, two)) = (election(config, "a", 2000)?, pods.admin("b").await?);
    let term = one.campaign().await?;
    pods.until_labelled(&["a"]).await?;
    let next = tokio::spawn(async move { two.campaign().await });
    pods.cluster.until_waiting("e", 1).await?;
    proxy.refuse(true);
    proxy.reset();
    let _next = soon("taken over", next).await???;
    pods.until_labelled(&["b"]).await?;
    assert!(term.check().is_err());
    // Back again, it takes off what it wore for its own term, which is nothing any more.
    proxy.refuse(false);
    drop(term);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(pods.labelled().await?, ["b"]);
    Ok(())
}

#[tokio::test]
async fn the_right_of_the_manifest_is_what_a_label_needs_and_without_it_one_leads_all_the_same() -> Result<()> {
    let Some(pods) = Pods::new(&["a"]).await? else { return Ok(()) };
    let (admin, namespace) = (pods.cluster.server().client(ADMIN).await?, pods.cluster.namespace());
    let grant = async |file: &str| -> Result<()> {
        let mut binding: RoleBinding = document(file, "RoleBinding")?;
        let user = json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}]);
        binding.subjects = serde_json::from_value(user)?;
        let (roles, bindings) = (Api::namespaced(admin.clone(), namespace), Api::namespaced(admin.clone(), namespace));
        roles.create(&PostParams::default(), &document::<Role>(file, "Role")?).await?;
        bindings.create(&PostParams::default(), &binding).await?;
        Ok(())
    };
    grant(if on_leases() { "rbac-leases.yaml" } else { "rbac.yaml" }).await?;
    let (_client, election) = election(pods.config(USER).await?, "a", 5000)?;
    let term = soon("it leads without the right", election.campaign()).await??;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(pods.labelled().await?, [""; 0]);
    soon("and resigns", term.resign()).await??;
    grant("rbac-pod-label.yaml").await?;
    let start = Instant::now();
    loop {
        let term = election.campaign().await?;
        sleep(Duration::from_millis(300)).await;
        let labelled = pods.labelled().await?;
        term.resign().await?;
        if labelled == ["a"] {
            break;
        }
        ensure!(start.elapsed() < LIMIT, "never labelled"); // the authorizer may learn of the right a moment later
    }
    assert_eq!(pods.labelled().await?, [""; 0], "taken off when it resigned");
    Ok(())
}

#[tokio::test]
async fn an_owner_that_is_no_pod_leads_without_a_label() -> Result<()> {
    let Some(pods) = Pods::new(&[]).await? else { return Ok(()) };
    let (_client, election) = pods.admin("elsewhere").await?;
    let term = soon("it leads", election.campaign()).await??;
    soon("and resigns", term.resign()).await??;
    let term = soon("again", election.campaign()).await??;
    term.check()?;
    Ok(())
}

#[tokio::test]
async fn the_label_comes_after_an_outage_and_goes_with_a_loss_and_with_a_shutdown() -> Result<()> {
    let Some(pods) = Pods::new(&["a"]).await? else { return Ok(()) };
    let tamper = Tamper::new();
    let of_pods = |call: &Call| call.is_write() && call.path.contains("/pods/");
    tamper.always(of_pods, Fate::Refuse);
    let client = pods.cluster.client_of(tamper.client(pods.config(ADMIN).await?)?, "a", ttl(15_000));
    let election = client.election("e")?.label_pod();
    let term = soon("it leads without", election.campaign()).await??;
    let tries = || tamper.calls().iter().filter(|call| of_pods(call)).count();
    tests::eventually("tried again", LIMIT, async || tries() >= 2).await?;
    assert_eq!(pods.labelled().await?, [""; 0]);
    tamper.clear();
    pods.until_labelled(&["a"]).await?;
    term.check().context("an outage of two seconds ends no term")?;

    pods.cluster.delete("e").await?;
    assert_eq!(soon("lost", term.lost()).await?, LossReason::Deleted);
    pods.until_labelled(&[]).await?;
    drop(term);

    let term = soon("it leads again", election.campaign()).await??;
    pods.until_labelled(&["a"]).await?;
    let told = async {
        let reason = term.lost().await;
        drop(term);
        reason
    };
    let (reason, ()) = soon("shut down", async { tokio::join!(told, client.shutdown()) }).await?;
    assert_eq!(reason, LossReason::ShutDown);
    pods.until_labelled(&[]).await
}

/// Everything is forbidden for a moment right after a start of the API server, which is when somebody is elected.
#[tokio::test]
async fn a_right_that_comes_late_and_an_attempt_without_an_answer_cost_a_leader_no_label() -> Result<()> {
    let Some(pods) = Pods::new(&["a"]).await? else { return Ok(()) };
    let tamper = Tamper::new();
    let of_pods = |call: &Call| call.is_write() && call.path.contains("/pods/");
    let forbidden = "pods \"a\" is forbidden: User \"web\" cannot patch resource \"pods\"";
    let webhook = "admission webhook \"labels\" denied the request: not now";
    tamper.once(of_pods, Fate::Respond(Reply::error(403, "Forbidden", forbidden)));
    tamper.once(of_pods, Fate::Respond(Reply::error(422, "Invalid", webhook)));
    tamper.once(of_pods, Fate::DeliverLater(Duration::from_secs(3600)));
    let client = pods.cluster.client_of(tamper.client(pods.config(ADMIN).await?)?, "a", ttl(15_000));
    let election = client.election("e")?.label_pod();
    let term = soon("it leads", election.campaign()).await??;
    pods.until_labelled(&["a"]).await?;
    tamper.once(of_pods, Fate::Respond(Reply::error(403, "Forbidden", forbidden)));
    soon("a refusal holds up no resignation", term.resign()).await??;
    pods.until_labelled(&[]).await
}

/// Who may not label pods at all resigns at once, and is told of it once.
#[tokio::test]
async fn a_label_that_was_never_put_on_is_not_taken_off() -> Result<()> {
    let Some(pods) = Pods::new(&["a"]).await? else { return Ok(()) };
    let tamper = Tamper::new();
    let of_pods = |call: &Call| call.is_write() && call.path.contains("/pods/");
    tamper.always(of_pods, Fate::Respond(Reply::error(403, "Forbidden", "pods \"a\" is forbidden")));
    let client = pods.cluster.client_of(tamper.client(pods.config(ADMIN).await?)?, "a", ttl(15_000));
    let election = client.election("e")?.label_pod();
    let tries = || tamper.calls().iter().filter(|call| of_pods(call)).count();
    for term in 1..=3 {
        let leads = soon("it leads", election.campaign()).await??;
        tests::eventually("it has tried", LIMIT, async || tries() == term).await?;
        let start = Instant::now();
        leads.resign().await?;
        ensure!(start.elapsed() < Duration::from_secs(2), "the resignation waited for a label: {:?}", start.elapsed());
    }
    Ok(())
}
