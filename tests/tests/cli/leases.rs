//! Every verb on locks that stand in Leases, on a real API server.

use anyhow::{Context, Result};
use serde_json::Value;
use tests::{
    cluster::Cluster,
    testbed::{ADMIN, Options},
};

use crate::{
    child::{Running, ended},
    cluster::on,
};

fn leases(cluster: &Cluster, user: &str, args: &[&str]) -> Result<std::process::Command> {
    on(cluster, user, &[&["--store", "leases"], args].concat())
}

#[tokio::test]
async fn locks_in_leases_are_held_shown_and_handed_on() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let cluster = cluster.with_leases();
    let run = |owner: &str, script: &str| {
        Running::start(leases(&cluster, ADMIN, &["run", "x", "--owner", owner, "--", "sh", "-c", script])?)
    };
    let first = run("first", "echo holds; exec sleep 600")?;
    first.says("holds").await?;
    let second = run("second", "echo holds too")?;
    cluster.until_waiting("x", 1).await?;
    let listed = ended(leases(&cluster, ADMIN, &["ls", "-o", "json"])?).await?;
    let listed: Value = serde_json::from_str(&listed.out).with_context(|| listed.err.clone())?;
    let row = &listed["items"][0];
    assert_eq!((&row["holder"], &row["queue"][0]["owner"]), (&"first".into(), &"second".into()), "{row}");
    let term = row["term"].as_str().context("a term")?;
    let released = ended(leases(&cluster, ADMIN, &["release", "x", "--term", term, "--yes"])?).await?;
    assert!(released.err.contains("handed to second"), "{released:?}");
    assert_eq!(second.end().await?.code, 0);
    assert_ne!(first.end().await?.code, 0, "it was told that it has lost it");
    cluster.until_gone("x").await?;
    let others = ended(on(&cluster, ADMIN, &["ls"])?).await?;
    assert!(others.err.contains("nobody has a lock"), "the resource has none of it: {others:?}");
    Ok(())
}

/// One server without the resource: that is no matter, but rights are.
#[tokio::test]
async fn doctor_and_install_speak_of_leases() -> Result<()> {
    let Some(server) = tests::testbed::TestServer::start(Options::with_users(&["limited"])).await? else {
        return Ok(());
    };
    let user = |user: &str, args: &[&str]| -> Result<std::process::Command> {
        let mut command = crate::child::msync(&[&["--store", "leases"], args].concat());
        command.env("KUBECONFIG", server.kubeconfig(user)?);
        Ok(command)
    };
    let well = ended(user(ADMIN, &["doctor", "--quick"])?).await?;
    assert_eq!(well.code, 0, "{well:?}");
    assert!(well.out.contains("nothing is to be installed") && well.out.contains("may patch leases"), "{}", well.out);
    let stranger = ended(user("limited", &["doctor", "--quick"])?).await?;
    assert_eq!(stranger.code, 1, "{stranger:?}");
    for part in ["may patch leases", "not allowed in namespace default", "msync install --store leases --rbac default"]
    {
        assert!(stranger.out.contains(part), "{part} is missing in {}", stranger.out);
    }
    let refused = ended(user("limited", &["run", "x", "--", "true"])?).await?;
    assert_eq!(refused.code, 77, "{refused:?}");
    for part in ["not allowed to", "leases.coordination.k8s.io", "msync install --store leases --rbac"] {
        assert!(refused.err.contains(part), "{part} is missing in {}", refused.err);
    }
    let printed = ended(user(ADMIN, &["install", "--rbac", "shop", "--print", "yaml"])?).await?;
    assert!(printed.out.contains("coordination.k8s.io") && !printed.out.contains("CustomResource"), "{}", printed.out);
    let installed = ended(user(ADMIN, &["install", "--rbac", "default"])?).await?;
    assert_eq!(installed.code, 0, "{installed:?}");
    let memory = ended(crate::child::msync(&["ls", "--store", "memory"])).await?;
    assert_eq!(memory.code, 2, "{memory:?}");
    Ok(())
}
