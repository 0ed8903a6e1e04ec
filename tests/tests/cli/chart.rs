//! The Helm chart: rendered by the real Helm, taken and run by a real API server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    api::{authorization::v1::SubjectAccessReview, batch::v1::CronJob, core::v1::ConfigMap, rbac::v1::RoleBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::{Scope, pinned_kind},
};
use serde_json::{Value, json};
use tests::{
    skipped,
    testbed::{ADMIN, Options, TestServer, helm},
};

use crate::child::{ended, msync};

pub(crate) const ALL: &str = "gc.enabled=true,prometheusRule.enabled=true,dashboard.enabled=true";

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/msync")
}

/// Helm; `None`, said loudly, where it cannot be built.
pub(crate) fn helm_or_skip() -> Result<Option<PathBuf>> {
    let found = helm()?;
    if found.is_none() {
        skipped("the chart's tests: there is no Go to build Helm with");
    }
    Ok(found)
}

fn run(helm: &Path, args: &[&str]) -> Result<Output> {
    let home = tempfile::tempdir()?;
    Command::new(helm)
        .args(args)
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .output()
        .context("run helm")
}

/// What Helm renders of the chart, with more flags.
pub(crate) fn rendered(helm: &Path, flags: &[&str]) -> Result<Vec<Value>> {
    let chart = chart().display().to_string();
    let fixed = ["template", "billing", &chart, "--namespace", "billing", "--kube-version", "1.36.0"];
    let output = run(helm, &[&fixed, flags].concat())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let documents: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?;
    Ok(documents.into_iter().filter(Value::is_object).collect())
}

fn kinds(documents: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<_> = documents.iter().filter_map(|document| document["kind"].as_str()).collect();
    kinds.sort_unstable();
    kinds
}

pub(crate) fn find<'a>(documents: &'a [Value], kind: &str) -> Result<&'a Value> {
    documents.iter().find(|document| document["kind"] == kind).with_context(|| format!("a {kind}"))
}

#[test]
fn the_chart_is_of_this_version() -> Result<()> {
    let chart: Value = serde_saphyr::from_str(&fs::read_to_string(chart().join("Chart.yaml"))?)?;
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(env!("CARGO_PKG_VERSION")))
    );
    Ok(())
}

#[test]
fn helm_finds_no_fault_with_it() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let output =
        run(&helm, &["lint", "--strict", "--kube-version", "1.36.0", "--set", ALL, &chart().display().to_string()])?;
    ensure!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn by_default_it_brings_the_resource_the_rights_and_a_test() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let documents = rendered(&helm, &[])?;
    assert_eq!(kinds(&documents), ["CustomResourceDefinition", "Pod", "Role", "RoleBinding"]);
    let definition = find(&documents, "CustomResourceDefinition")?;
    assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    let parsed: CustomResourceDefinition = serde_json::from_value(definition.clone())?;
    assert_eq!(parsed.spec, msync::unstable::crd::definition().spec, "Helm changed nothing");
    let role = find(&documents, "Role")?;
    let manifest: Vec<Value> =
        serde_saphyr::from_multiple(&fs::read_to_string(chart().join("../../examples/manifests/rbac.yaml"))?)?;
    assert_eq!(role["rules"], manifest[0]["rules"]);
    let more = rendered(&helm, &["--set", "rbac.events=true"])?;
    let events: Vec<Value> =
        serde_saphyr::from_multiple(&fs::read_to_string(chart().join("../../examples/manifests/rbac-events.yaml"))?)?;
    assert_eq!(find(&more, "Role")?["rules"], json!([manifest[0]["rules"][0], events[0]["rules"][0]]));
    assert_eq!(
        find(&documents, "RoleBinding")?["subjects"],
        json!([{"kind": "ServiceAccount", "name": "default", "namespace": "billing"}])
    );
    Ok(())
}

#[test]
fn each_part_can_be_left_out_or_chosen() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let none = rendered(&helm, &["--set", "crds.enabled=false,rbac.enabled=false,test.enabled=false"])?;
    assert!(none.is_empty(), "{none:?}");
    let unkept = rendered(&helm, &["--set", "crds.keep=false"])?;
    assert_eq!(find(&unkept, "CustomResourceDefinition")?["metadata"]["annotations"], Value::Null);
    let two = rendered(
        &helm,
        &["--set-json", r#"rbac.namespaces=[{"namespace":"a","serviceAccounts":["x","y"]},{"namespace":"b"}]"#],
    )?;
    let bindings: Vec<_> = two.iter().filter(|document| document["kind"] == "RoleBinding").collect();
    assert_eq!(bindings[0]["subjects"][1], json!({"kind": "ServiceAccount", "name": "y", "namespace": "a"}));
    assert_eq!(bindings[1]["subjects"], json!([{"kind": "ServiceAccount", "name": "default", "namespace": "b"}]));
    let gc = rendered(
        &helm,
        &[
            "--set",
            "gc.enabled=true,image.repository=r/msync",
            "--set-string",
            "image.tag=7",
            "--set",
            "gc.namespaces={a,b}",
        ],
    )?;
    let jobs: Vec<_> = gc.iter().filter(|document| document["kind"] == "CronJob").collect();
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"], "r/msync:7");
    Ok(())
}

#[test]
fn on_leases_it_brings_no_resource_and_the_rights_of_leases() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let documents = rendered(&helm, &["--set", "store=leases,gc.enabled=true"])?;
    assert!(!kinds(&documents).contains(&"CustomResourceDefinition"));
    let manifest: Vec<Value> =
        serde_saphyr::from_multiple(&fs::read_to_string(chart().join("../../examples/manifests/rbac-leases.yaml"))?)?;
    let roles: Vec<_> = documents.iter().filter(|one| one["kind"] == "Role").map(|role| &role["rules"]).collect();
    assert!(roles.contains(&&manifest[0]["rules"]), "{roles:?}");
    assert!(roles.iter().all(|rules| rules[0]["resources"] == json!(["leases"])), "{roles:?}");
    let job = &find(&documents, "CronJob")?["spec"]["jobTemplate"]["spec"]["template"];
    for pod in [job, find(&documents, "Pod")?] {
        let command: Vec<String> = serde_json::from_value(pod["spec"]["containers"][0]["command"].clone())?;
        assert_eq!(command[command.len() - 2..], ["--store", "leases"]);
        msync_cli::command().no_binary_name(true).try_get_matches_from(&command[1..])?;
    }
    let error = rendered(&helm, &["--set", "store=etcd"]).expect_err("no such store").to_string();
    assert!(error.contains("store"), "{error}");
    Ok(())
}

#[test]
fn a_cluster_that_is_too_old_is_refused() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let error = rendered(&helm, &["--kube-version", "1.31.9"]).expect_err("no selectable fields").to_string();
    assert!(error.contains("1.32.0"), "{error}");
    Ok(())
}

/// The chart as it is but for the version that it asks for: a server built from modules says 0.0.0.
fn chart_for_any_version(to: &Path) -> Result<String> {
    let copied = Command::new("cp").arg("-rL").arg(chart()).arg(to).status()?;
    ensure!(copied.success(), "copy the chart");
    let file = to.join("msync/Chart.yaml");
    let text = fs::read_to_string(&file)?;
    let rest: Vec<_> = text.lines().filter(|line| !line.starts_with("kubeVersion:")).collect();
    fs::write(file, rest.join("\n"))?;
    Ok(to.join("msync").display().to_string())
}

#[test]
fn a_wrong_value_is_refused_by_its_name() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    for (flag, name) in [
        ("gc.enable=true", "enable"),
        ("gc.olderThan=24", "olderThan"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("crds.keep=maybe", "keep"),
    ] {
        let error = rendered(&helm, &["--set", flag]).expect_err(flag).to_string();
        assert!(error.contains(name), "{flag}: {error}");
    }
    Ok(())
}

/// The programs of the chart understand what it tells them.
#[tokio::test]
async fn what_the_pods_run_is_understood() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let documents = rendered(&helm, &["--set", ALL])?;
    let pods = [&find(&documents, "CronJob")?["spec"]["jobTemplate"]["spec"]["template"], find(&documents, "Pod")?];
    for pod in pods {
        let command: Vec<String> = serde_json::from_value(pod["spec"]["containers"][0]["command"].clone())?;
        assert_eq!(command[0], "/msync");
        let mut words: Vec<_> = command[1..].iter().map(String::as_str).collect();
        words.push("--help");
        assert_eq!(ended(msync(&words)).await?.code, 0, "{command:?}");
        let mut parsed = msync_cli::command();
        parsed = parsed.no_binary_name(true);
        parsed.try_get_matches_from(&command[1..])?;
    }
    Ok(())
}

/// The manifest for who uses no Helm says the same.
#[test]
fn the_collector_of_the_manifests_is_the_one_of_the_chart() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let chart_ = rendered(&helm, &["--set", "gc.enabled=true"])?;
    let manifest: Vec<Value> =
        serde_saphyr::from_multiple(&fs::read_to_string(chart().join("../../examples/manifests/gc.yaml"))?)?;
    let role = chart_.iter().find(|one| one["kind"] == "Role" && one["metadata"]["name"] == "billing-msync-gc");
    assert_eq!(role.context("a role")?["rules"], find(&manifest, "Role")?["rules"]);
    let (ours, theirs) = (&find(&chart_, "CronJob")?["spec"], &find(&manifest, "CronJob")?["spec"]);
    for part in ["schedule", "concurrencyPolicy"] {
        assert_eq!(ours[part], theirs[part]);
    }
    let container = |spec: &Value| spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0].clone();
    let (ours, theirs) = (container(ours), container(theirs));
    assert_eq!((&ours["image"], &ours["resources"]), (&theirs["image"], &theirs["resources"]));
    let words: Vec<String> = serde_json::from_value(theirs["command"].clone())?;
    msync_cli::command().no_binary_name(true).try_get_matches_from(&words[1..])?;
    assert_eq!(ours["command"].as_array().map(|words| words[..4].to_vec()), theirs["command"].as_array().cloned());
    Ok(())
}

async fn apply(client: &Client, document: &Value, dry_run: bool) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(document.clone())?;
    let types = object.types.clone().context("it says what it is")?;
    let (resource, abilities) = pinned_kind(client, &GroupVersionKind::try_from(&types)?).await?;
    let api = match abilities.scope {
        Scope::Cluster => Api::<DynamicObject>::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            Api::namespaced_with(client.clone(), object.namespace().as_deref().context("a namespace")?, &resource)
        }
    };
    let how = PatchParams { dry_run, ..PatchParams::apply("msync-test").force().validation_strict() };
    api.patch(&object.name_any(), &how, &Patch::Apply(&object)).await?;
    Ok(())
}

/// What the Prometheus operator would bring, as far as the server must know it.
fn prometheus_rules() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "prometheusrules.monitoring.coreos.com"},
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": {"kind": "PrometheusRule", "plural": "prometheusrules", "singular": "prometheusrule"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            }}}],
        },
    })
}

async fn may(client: &Client, account: &str, namespace: &str, verb: &str) -> Result<bool> {
    let review: SubjectAccessReview = serde_json::from_value(json!({"metadata": {}, "spec": {
        "user": account,
        "resourceAttributes": {"group": "metaparticle.io", "resource": "locks", "namespace": namespace, "verb": verb},
    }}))?;
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

#[tokio::test]
async fn helm_installs_it_and_the_locks_outlive_it() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let Some(server) = TestServer::start(Options::with_users(&["limited"])).await? else { return Ok(()) };
    let (client, namespace) = (server.client(ADMIN).await?, server.namespace().await?);
    apply(&client, &prometheus_rules(), false).await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let served = || async {
        let found = definitions.get("prometheusrules.monitoring.coreos.com").await;
        found.is_ok_and(|found| {
            found.status.is_some_and(|status| {
                status.conditions.into_iter().flatten().any(|c| c.type_ == "Established" && c.status == "True")
            })
        })
    };
    tests::eventually("the rules of Prometheus are served", crate::child::LIMIT, served).await?;

    // Each document as the server's own schema sees it, field by field.
    for document in rendered(&helm, &["--set", ALL, "--set", "test.enabled=false", "--namespace", &namespace])? {
        apply(&client, &document, true).await.with_context(|| document.to_string())?;
    }

    let copy = tempfile::tempdir()?;
    let (chart, kubeconfig) = (chart_for_any_version(copy.path())?, server.kubeconfig(ADMIN)?.display().to_string());
    let place = ["--namespace", &namespace, "--kubeconfig", &kubeconfig];
    let on_server = |args: &[&str]| -> Result<String> {
        let output = run(&helm, &[args, &place].concat())?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let notes = on_server(&["install", "billing", &chart, "--set", ALL])?;
    assert!(notes.contains(&format!("msync doctor -n {namespace}")), "{notes}");
    on_server(&["upgrade", "billing", &chart, "--set", ALL, "--set", "gc.schedule=5 * * * *"])?;
    let jobs: Api<CronJob> = Api::namespaced(client.clone(), &namespace);
    assert_eq!(jobs.get("billing-msync-gc").await?.spec.context("a spec")?.schedule, "5 * * * *");
    Api::<ConfigMap>::namespaced(client.clone(), &namespace).get("billing-msync-dashboard").await?;

    // The service may use locks, the collector may only collect, and others may nothing.
    let account = |name: &str| format!("system:serviceaccount:{namespace}:{name}");
    assert!(may(&client, &account("default"), &namespace, "patch").await?);
    assert!(may(&client, &account("billing-msync-gc"), &namespace, "delete").await?);
    assert!(!may(&client, &account("billing-msync-gc"), &namespace, "patch").await?);
    assert!(!may(&client, &account("default"), "default", "patch").await?);
    collector_needs_no_more(&server, &client, &namespace).await?;

    let mut held = msync(&["run", "kept", "--at-least", "1h", "-q", "--", "true"]);
    held.env("KUBECONFIG", &kubeconfig).env("MSYNC_NAMESPACE", &namespace);
    assert_eq!(ended(held).await?.code, 0);
    on_server(&["uninstall", "billing"])?;
    assert!(jobs.get_opt("billing-msync-gc").await?.is_none());
    let mut still = msync(&["get", "kept"]);
    still.env("KUBECONFIG", &kubeconfig).env("MSYNC_NAMESPACE", &namespace);
    assert_eq!(ended(still).await?.code, 0, "the resource is kept, and every lock with it");
    Ok(())
}

/// `msync gc` with exactly the rights that the chart gives to its job.
async fn collector_needs_no_more(server: &TestServer, client: &Client, namespace: &str) -> Result<()> {
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    let mut binding = bindings.get("billing-msync-gc").await?;
    binding.metadata = kube::api::ObjectMeta { name: Some("gc-of-the-test".into()), ..Default::default() };
    binding.subjects = Some(vec![serde_json::from_value(
        json!({"kind": "User", "name": "limited", "apiGroup": "rbac.authorization.k8s.io"}),
    )?]);
    bindings.create(&PostParams::default(), &binding).await?;
    let mut gc = msync(&["gc", "--older-than", "24h", "--patience", "5m"]);
    gc.env("KUBECONFIG", server.kubeconfig("limited")?).env("MSYNC_NAMESPACE", namespace);
    let ended = ended(gc).await?;
    ensure!(ended.code == 0, "{}", ended.err);
    Ok(())
}
