//! The default client of the macros: a fresh process each, since it is one per process.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use msync::{Error, MemoryStore, Outcome, leader_only, locked, testing};
use tests::{
    logs::Logs,
    process::{Spawn, follow_parent, is_child},
    testbed::{ADMIN, TestServer},
};
use tokio::time::{Instant, sleep};

use crate::LIMIT;

#[locked("default", guard = lease)]
async fn plain() -> Result<u64, Error> {
    Ok(lease.token().get())
}

#[leader_only("default-leader")]
async fn tick() -> Result<Outcome<()>, Error> {
    Ok(Outcome::Ran(()))
}

/// Says what two calls give, and what the log has said of it.
#[tokio::test]
#[ignore = "a process of the tests below"]
async fn child_calls() {
    if !is_child() {
        return;
    }
    follow_parent();
    let logs = Logs::capture();
    for _ in 0..2 {
        match plain().await {
            Ok(_) => println!("\nSAID held"),
            Err(error) => println!("\nSAID {error}"),
        }
    }
    let looped = msync::leader_loop("default-loop", Duration::from_secs(1), async |_| msync::shutdown().await).await;
    println!("\nSAID {}", looped.expect_err("it ends with its client"));
    for line in logs.lines() {
        println!("\nLOG {line}");
    }
    println!("\nend");
}

/// What a process says with this kubeconfig and these variables.
async fn said(kubeconfig: &Path, env: &[(&str, &str)]) -> Result<Vec<String>> {
    let child = Spawn::this_test("default::child_calls")?.env("KUBECONFIG", kubeconfig);
    let child = child.env("MSYNC_STORE", "").env("KUBERNETES_SERVICE_HOST", "");
    let mut child = env.iter().fold(child, |child, (name, value)| child.env(name, value)).spawn()?;
    let mut said = Vec::new();
    loop {
        let line = tokio::time::timeout(LIMIT, child.line()).await?.context("it says that it ends")?;
        if line == "end" {
            return Ok(said);
        }
        said.extend(["SAID ", "LOG "].iter().any(|mark| line.starts_with(mark)).then_some(line));
    }
}

#[tokio::test]
async fn outside_of_a_pod_nobody_takes_locks_in_the_cluster_of_the_kubeconfig_by_accident() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let said = said(&server.kubeconfig(ADMIN)?, &[]).await?;
    assert_eq!(said.len(), 3, "two calls and a loop, and no line of the log: {said:?}");
    for line in said {
        let ways = ["MSYNC_STORE=kube", "MSYNC_STORE=memory", "msync::init(client)"];
        assert!(ways.iter().all(|way| line.contains(way)), "{line}");
    }
    Ok(())
}

#[tokio::test]
async fn who_asks_for_the_cluster_gets_it_and_the_log_says_once_which_it_is() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    msync::unstable::crd::install_crd(&server.client(ADMIN).await?).await?;
    let said = said(&server.kubeconfig(ADMIN)?, &[("MSYNC_STORE", "kube")]).await?;
    assert_eq!(said[..3], ["SAID held", "SAID held", "SAID the client was shut down"]);
    let told: Vec<_> = said.iter().filter(|line| line.contains("the locks are in the cluster")).collect();
    assert_eq!(told.len(), 1, "{said:?}");
    for field in ["context=", "server=https://", "namespace="] {
        assert!(told[0].contains(field), "{told:?}");
    }
    Ok(())
}

#[locked("default-hours")]
async fn hold_for_hours() -> Result<(), Error> {
    sleep(Duration::from_secs(7200)).await;
    Ok(())
}

#[locked("default-hours", wait = "1h")]
async fn wait_an_hour() -> Result<(), Error> {
    Ok(())
}

/// By the real clock it would wait for a real hour.
#[tokio::test(start_paused = true)]
#[ignore = "a process of the test below"]
async fn child_waits_an_hour() {
    if !is_child() {
        return;
    }
    follow_parent();
    let late = async {
        sleep(Duration::from_secs(1)).await;
        wait_an_hour().await
    };
    let (held, waited) = tokio::join!(hold_for_hours(), late);
    held.expect("renewed all the time");
    assert!(matches!(waited, Err(Error::Timeout { .. })), "{waited:?}");
    assert_eq!(tick().await.expect("nobody else leads"), Outcome::Ran(()));
    println!("\nwaited");
}

#[tokio::test]
async fn the_store_in_memory_follows_a_paused_clock() -> Result<()> {
    let child = Spawn::this_test("default::child_waits_an_hour")?.env("MSYNC_STORE", "memory");
    child.spawn()?.line_with("waited", LIMIT).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_test_has_a_client_of_its_own() {
    let store = MemoryStore::new();
    testing::init(store.client("web"));
    plain().await.unwrap();
    assert_eq!(tick().await.unwrap(), Outcome::Ran(()));
    assert_eq!(store.holder("default-leader").as_deref(), Some("web"));
    store.take_over("default-leader");
    while tick().await.unwrap() != Outcome::Skipped {
        sleep(Duration::from_millis(1)).await; // it learns of it by its watch
    }
    msync::shutdown().await;
    assert!(matches!(plain().await, Err(Error::ShutDown)), "its own, and nobody else's");
}

#[tokio::test(start_paused = true)]
async fn another_test_has_another_one() {
    let store = MemoryStore::new();
    testing::init(store.client("web"));
    let hour = async {
        store.take_over("default"); // somebody else has it for a ttl of this test's own time
        plain().await
    };
    let start = Instant::now();
    assert!(hour.await.is_ok() && start.elapsed() >= Duration::from_secs(15));
}
