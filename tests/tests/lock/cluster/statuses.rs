//! The API server refuses: what heals is waited out, what does not is said at once and in words.

use std::time::Duration;

use anyhow::Result;
use msync::{
    Client, Error, LossReason,
    clock::{BootClock, Clock},
};
use serde_json::json;
use tests::{
    cluster::{Cluster, soon, ttl},
    lock_request::Kind,
    tamper::{Fate, Reply},
    testbed::{Options, TestServer},
};

use super::{TTL, acquiring, millis, pair, waiting};

fn answer(code: u16, reason: &str) -> Fate {
    Fate::Respond(Reply::error(code, reason, "so the test wants it"))
}

/// Breaks each kind of request once, through the life of one lock: acquired, waited for, handed on, deleted.
async fn heals(retry: bool, fate: &Fate) -> Result<()> {
    let Some(pair) = pair(retry).await? else { return Ok(()) };
    for kind in [Kind::Create, Kind::Enqueue, Kind::Renew, Kind::Grant, Kind::Delete, Kind::List, Kind::Watch] {
        pair.tamper.once(kind.matches(), fate.clone());
    }
    let guard = soon("it acquires", pair.broken.lock("x")?.acquire()).await??;
    let waits = waiting(&pair.cluster, &pair.honest, "x").await?;
    tokio::time::sleep(millis(TTL)).await; // through the first renewal
    guard.check()?;
    guard.release().await?;
    let guard = soon("the successor acquires", waits).await???;
    let waits = waiting(&pair.cluster, &pair.broken, "x").await?;
    guard.release().await?;
    soon("it acquires again", waits).await???.release().await?;
    pair.cluster.until_gone("x").await
}

#[tokio::test]
async fn a_401_is_tried_again() -> Result<()> {
    heals(false, &answer(401, "Unauthorized")).await
}

#[tokio::test]
async fn a_500_is_tried_again() -> Result<()> {
    heals(false, &answer(500, "InternalError")).await
}

#[tokio::test]
async fn a_503_is_tried_again_by_us_and_by_kube() -> Result<()> {
    heals(false, &answer(503, "ServiceUnavailable")).await?;
    heals(true, &answer(503, "ServiceUnavailable")).await
}

#[tokio::test]
async fn a_429_is_tried_again_after_a_while() -> Result<()> {
    heals(false, &Fate::Respond(Reply::too_many_requests(Duration::from_secs(1)))).await
}

/// As the API server's own limits answer: with the time in the body as well.
#[tokio::test]
async fn a_429_says_when_to_come_back() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let mut reply = Reply::too_many_requests(Duration::from_secs(1));
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "too many",
        "reason": "TooManyRequests", "code": 429, "details": {"retryAfterSeconds": 1},
    });
    reply.body = status.to_string().into();
    pair.tamper.once(Kind::Create.matches(), Fate::Respond(reply));
    let began = BootClock.now();
    soon("it acquires", pair.broken.lock("x")?.acquire()).await??.release().await?;
    assert!(BootClock.now().since(began) >= Duration::from_secs(1));
    Ok(())
}

/// A 409 on a patch says that the server gave up repeating it: not applied.
#[tokio::test]
async fn a_409_on_a_patch_is_sent_again() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    for kind in [Kind::Enqueue, Kind::Renew, Kind::Grant] {
        pair.tamper.once(kind.matches(), answer(409, "Conflict"));
    }
    let guard = pair.honest.lock("x")?.acquire().await?;
    let waits = waiting(&pair.cluster, &pair.broken, "x").await?;
    guard.release().await?;
    let guard = soon("it acquires", waits).await???;
    tokio::time::sleep(millis(TTL)).await;
    guard.check()?;
    let waits = waiting(&pair.cluster, &pair.honest, "x").await?;
    guard.release().await?;
    soon("the successor acquires", waits).await???.release().await?;
    pair.cluster.until_gone("x").await
}

/// A watch that cannot be had costs time, never the lock: waiters look once per ttl.
#[tokio::test]
async fn bug_18_watches_that_always_answer_410_cost_only_time() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    pair.tamper.always(Kind::Watch.matches(), answer(410, "Expired"));
    let guard = pair.honest.lock("x")?.acquire().await?;
    let waits = waiting(&pair.cluster, &pair.broken, "x").await?;
    guard.release().await?;
    let guard = soon("it acquires all the same", waits).await???;
    tokio::time::sleep(millis(TTL)).await;
    guard.check()?;
    guard.release().await?;
    pair.cluster.until_gone("x").await?;
    let watches = pair.tamper.calls().iter().filter(|call| Kind::of(call) == Kind::Watch).count();
    assert!(watches < 60, "it does not spin: {watches} watches");
    Ok(())
}

/// What a lasting refusal of renewals costs: the lock at its deadline, nothing else; later all is well again.
async fn loses_and_recovers(retry: bool, kinds: &'static [Kind], fate: Fate, why: LossReason) -> Result<()> {
    let Some(pair) = pair(retry).await? else { return Ok(()) };
    let guard = pair.broken.lock("x")?.acquire().await?;
    let deadline = BootClock.now() + guard.remaining();
    pair.tamper.always(|call| kinds.contains(&Kind::of(call)), fate);
    let reason = soon("it is lost", guard.lost()).await?;
    let at = BootClock.now();
    assert_eq!(reason, why);
    assert!(at >= deadline, "not before the deadline");
    assert!(at <= deadline + millis(TTL / 10), "{:?} after the deadline", at.since(deadline));
    drop(guard);
    let again = acquiring(&pair.broken, "x");
    tokio::time::sleep(millis(500)).await;
    pair.tamper.clear();
    soon("it acquires again", again).await???.release().await?;
    pair.cluster.until_gone("x").await
}

const EVERYTHING: &[Kind] = &[
    Kind::Create,
    Kind::Claim,
    Kind::Enqueue,
    Kind::Leave,
    Kind::Renew,
    Kind::Grant,
    Kind::Free,
    Kind::Delete,
    Kind::Read,
    Kind::List,
    Kind::Watch,
];

#[tokio::test]
async fn bug_16_a_storm_of_503_is_a_loss_at_the_deadline() -> Result<()> {
    loses_and_recovers(false, EVERYTHING, answer(503, "ServiceUnavailable"), LossReason::Deadline).await
}

#[tokio::test]
async fn bug_16_a_storm_of_503_is_a_loss_at_the_deadline_also_when_kube_retries() -> Result<()> {
    loses_and_recovers(true, EVERYTHING, answer(503, "ServiceUnavailable"), LossReason::Deadline).await
}

#[tokio::test]
async fn bug_20_renewals_that_are_never_allowed_are_a_loss_at_the_deadline() -> Result<()> {
    loses_and_recovers(false, &[Kind::Renew], answer(403, "Forbidden"), LossReason::Refused).await?;
    loses_and_recovers(false, &[Kind::Renew], answer(401, "Unauthorized"), LossReason::Refused).await
}

/// A refusal by the schema has causes, a failed condition has none: both are looked into, neither shortens the hold.
#[tokio::test]
async fn a_422_on_every_renewal_is_a_loss_at_the_deadline() -> Result<()> {
    loses_and_recovers(false, &[Kind::Renew], answer(422, "Invalid"), LossReason::Refused).await?;
    let mut reply = Reply::error(422, "Invalid", "");
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "spec.beat: invalid",
        "reason": "Invalid", "code": 422,
        "details": {"name": "x", "kind": "locks", "causes": [{"reason": "FieldValueInvalid", "field": "spec.beat"}]},
    });
    reply.body = status.to_string().into();
    loses_and_recovers(false, &[Kind::Renew], Fate::Respond(reply), LossReason::Refused).await
}

#[tokio::test]
async fn a_422_on_one_renewal_costs_nothing() -> Result<()> {
    let Some(pair) = pair(false).await? else { return Ok(()) };
    let guard = pair.broken.lock("x")?.acquire().await?;
    pair.tamper.once(Kind::Renew.matches(), answer(422, "Invalid"));
    tokio::time::sleep(millis(TTL * 3 / 2)).await;
    guard.check()?;
    Ok(guard.release().await?)
}

/// Says how an acquisition fails: at once, or when what it met has not passed within five seconds.
async fn fails(client: &Client) -> Result<Error> {
    let error = soon("an error", client.lock("x")?.acquire()).await?.map(drop);
    Ok(error.expect_err("no lock can be had"))
}

#[tokio::test]
async fn bug_42_a_403_that_lasts_fails_and_names_the_rule() -> Result<()> {
    let Some(cluster) = Cluster::shared().await?.and_then(Cluster::of_the_resource) else { return Ok(()) };
    let stranger = cluster.client_of(cluster.server().client("stranger").await?, "stranger", ttl(TTL));
    let error = fails(&stranger).await?;
    assert!(matches!(error, Error::Forbidden(_)), "{error:?}");
    let text = error.to_string();
    for part in ["create", "locks.metaparticle.io", cluster.namespace(), "RoleBinding", "stranger"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    let tried = stranger.lock("x")?.try_acquire().await;
    assert!(matches!(tried, Err(Error::Forbidden(_))), "{tried:?}");
    Ok(())
}

#[tokio::test]
async fn a_missing_namespace_fails_fast_and_is_named() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let kube = cluster.server().client(tests::testbed::ADMIN).await?;
    let lost = Client::builder().namespace("no-such-namespace").timing(ttl(TTL)).kube(kube).build();
    let text = fails(&lost).await?.to_string();
    assert!(text.contains("namespace no-such-namespace does not exist"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_missing_resource_fails_and_says_how_to_install_it() -> Result<()> {
    let Some(server) = TestServer::start(Options::default()).await? else { return Ok(()) };
    let kube = server.client(tests::testbed::ADMIN).await?;
    let client = Client::builder().namespace("default").timing(ttl(TTL)).kube(kube).build();
    let error = fails(&client).await?;
    assert!(matches!(error, Error::CrdMissing(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("install_crd") && text.contains("crd.yaml"), "{text}");
    client.install_crd().await?;
    soon("it acquires", client.lock("x")?.acquire()).await??.release().await?;
    Ok(())
}
