use std::time::Duration;

use anyhow::{Context, Result};
use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tests::{
    eventually,
    tamper::{Call, Fate, Reply, Tamper},
    testbed::{ADMIN, TestServer},
};
use tokio::time::{Instant, timeout};

use crate::{LIMIT, SILENCE, code, config_maps, make};

/// The same namespace through a tampered client and through an honest one.
struct Bench {
    tamper: Tamper,
    api: Api<ConfigMap>,
    honest: Api<ConfigMap>,
}

async fn bench(default_retry: bool) -> Result<Option<Bench>> {
    let Some(server) = TestServer::shared().await? else { return Ok(None) };
    let namespace = server.namespace().await?;
    let tamper = Tamper::new();
    let mut config = server.config(ADMIN).await?;
    config.default_retry = default_retry;
    let api = config_maps(tamper.client(config)?, &namespace);
    let honest = config_maps(server.client(ADMIN).await?, &namespace);
    Ok(Some(Bench { tamper, api, honest }))
}

impl Bench {
    async fn exists(&self, name: &str) -> bool {
        matches!(self.honest.get_opt(name).await, Ok(Some(_)))
    }

    async fn appears(&self, name: &str) -> Result<()> {
        eventually("the object appears", LIMIT, || self.exists(name)).await
    }

    /// The caller waits in vain.
    async fn is_not_answered(&self, name: &str) -> bool {
        timeout(SILENCE, make(&self.api, name)).await.is_err()
    }
}

fn create(call: &Call) -> bool {
    call.is(&Method::POST, "/configmaps")
}

#[tokio::test]
async fn answered_request_is_not_sent() -> Result<()> {
    let Some(bench) = bench(false).await? else { return Ok(()) };
    bench.tamper.once(create, Fate::Respond(Reply::too_many_requests(Duration::from_secs(1))));
    assert_eq!(code(make(&bench.api, "one").await), 429);
    assert!(!bench.exists("one").await);
    make(&bench.api, "one").await?;
    Ok(())
}

#[tokio::test]
async fn retries_of_kube_pass_the_rules_again() -> Result<()> {
    let Some(bench) = bench(true).await? else { return Ok(()) };
    bench.tamper.once(create, Fate::Respond(Reply::error(503, "ServiceUnavailable", "shutting down")));
    make(&bench.api, "one").await?;
    let calls = bench.tamper.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.is_write() && call.says("\"one\"")));
    Ok(())
}

#[tokio::test]
async fn always_strikes_until_the_rules_are_cleared() -> Result<()> {
    let Some(bench) = bench(false).await? else { return Ok(()) };
    bench.tamper.always(create, Fate::Respond(Reply::error(401, "Unauthorized", "token expired")));
    assert_eq!(code(make(&bench.api, "one").await), 401);
    assert_eq!(code(make(&bench.api, "one").await), 401);
    bench.tamper.clear();
    make(&bench.api, "one").await?;
    Ok(())
}

#[tokio::test]
async fn dropped_reply_follows_a_delivered_write() -> Result<()> {
    let Some(bench) = bench(true).await? else { return Ok(()) };
    bench.tamper.once(create, Fate::DropReply);
    assert!(bench.is_not_answered("one").await);
    bench.appears("one").await?;
    eventually("the reply was kept", LIMIT, || async { !bench.tamper.unseen_replies().is_empty() }).await?;
    assert_eq!(bench.tamper.unseen_replies()[0].1, 201);
    Ok(())
}

#[tokio::test]
async fn broken_reply_follows_a_delivered_write() -> Result<()> {
    let Some(bench) = bench(true).await? else { return Ok(()) };
    bench.tamper.once(create, Fate::BreakReply);
    assert!(matches!(make(&bench.api, "one").await, Err(kube::Error::Service(_))));
    assert!(bench.exists("one").await);
    Ok(())
}

#[tokio::test]
async fn refused_request_is_not_sent() -> Result<()> {
    let Some(bench) = bench(true).await? else { return Ok(()) };
    bench.tamper.once(create, Fate::Refuse);
    assert!(matches!(make(&bench.api, "one").await, Err(kube::Error::Service(_))));
    assert!(!bench.exists("one").await);
    Ok(())
}

#[tokio::test]
async fn zombie_write_lands_after_its_caller_left() -> Result<()> {
    let Some(bench) = bench(true).await? else { return Ok(()) };
    bench.tamper.once(create, Fate::DeliverLater(3 * SILENCE));
    assert!(bench.is_not_answered("one").await);
    assert!(bench.tamper.unseen_replies().is_empty());
    bench.appears("one").await
}

#[tokio::test]
async fn delayed_request_is_lost_with_its_caller() -> Result<()> {
    let Some(bench) = bench(true).await? else { return Ok(()) };
    bench.tamper.once(create, Fate::Delay(2 * SILENCE));
    assert!(bench.is_not_answered("one").await);
    tokio::time::sleep(2 * SILENCE).await;
    assert!(!bench.exists("one").await);
    Ok(())
}

#[tokio::test]
async fn late_reply_is_a_true_one() -> Result<()> {
    let Some(bench) = bench(true).await? else { return Ok(()) };
    bench.tamper.once(create, Fate::LateReply(SILENCE));
    let sent = Instant::now();
    let made = timeout(LIMIT, make(&bench.api, "one")).await.context("no reply")??;
    assert!(sent.elapsed() >= SILENCE);
    assert_eq!(made.metadata.uid, bench.honest.get("one").await?.metadata.uid);
    Ok(())
}
