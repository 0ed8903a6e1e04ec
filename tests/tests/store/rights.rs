//! Rights, namespaces and the resource itself: what a user must mend, and what he is told.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, future::join_all};
use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
    core::ApiResource,
};
use msync::{
    Error,
    unstable::{
        crd::{Lock, install_crd},
        record::{Record, Refused},
        store::{Fatal, Fault, Scope},
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::{
    eventually,
    store_contract::{Subject, WALL, claim, create, done, enqueue, leave, name, open, read},
    testbed::{ADMIN, Options, TestServer},
};

use crate::{Bench, kube_store};

const LIMIT: Duration = Duration::from_secs(60);
const USER: &str = "limited";
const STRANGER: &str = "stranger";

/// One document of a manifest.
fn document<T: DeserializeOwned>(file: &str, kind: &str) -> Result<T> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/manifests").join(file);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(path)?)?;
    let found = documents.into_iter().find(|document| document["kind"] == kind);
    Ok(serde_json::from_value(found.with_context(|| format!("{file} has a {kind}"))?)?)
}

// === impl Bench ===

fn subject(user: &str) -> Value {
    json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}])
}

impl Bench {
    /// The manifest of its rights, and the resource that they are about.
    fn rights(&self) -> (&'static str, &'static str) {
        if self.leases {
            ("rbac-leases.yaml", "leases.coordination.k8s.io")
        } else {
            ("rbac.yaml", "locks.metaparticle.io")
        }
    }

    fn role(&self) -> Result<Role> {
        document(self.rights().0, "Role")
    }

    /// Grants a role to the user, by the binding of the manifest.
    async fn grant(&self, role: &Role) -> Result<()> {
        let mut binding: RoleBinding = document(self.rights().0, "RoleBinding")?;
        binding.subjects = serde_json::from_value(subject(USER))?;
        let (roles, bindings) = (
            Api::<Role>::namespaced(self.client.clone(), &self.namespace),
            Api::<RoleBinding>::namespaced(self.client.clone(), &self.namespace),
        );
        roles.create(&PostParams::default(), role).await?;
        bindings.create(&PostParams::default(), &binding).await?;
        Ok(())
    }

    async fn store_of(&self, user: &str) -> Result<Subject> {
        let mut config = self.server.config(user).await?;
        config.default_retry = false;
        Ok(self.open(&Client::try_from(config)?))
    }

    /// Makes the store need one verb, and returns what it says.
    async fn needs(&self, verb: &str, store: &Subject) -> Result<(), Fault> {
        let lock = name(&format!("needs-{verb}"));
        let there = match self.store.read(&lock).await? {
            Some(there) => there,
            None => done(&self.store, &lock, create("a", 1)).await,
        };
        match verb {
            "get" => store.read(&lock).await.map(drop),
            "create" => match store.apply(&lock, &create("a", 1)).await {
                Err(Fault::Refused(Refused::Exists)) => Ok(()),
                other => other.map(drop),
            },
            "patch" => {
                store.apply(&lock, &enqueue("b", 2)).await?;
                store.apply(&lock, &leave(0, claim("b", 2).entry(WALL))).await.map(drop)
            }
            "delete" => store.delete(&lock, &there.version).await,
            "list" => store.watch(Scope::Lock(lock)).next().await.expect("a watch never ends").map(drop),
            _ => self.watches(store, &lock).await,
        }
    }

    async fn watches(&self, store: &Subject, lock: &msync::LockName) -> Result<(), Fault> {
        let (mut watch, _) = open(store, Scope::Lock(lock.clone())).await;
        done(&self.store, lock, enqueue("b", 2)).await;
        watch.next().await.expect("a watch never ends").map(drop)
    }
}

const VERBS: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];

/// The verbs that are refused, each with what is said of it.
async fn forbidden(bench: &Bench, store: &Subject, verbs: &[&'static str]) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for verb in verbs {
        match bench.needs(verb, store).await {
            Ok(()) => {}
            Err(Fault::Fatal(Fatal::Forbidden(text))) => found.push((*verb, text)),
            Err(other) => panic!("{verb}: {other:?}"),
        }
    }
    found
}

#[tokio::test]
async fn the_rights_of_the_manifest_suffice() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    suffice(&bench).await
}

#[tokio::test]
async fn the_rights_of_the_manifest_suffice_on_leases() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    suffice(&bench).await
}

async fn suffice(bench: &Bench) -> Result<()> {
    bench.grant(&bench.role()?).await?;
    let store = bench.store_of(USER).await?;
    eventually("the server knows the role", LIMIT, async || bench.needs("get", &store).await.is_ok()).await?;
    assert_eq!(forbidden(bench, &store, &VERBS).await, []);
    Ok(())
}

#[tokio::test]
async fn each_right_of_the_manifest_is_needed() -> Result<()> {
    for missing in VERBS {
        let Some(bench) = Bench::new().await? else { return Ok(()) };
        is_needed(&bench, missing).await?;
    }
    Ok(())
}

#[tokio::test]
async fn each_right_of_the_manifest_is_needed_on_leases() -> Result<()> {
    for missing in VERBS {
        let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
        is_needed(&bench, missing).await?;
    }
    Ok(())
}

async fn is_needed(bench: &Bench, missing: &str) -> Result<()> {
    let mut role = bench.role()?;
    let rule = &mut role.rules.as_mut().context("the role has a rule")?[0];
    rule.verbs.retain(|verb| verb != missing);
    assert_eq!(rule.verbs.len(), VERBS.len() - 1, "the manifest names {missing} once and nothing else");
    bench.grant(&role).await?;
    let store = bench.store_of(USER).await?;
    // What needs a watch needs its list first.
    let others: Vec<_> = VERBS.into_iter().filter(|verb| missing != "list" || *verb != "watch").collect();
    let known = others.iter().copied().find(|verb| *verb != missing).context("another verb")?;
    eventually("the server knows the role", LIMIT, async || bench.needs(known, &store).await.is_ok()).await?;
    let refused: Vec<_> = forbidden(bench, &store, &others).await.into_iter().map(|(verb, _)| verb).collect();
    assert_eq!(refused, [missing]);
    Ok(())
}

#[tokio::test]
async fn a_user_without_rights_is_told_the_missing_rule() -> Result<()> {
    let (Some(locks), Some(leases)) = (Bench::new().await?, Bench::on_leases().await?) else { return Ok(()) };
    is_told(&locks).await?;
    is_told(&leases).await
}

async fn is_told(bench: &Bench) -> Result<()> {
    let store = bench.store_of(STRANGER).await?;
    let (manifest, resource) = bench.rights();
    let refused = forbidden(bench, &store, &["create", "delete", "get", "list", "patch"]).await;
    assert_eq!(refused.len(), 5);
    for (verb, text) in refused {
        for part in [verb, resource, &bench.namespace, "apiGroups:", "verbs:", manifest, STRANGER] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_missing_namespace_is_named() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let store = kube_store(&bench.client, "no-such-namespace");
    assert_eq!(store.read(&name("a")).await.expect("nothing is there"), None);
    let fault = store.apply(&name("a"), &create("a", 1)).await.expect_err("it has nowhere to be");
    let Fault::Fatal(Fatal::Other(why)) = fault else { panic!("not fatal: {fault:?}") };
    assert!(why.to_string().contains("no-such-namespace"), "{why}");
    Ok(())
}

#[tokio::test]
async fn a_refused_token_is_said_to_be_one() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let mut config = bench.server.config(ADMIN).await?;
    config.auth_info = kube::config::AuthInfo { token: Some("expired".to_owned().into()), ..Default::default() };
    let store = kube_store(&Client::try_from(config)?, &bench.namespace);
    let fault = store.read(&name("a")).await.expect_err("nobody knows this token");
    assert!(matches!(&fault, Fault::Fatal(Fatal::Forbidden(text)) if text.contains("credentials")), "{fault:?}");
    Ok(())
}

/// What Metaparticle/Sync had in its place, as far as it differs.
fn ancestor() -> Result<CustomResourceDefinition> {
    let nullable = |extra: Value| {
        let mut schema = json!({"type": "string", "nullable": true});
        schema.as_object_mut().context("an object")?.extend(extra.as_object().cloned().unwrap_or_default());
        anyhow::Ok(schema)
    };
    let spec = json!({"type": "object", "properties": {
        "owner": nullable(json!({}))?, "expiry": nullable(json!({"format": "date-time"}))?,
    }});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": "locks.metaparticle.io"},
        "spec": {
            "group": "metaparticle.io", "scope": "Namespaced",
            "names": {"plural": "locks", "singular": "lock", "kind": "Lock"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    }))?)
}

async fn every_fault(store: &Subject) -> Vec<Fault> {
    let lock = name("a");
    let version = msync::unstable::store::Version { uid: "u".into(), number: 1 };
    let listed = store.watch(Scope::Lock(lock.clone())).next().await.expect("a watch never ends");
    [
        store.read(&lock).await.map(drop),
        store.apply(&lock, &create("a", 1)).await.map(drop),
        store.apply(&lock, &enqueue("a", 1)).await.map(drop),
        store.delete(&lock, &version).await,
        listed.map(drop),
    ]
    .into_iter()
    .map(|answer| answer.expect_err("there is no such resource"))
    .collect()
}

#[tokio::test]
async fn a_missing_resource_is_said_and_installed_and_a_former_one_replaced() -> Result<()> {
    const INSTALLER: &str = "installer";
    let Some(server) = TestServer::start(Options::with_users(&[INSTALLER])).await? else { return Ok(()) };
    let (admin, installer) = (server.client(ADMIN).await?, server.client(INSTALLER).await?);
    let store = kube_store(&admin, "default");
    for fault in every_fault(&store).await {
        let Fault::Fatal(Fatal::CrdMissing(text)) = &fault else { panic!("{fault:?}") };
        assert!(text.contains("crd.yaml") && text.contains("install_crd"), "{text}");
    }

    let error = install_crd(&installer).await.expect_err("nobody gave it the right");
    assert!(matches!(&error, Error::Forbidden(text) if text.contains("rbac-install.yaml")), "{error:?}");

    let definitions: Api<CustomResourceDefinition> = Api::all(admin.clone());
    definitions.create(&PostParams::default(), &ancestor()?).await?;
    let ancient: Api<DynamicObject> = Api::namespaced_with(admin.clone(), "default", &ApiResource::erase::<Lock>(&()));
    let mut object = DynamicObject::new("ancient", &ApiResource::erase::<Lock>(&()));
    object.data = json!({"spec": {"owner": null}});
    eventually("the former resource is served", LIMIT, async || {
        ancient.create(&PostParams::default(), &object).await.is_ok()
    })
    .await?;

    allow_installation(&admin, INSTALLER).await?;
    eventually("the server knows the role", LIMIT, async || install_crd(&installer).await.is_ok()).await?;
    assert_eq!(read(&store, &name("ancient")).await.record, Record::default());
    done(&store, &name("ancient"), enqueue("b", 2)).await;
    Ok(())
}

async fn allow_installation(admin: &Client, user: &str) -> Result<()> {
    let role: ClusterRole = document("rbac-install.yaml", "ClusterRole")?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "install"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role.metadata.name},
        "subjects": subject(user),
    }))?;
    Api::<ClusterRole>::all(admin.clone()).create(&PostParams::default(), &role).await?;
    Api::<ClusterRoleBinding>::all(admin.clone()).create(&PostParams::default(), &binding).await?;
    Ok(())
}

#[tokio::test]
async fn locks_can_be_made_as_soon_as_the_resource_is_installed() -> Result<()> {
    let Some(server) = TestServer::start(Options::default()).await? else { return Ok(()) };
    let client = server.client(ADMIN).await?;
    for installed in join_all((0..3).map(|_| install_crd(&client))).await {
        installed?;
    }
    let store = kube_store(&client, "default");
    done(&store, &name("at-once"), create("a", 1)).await;
    let (_, listed) = open(&store, Scope::Engine(tests::store_contract::engine("a"))).await;
    assert_eq!(listed.len(), 1);
    Ok(())
}
