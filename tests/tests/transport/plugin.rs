//! Exec plugins of a kubeconfig that take their time: what they keep waiting, and what they do not.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use kube::config::{AuthInfo, ExecConfig};
use msync::Client;
use serde_json::json;
use tempfile::TempDir;
use tests::{
    cluster::{Cluster, soon, ttl},
    eventually,
    process::Spawn,
    testbed::ADMIN,
};
use tokio::time::sleep;

use crate::LIMIT;

/// A plugin that answers with the token of the test server's administrator, and may be slow.
struct Plugin {
    dir: TempDir,
    token: String,
}

// === impl Plugin ===

impl Plugin {
    fn new(token: &str) -> Result<Self> {
        let plugin = Self { dir: TempDir::new()?, token: token.to_owned() };
        let script = "#!/bin/sh\ncd $(dirname $0)\necho >> runs\nsleep $(cat slow)\nexec cat answer\n";
        fs::write(plugin.path("run"), script)?;
        fs::set_permissions(plugin.path("run"), fs::Permissions::from_mode(0o755))?;
        plugin.takes(0)?;
        Ok(plugin)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The next runs take so many seconds.
    fn takes(&self, seconds: u32) -> Result<()> {
        Ok(fs::write(self.path("slow"), seconds.to_string())?)
    }

    /// The next tokens end after so many seconds.
    fn answers_for(&self, seconds: i64) -> Result<()> {
        let end = Timestamp::now() + SignedDuration::from_secs(seconds);
        let status = json!({ "token": self.token, "expirationTimestamp": format!("{end:.0}") });
        let answer = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status,
        });
        Ok(fs::write(self.path("answer"), answer.to_string())?)
    }

    fn runs(&self) -> usize {
        fs::read(self.path("runs")).map_or(0, |runs| runs.len())
    }

    fn exec(&self) -> ExecConfig {
        let exec = json!({
            "apiVersion": "client.authentication.k8s.io/v1", "command": self.path("run"), "interactiveMode": "Never",
        });
        serde_json::from_value(exec).expect("it is one")
    }
}

/// A cluster, and a client of it whose token a plugin brings: the first ends after so many seconds.
async fn with_plugin(ttl_ms: u64, first_token: i64) -> Result<Option<(Cluster, Plugin, Client)>> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(None) };
    let kubeconfig: serde_json::Value = serde_json::from_slice(&fs::read(cluster.server().kubeconfig(ADMIN)?)?)?;
    let plugin = Plugin::new(kubeconfig["users"][0]["user"]["token"].as_str().context("a token")?)?;
    plugin.answers_for(first_token)?;
    let mut config = cluster.server().config(ADMIN).await?;
    config.auth_info = AuthInfo { exec: Some(plugin.exec()), ..AuthInfo::default() };
    let client = Client::builder().namespace(cluster.namespace()).owner("here").timing(ttl(ttl_ms));
    let client = client.config(config).build()?;
    Ok(Some((cluster, plugin, client)))
}

/// A minute before the end of its token kube runs the plugin again, which takes three times the ttl here.
#[tokio::test]
async fn a_lock_is_kept_by_the_former_token_while_the_plugin_runs() -> Result<()> {
    let Some((_cluster, plugin, client)) = with_plugin(3_000, 66).await? else { return Ok(()) };
    let guard = soon("a free lock", client.lock("kept")?.acquire()).await??;
    plugin.takes(9)?;
    plugin.answers_for(3_600)?;
    let before = plugin.runs();
    eventually("the plugin runs", LIMIT, async || plugin.runs() > before).await?;
    sleep(Duration::from_secs(6)).await;
    guard.check().context("renewed meanwhile")?;
    soon("others as well", client.lock("other")?.acquire()).await??.release().await?;
    ensure!(plugin.runs() == before + 1, "run {} times", plugin.runs() - before);
    sleep(Duration::from_secs(4)).await;
    guard.check()?;
    ensure!(plugin.runs() == before + 1, "its answer was heard");
    Ok(())
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "a process of the test below"]
async fn child() {
    let mut ticks = 0;
    let mut client = Box::pin(Client::try_default());
    loop {
        tokio::select! {
            client = &mut client => break client.map(drop).expect("a client"),
            () = sleep(Duration::from_millis(50)) => ticks += 1,
        }
    }
    println!("TICKED {ticks}");
}

#[tokio::test]
async fn whoever_makes_a_client_blocks_no_thread_while_the_plugin_runs() -> Result<()> {
    let plugin = Plugin::new("any")?;
    plugin.answers_for(3_600)?;
    plugin.takes(2)?;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": "https://127.0.0.1:1" } }],
        "users": [{ "name": "u", "user": { "exec": plugin.exec() } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    });
    fs::write(plugin.path("config"), kubeconfig.to_string())?; // JSON is YAML
    let spawn = Spawn::this_test("plugin::child")?.env("KUBECONFIG", plugin.path("config"));
    let line = spawn.spawn()?.line_with("TICKED ", LIMIT).await?;
    let ticks: u32 = line.rsplit(' ').next().context("a number")?.trim().parse()?;
    ensure!(ticks >= 10, "{ticks} ticks of 50 ms in two seconds and more");
    Ok(())
}
