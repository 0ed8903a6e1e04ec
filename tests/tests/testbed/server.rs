use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, api::WatchParams};
use tests::{
    eventually,
    process::{Spawn, follow_parent, is_alive, is_child},
    testbed::{ADMIN, Options, SHARED_USERS, TestServer},
};
use tokio::time::timeout;

use crate::{LIMIT, SILENCE, code, config_maps, make};

#[tokio::test]
async fn every_namespace_is_new() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let (one, other) = (server.namespace().await?, server.namespace().await?);
    assert_ne!(one, other);
    make(&config_maps(server.client(ADMIN).await?, &one), "here").await?;
    assert!(config_maps(server.client(ADMIN).await?, &other).get_opt("here").await?.is_none());
    Ok(())
}

#[tokio::test]
async fn user_without_rights_is_forbidden() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let namespace = server.namespace().await?;
    for user in SHARED_USERS {
        let api = config_maps(server.client(user).await?, &namespace);
        assert_eq!(code(make(&api, "mine").await), 403);
    }
    Ok(())
}

#[tokio::test]
async fn unknown_user_has_no_kubeconfig() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    assert!(server.kubeconfig(ADMIN)?.exists());
    assert!(server.kubeconfig("nobody").is_err());
    Ok(())
}

#[tokio::test]
async fn frozen_server_answers_only_after_it_is_thawed() -> Result<()> {
    let Some(server) = TestServer::start(Options::default()).await? else { return Ok(()) };
    let client = server.client(ADMIN).await?;
    server.freeze().await?;
    assert!(timeout(SILENCE, client.apiserver_version()).await.is_err());
    server.thaw().await?;
    timeout(LIMIT, client.apiserver_version()).await.context("no answer after thaw")??;
    Ok(())
}

#[tokio::test]
async fn killed_server_restarts_with_its_objects() -> Result<()> {
    let options = Options {
        compaction: Some(Duration::from_secs(2)),
        watch_cache: false,
        flags: vec!["--min-request-timeout=5".into()],
        ..Options::with_users(&["eve"])
    };
    let Some(server) = TestServer::start(options).await? else { return Ok(()) };
    kill_and_restart(&server).await?;
    let dir = server.dir()?.to_owned();
    drop(server);
    assert!(!dir.exists());
    Ok(())
}

async fn kill_and_restart(server: &TestServer) -> Result<()> {
    let client = server.client(ADMIN).await?;
    let api = config_maps(client.clone(), "default");
    make(&api, "kept").await?;
    let pid = server.pid().await?;
    server.freeze().await?;
    server.kill().await?;
    assert!(!is_alive(pid) && client.apiserver_version().await.is_err());
    assert!(server.pid().await.is_err());
    server.restart().await?;
    api.get("kept").await?;
    let eve = config_maps(server.client("eve").await?, "default");
    assert_eq!(code(eve.get("kept").await), 403);
    Ok(())
}

#[tokio::test]
async fn requests_are_counted_by_verb() -> Result<()> {
    let Some(server) = TestServer::start(Options::default()).await? else { return Ok(()) };
    let api = config_maps(server.client(ADMIN).await?, "default");
    let before = server.request_counts("", "configmaps").await?;
    for name in ["a", "b", "a"] {
        let _ = make(&api, name).await; // the third is refused, and counts
    }
    api.get("a").await?;
    let counts = server.request_counts("", "configmaps").await?.since(&before);
    assert_eq!((counts.of("POST"), counts.of("GET"), counts.writes()), (3, 1, 3), "{counts:?}");
    watch_counts_when_it_ends(&server, &api).await?;
    assert_eq!(server.lock_requests().await?.total(), 0);
    Ok(())
}

async fn watch_counts_when_it_ends(server: &TestServer, api: &Api<ConfigMap>) -> Result<()> {
    let watch = api.watch(&WatchParams::default(), "0").await?;
    let mut watch = Box::pin(watch);
    watch.next().await.context("the watch shows what there is")??;
    assert_eq!(server.request_counts("", "configmaps").await?.of("WATCH"), 0);
    drop(watch);
    let counted =
        || async { server.request_counts("", "configmaps").await.is_ok_and(|counts| counts.of("WATCH") == 1) };
    eventually("the watch is counted", LIMIT, counted).await
}

#[tokio::test]
async fn server_ends_and_cleans_up_when_its_parent_is_killed() -> Result<()> {
    server_outlives_nobody("running").await
}

#[tokio::test]
async fn frozen_server_ends_and_cleans_up_when_its_parent_is_killed() -> Result<()> {
    server_outlives_nobody("frozen").await
}

async fn server_outlives_nobody(state: &str) -> Result<()> {
    let mut parent = Spawn::this_test("server::child_has_a_server")?.env("STATE", state).spawn()?;
    let line = parent.line_with("server ", 3 * LIMIT).await?;
    if line.starts_with("no ") {
        return Ok(());
    }
    let (pid, dir) = pid_and_dir(&line)?;
    assert!(is_alive(pid) && dir.exists());
    parent.kill()?;
    eventually("the server is gone", LIMIT, || async { !is_alive(pid) && !dir.exists() }).await
}

#[tokio::test]
#[ignore = "a child of server_outlives_nobody"]
async fn child_has_a_server() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let mut lines = follow_parent();
    let Some(server) = TestServer::start(Options::default()).await? else {
        println!("\nno server ");
        return Ok(());
    };
    if std::env::var("STATE")? == "frozen" {
        server.freeze().await?;
    }
    println!("\nserver {} {}", server.pid().await?, server.dir()?.display());
    lines.recv().await;
    Ok(())
}

/// From a line `word PID DIRECTORY`.
fn pid_and_dir(line: &str) -> Result<(i32, PathBuf)> {
    let mut words = line.splitn(3, ' ').skip(1);
    let pid = words.next().context("a process id")?.parse()?;
    Ok((pid, words.next().context("a directory")?.into()))
}

/// With our own server's kube-apiserver, and its etcd under the stock flags.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn server_of_kubebuilder_assets_has_the_same_faults() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let Ok(pid) = server.pid().await else { return Ok(()) };
    let binary = fs::read_link(format!("/proc/{pid}/exe"))?;
    let dir = tempfile::tempdir()?;
    std::os::unix::fs::symlink(&binary, dir.path().join("kube-apiserver"))?;
    let etcd = dir.path().join("etcd");
    fs::write(&etcd, ETCD.replace("BINARY", &binary.display().to_string()))?;
    fs::set_permissions(&etcd, fs::Permissions::from_mode(0o755))?;
    let child = Spawn::this_test("server::child_has_assets")?.env("KUBEBUILDER_ASSETS", dir.path());
    let mut child = child.spawn()?;
    let line = child.line_with("survived ", 5 * LIMIT).await?;
    let (pid, dir) = pid_and_dir(&line)?;
    assert!(is_alive(pid) && dir.exists());
    child.kill()?;
    eventually("the server is gone", LIMIT, || async { !is_alive(pid) && !dir.exists() }).await
}

const ETCD: &str = r#"#!/bin/sh
for flag; do case $flag in
  --data-dir=*) dir=${flag#*=};;
  --listen-client-urls=*) url=${flag#*=};;
esac; done
exec BINARY etcd --dir "$dir" --etcd-listen "$url"
"#;

#[tokio::test]
#[ignore = "a child of server_of_kubebuilder_assets_has_the_same_faults"]
async fn child_has_assets() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let mut lines = follow_parent();
    let server =
        TestServer::start(Options::with_users(&["eve"])).await?.context("KUBEBUILDER_ASSETS makes a server")?;
    kill_and_restart(&server).await?;
    println!("\nsurvived {} {}", server.pid().await?, server.dir()?.display());
    lines.recv().await;
    Ok(())
}

#[tokio::test]
async fn existing_cluster_is_shared_but_not_broken() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let mut child = Spawn::this_test("server::child_uses_the_existing_cluster")?
        .env("USE_EXISTING_CLUSTER", "true")
        .env("KUBECONFIG", server.kubeconfig(ADMIN)?)
        .spawn()?;
    child.line_with("shared it", LIMIT).await?;
    assert!(child.wait(LIMIT).await?.success());
    Ok(())
}

#[tokio::test]
#[ignore = "a child of existing_cluster_is_shared_but_not_broken"]
async fn child_uses_the_existing_cluster() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    assert!(TestServer::start(Options::default()).await?.is_none());
    let server = TestServer::shared().await?.context("there is a cluster")?;
    let client: Client = server.client(ADMIN).await?;
    make(&config_maps(client, &server.namespace().await?), "one").await?;
    let stranger = config_maps(server.client("stranger").await?, "default");
    assert_eq!(code(make(&stranger, "two").await), 403);
    assert!(server.freeze().await.is_err() && server.kill().await.is_err());
    println!("\nshared it");
    Ok(())
}
