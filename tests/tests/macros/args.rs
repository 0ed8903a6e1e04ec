//! `msync::Args`: what a program sees whose cluster is not there, or ends. In processes, for the environment is theirs.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use msync::{Client, Error};
use tests::process::{Spawn, follow_parent, is_child};

use crate::LIMIT;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    locks: msync::Args,
}

/// What is met by who uses the client, and by who ends it.
async fn met(client: Client) -> Result<Vec<String>, Error> {
    let lock = client.lock("job")?;
    let mut met = vec![match lock.try_acquire().await {
        Err(error @ Error::Store { .. }) => format!("tried: {error}"),
        other => format!("tried: {other:?} is wrong"),
    }];
    met.push(match lock.acquire_timeout(Duration::from_secs(1)).await {
        Err(error @ Error::Unavailable { .. }) => format!("waited: {error}"),
        other => format!("waited: {other:?} is wrong"),
    });
    client.shutdown().await;
    met.push(match lock.acquire().await {
        Err(error @ Error::ShutDown) => format!("ended: {error}"),
        other => format!("ended: {other:?} is wrong"),
    });
    Ok(met)
}

/// Says what `Args` gives.
#[tokio::test]
#[ignore = "a process of the tests below"]
async fn child() {
    if !is_child() {
        return;
    }
    follow_parent();
    let made = Program::parse_from(["program", "--msync-ttl=3s"]).locks.client().await;
    let said = match made {
        Ok(client) => met(client).await.expect("the name is one"),
        Err(error) => vec![format!("no client: {error}")],
    };
    for line in said {
        println!("\nSAID {line}");
    }
    println!("\nend");
}

async fn said(kubeconfig: &Path) -> Result<Vec<String>> {
    let child = Spawn::this_test("args::child")?.env("KUBECONFIG", kubeconfig).env("MSYNC_STORE", "kube");
    let mut child = child.env("KUBERNETES_SERVICE_HOST", "").spawn()?;
    let mut said = Vec::new();
    loop {
        let line = tokio::time::timeout(LIMIT, child.line()).await?.context("it says that it ends")?;
        if line == "end" {
            return Ok(said);
        }
        said.extend(line.strip_prefix("SAID ").map(str::to_owned));
    }
}

#[tokio::test]
async fn a_cluster_that_is_away_is_met_by_what_is_done_with_the_client() -> Result<()> {
    let place = tempfile::tempdir()?;
    let kubeconfig = place.path().join("config");
    // Nobody listens on the port of `discard`.
    let away = "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], \
                contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}]}";
    std::fs::write(&kubeconfig, away)?;
    let said = said(&kubeconfig).await?;
    assert_eq!(said.len(), 3, "{said:?}");
    for (line, begin) in said.iter().zip(["tried: ", "waited: ", "ended: the client was shut down"]) {
        assert!(line.starts_with(begin) && !line.contains("is wrong"), "{said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_is_told_and_no_call_proposed_that_changes_nothing() -> Result<()> {
    let place = tempfile::tempdir()?;
    let said = said(&place.path().join("absent")).await?;
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("no client: ") && said[0].contains("absent"), "{said:?}");
    assert!(!said[0].contains("msync::init"), "these arguments are not the default client's: {said:?}");
    Ok(())
}

/// A program needs no dependency of its own on kube, whose version would have to be ours.
#[test]
fn kube_is_re_exported_as_the_client_takes_it() {
    let with: fn(msync::kube::Config) -> Result<Client, Error> = |config| Client::builder().config(config).build();
    let config = msync::kube::Config::new("http://127.0.0.1:9".parse().expect("a URL"));
    assert!(with(config).is_ok(), "nothing is sent before the first acquisition");
}
