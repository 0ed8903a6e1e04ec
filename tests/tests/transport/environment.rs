//! What `Client::try_default` says when the environment is not as it should be: the true cause, first.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result, ensure};
use msync::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::process::Spawn;

use crate::LIMIT;

/// A kubeconfig for a server that nobody listens at, with what a case changes about its cluster and its user.
fn kubeconfig(cluster: &Value, user: &Value) -> String {
    let mut server = json!({ "server": "https://127.0.0.1:1" });
    merge(&mut server, cluster);
    // JSON is YAML.
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": server }],
        "users": [{ "name": "u", "user": user }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
    })
    .to_string()
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

/// What a fresh process says whose KUBECONFIG holds this.
async fn said(kubeconfig: &str, env: &[(&str, &str)]) -> Result<String> {
    let dir = TempDir::new()?;
    let file = dir.path().join("config");
    fs::write(&file, kubeconfig)?;
    said_of(&file, env).await.map(|line| line.replace(&file.display().to_string(), "FILE"))
}

async fn said_of(file: &Path, env: &[(&str, &str)]) -> Result<String> {
    let mut spawn = Spawn::this_test("environment::child")?.env("KUBECONFIG", file);
    for name in ["NO_PROXY", "no_proxy"] {
        spawn = spawn.env(name, "");
    }
    let spawn = env.iter().fold(spawn, |spawn, (name, value)| spawn.env(name, value));
    let line = spawn.spawn()?.line_with("SAID ", LIMIT).await?;
    Ok(line.split_once("SAID ").context("it says something")?.1.to_owned())
}

#[tokio::test]
#[ignore = "a process of the tests below"]
async fn child() {
    let said = match Client::try_default().await {
        Err(error) => error.to_string(),
        Ok(client) => match client.lock("one").expect("a name").try_acquire().await {
            Err(error) => format!("at the first call: {error}"),
            Ok(_) => "nothing is wrong".to_owned(),
        },
    };
    println!("SAID {}", said.replace('\n', " "));
}

/// Asserts what the error begins with.
fn begins(said: &str, clause: &str) -> Result<()> {
    ensure!(said.starts_with(clause), "expected {clause:?}…, it says {said:?}");
    Ok(())
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_yaml() -> Result<()> {
    begins(&said("clusters: [", &[]).await?, "kubeconfig FILE is not valid YAML")?;
    begins(&said("clusters: 7", &[]).await?, "kubeconfig FILE is not valid YAML")
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there() -> Result<()> {
    let dir = TempDir::new()?;
    let file = dir.path().join("absent");
    begins(&said_of(&file, &[]).await?, &format!("kubeconfig {} cannot be read: No such file", file.display()))
}

#[tokio::test]
async fn a_kubeconfig_without_a_context() -> Result<()> {
    begins(&said("kind: Config", &[]).await?, "kubeconfig FILE has no current context")
}

#[tokio::test]
async fn a_kubeconfig_whose_context_is_not_in_it() -> Result<()> {
    let text = kubeconfig(&json!({}), &json!({})).replace("\"current-context\":\"c\"", "\"current-context\":\"other\"");
    begins(&said(&text, &[]).await?, "kubeconfig FILE is not usable: failed to load current context: other")
}

#[tokio::test]
async fn certificate_files_that_are_not_there() -> Result<()> {
    let authority = kubeconfig(&json!({ "certificate-authority": "/absent/ca.crt" }), &json!({}));
    begins(
        &said(&authority, &[]).await?,
        "the cluster's certificate authority /absent/ca.crt cannot be read: No such file",
    )?;
    let client =
        kubeconfig(&json!({}), &json!({ "client-certificate": "/absent/c.crt", "client-key": "/absent/c.key" }));
    let said = said(&client, &[]).await?;
    ensure!(said.starts_with("the client ") && said.contains("cannot be read: No such file"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_authority_that_is_none() -> Result<()> {
    let authority = |base64: &str| kubeconfig(&json!({ "certificate-authority-data": base64 }), &json!({}));
    // `-----BEGIN CERTIFICATE-----`, and the same with four bytes of nothing and its end.
    let [cut, garbage] = [
        "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==",
        "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=",
    ];
    begins(&said(&authority(cut), &[]).await?, "the cluster's certificate authority holds no certificate: ")?;
    begins(&said(&authority(garbage), &[]).await?, "the cluster's certificate authority is not usable: ")?;
    begins(&said(&authority("%%"), &[]).await?, "the cluster's certificate authority is not valid base64: ")
}

#[tokio::test]
async fn an_exec_plugin_that_is_absent_or_fails() -> Result<()> {
    let exec = |command: &str| {
        let exec =
            json!({ "apiVersion": "client.authentication.k8s.io/v1", "command": command, "interactiveMode": "Never" });
        kubeconfig(&json!({}), &json!({ "exec": exec }))
    };
    begins(
        &said(&exec("absent-plugin"), &[]).await?,
        "exec plugin `absent-plugin` of the kubeconfig cannot be started: No such file",
    )?;
    let dir = TempDir::new()?;
    let plugin = |name: &str, script: &str| -> Result<String> {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path.display().to_string())
    };
    let failing = plugin("failing", "echo token expired, log in again >&2; exit 3")?;
    begins(
        &said(&exec(&failing), &[]).await?,
        &format!("exec plugin `{failing}` of the kubeconfig failed with exit status: 3: token expired, log in again"),
    )?;
    let talking = plugin("talking", "echo hello")?;
    begins(
        &said(&exec(&talking), &[]).await?,
        &format!("exec plugin `{talking}` of the kubeconfig answers no ExecCredential: "),
    )
}

#[tokio::test]
async fn a_token_that_cannot_be_read() -> Result<()> {
    let dir = TempDir::new()?; // a directory, which not even root can read as a file
    let path = dir.path().display().to_string();
    let text = kubeconfig(&json!({}), &json!({ "tokenFile": path }));
    begins(&said(&text, &[]).await?, &format!("token file {path} cannot be read: "))
}

#[tokio::test]
async fn a_proxy_that_this_build_cannot_speak_to() -> Result<()> {
    let text = kubeconfig(&json!({ "server": "https://192.0.2.1" }), &json!({}));
    begins(
        &said(&text, &[("HTTPS_PROXY", "socks5://user:secret@127.0.0.1:1")]).await?,
        "HTTPS_PROXY asks for the proxy socks5://127.0.0.1:1: msync was built without its feature `socks5`, \
         and NO_PROXY does not name the server",
    )?;
    let text = kubeconfig(&json!({ "proxy-url": "socks5://127.0.0.1:1" }), &json!({}));
    begins(&said(&text, &[]).await?, "proxy-url of the kubeconfig asks for the proxy socks5://127.0.0.1:1: ")?;
    let text = kubeconfig(&json!({ "proxy-url": "gopher://127.0.0.1:1" }), &json!({}));
    begins(&said(&text, &[]).await?, "the proxy gopher://127.0.0.1:1 is of no known kind: ")
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached() -> Result<()> {
    let text = kubeconfig(&json!({ "server": "https://192.0.2.1" }), &json!({}));
    let said = said(&text, &[("HTTPS_PROXY", "http://127.0.0.1:1")]).await?;
    let clause = "cannot connect to the proxy http://127.0.0.1:1 (HTTPS_PROXY)";
    ensure!(said.starts_with("at the first call: ") && said.contains(clause) && said.contains("refused"), "{said}");
    Ok(())
}

#[tokio::test]
async fn no_proxy_is_needed_for_whom_it_is_not_meant() -> Result<()> {
    let text = kubeconfig(&json!({}), &json!({}));
    let direct = "at the first call: could not acquire lock one: cannot connect to https://127.0.0.1:1: ";
    let environments: [&[(&str, &str)]; 2] = [
        &[("HTTPS_PROXY", "http://192.0.2.1:1")],
        &[("HTTPS_PROXY", "socks5://192.0.2.1:1"), ("NO_PROXY", "127.0.0.1")],
    ];
    let each = environments.map(async |env| begins(&said(&text, env).await?, direct));
    futures::future::try_join_all(each).await.map(drop)
}

#[tokio::test]
async fn a_version_of_http_that_is_none() -> Result<()> {
    let text = kubeconfig(&json!({}), &json!({}));
    begins(&said(&text, &[("MSYNC_HTTP", "3")]).await?, "MSYNC_HTTP is \"3\": it may be `1` or `2`")
}
