//! Watches whose server ends them, forgets their version, or breaks off.

use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use http::{HeaderMap, StatusCode};
use kube::Client;
use msync::unstable::{
    crd::install_crd,
    store::{Fault, Scope, Sighting, Watch},
};
use serde_json::{Value, json};
use tests::{
    store_contract::{Subject, create, done, name, next, open, renew},
    tamper::{Call, Fate, Reply, Tamper},
    testbed::{ADMIN, Options, TestServer},
};
use tokio::time::timeout;

use crate::{Bench, kube_store};

const LIMIT: Duration = Duration::from_secs(60);

fn is_watch(call: &Call) -> bool {
    call.path.contains("watch=true")
}

fn is_list(call: &Call) -> bool {
    call.path.contains("/locks?") && !is_watch(call)
}

/// A watch that answers with these lines and ends normally.
fn ends_after(events: &[Value]) -> Fate {
    let lines: Vec<_> = events.iter().map(|event| event.to_string() + "\n").collect();
    Fate::Respond(Reply { status: StatusCode::OK, headers: HeaderMap::new(), body: lines.concat().into() })
}

fn bookmark(version: &str) -> Value {
    let types = json!({"apiVersion": "metaparticle.io/v1", "kind": "Lock"});
    json!({"type": "BOOKMARK", "object": {
        "apiVersion": types["apiVersion"], "kind": types["kind"], "metadata": {"resourceVersion": version}, "spec": {},
    }})
}

fn error_event(code: u16) -> Value {
    json!({"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": code, "reason": "Expired"}})
}

/// The next item, whatever it is.
async fn item(watch: &mut Watch) -> Result<Sighting, Fault> {
    timeout(LIMIT, watch.next()).await.expect("the watch says something").expect("a watch never ends")
}

/// A held lock, and a store for it whose requests are tampered with.
async fn tampered(bench: &Bench) -> Result<(Tamper, Subject, Scope)> {
    let lock = name("watched");
    done(&bench.store, &lock, create("a", 1)).await;
    let tamper = Tamper::new();
    let store = bench.tampered(&tamper).await?;
    Ok((tamper, store, Scope::Lock(lock)))
}

#[tokio::test]
async fn an_ended_watch_goes_on_from_its_last_bookmark_without_a_list() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let (tamper, store, scope) = tampered(&bench).await?;
    let (mut watch, listed) = open(&store, scope).await;
    let version = listed[0].1.version.number.to_string();
    tamper.once(is_watch, ends_after(&[bookmark(&version)]));
    assert!(matches!(item(&mut watch).await, Ok(Sighting::Alive)));
    let renewed = done(&bench.store, &name("watched"), renew(1, 10, 11)).await;
    assert_eq!(next(&mut watch).await, Sighting::Changed(name("watched"), renewed));
    let calls = tamper.calls();
    assert_eq!(calls.iter().filter(|call| is_list(call)).count(), 1);
    let resumed = calls.last().expect("there were calls");
    assert!(resumed.path.contains(&format!("resourceVersion={version}")), "{}", resumed.path);
    Ok(())
}

#[tokio::test]
async fn a_watch_asks_for_bookmarks_and_for_an_end_before_the_client_gives_up() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let (tamper, store, scope) = tampered(&bench).await?;
    let (mut watch, _) = open(&store, scope).await;
    tamper.once(is_watch, ends_after(&[bookmark("1")]));
    item(&mut watch).await.expect("a bookmark");
    let path = tamper.calls().into_iter().find(is_watch).expect("it watched").path;
    for part in ["allowWatchBookmarks=true", "timeoutSeconds=290", "fieldSelector=metadata.name%3Dwatched"] {
        assert!(path.contains(part), "{part} is missing in {path}");
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_that_ends_at_once_is_an_error_each_time_and_does_not_spin() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let (tamper, store, scope) = tampered(&bench).await?;
    tamper.always(is_watch, ends_after(&[]));
    let (mut watch, _) = open(&store, scope).await;
    for _ in 0..5 {
        assert!(matches!(item(&mut watch).await, Err(Fault::Unknown(_))));
        assert!(matches!(item(&mut watch).await, Ok(Sighting::Listed(_))));
    }
    assert_eq!(tamper.calls().len(), 11, "no more than a list and a watch per error");
    Ok(())
}

#[tokio::test]
async fn a_forgotten_version_is_listed_again_without_an_error() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    for forgotten in [ends_after(&[error_event(410)]), Fate::Respond(Reply::error(410, "Expired", "too old"))] {
        let (tamper, store) = (Tamper::new(), name("forgotten"));
        let _ = bench.store.apply(&store, &create("a", 1)).await;
        let tampered = bench.tampered(&tamper).await?;
        let (mut watch, listed) = open(&tampered, Scope::Lock(store)).await;
        tamper.once(is_watch, ends_after(&[bookmark("1")]));
        tamper.once(is_watch, forgotten);
        assert!(matches!(item(&mut watch).await, Ok(Sighting::Alive)));
        assert_eq!(next(&mut watch).await, Sighting::Listed(listed));
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_forgets_what_it_just_listed_does_not_make_us_spin() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let (tamper, store, scope) = tampered(&bench).await?;
    tamper.always(is_watch, ends_after(&[error_event(410)]));
    let (mut watch, _) = open(&store, scope).await;
    for _ in 0..3 {
        assert!(matches!(item(&mut watch).await, Err(Fault::Unknown(_))));
        assert!(matches!(item(&mut watch).await, Ok(Sighting::Listed(_))));
    }
    Ok(())
}

#[tokio::test]
async fn an_unreadable_event_is_an_error_and_the_watch_goes_on() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let (tamper, store, scope) = tampered(&bench).await?;
    let (mut watch, listed) = open(&store, scope).await;
    tamper.once(is_watch, ends_after(&[json!({"type": "ADDED", "object": 5})]));
    assert!(item(&mut watch).await.is_err());
    assert_eq!(next(&mut watch).await, Sighting::Listed(listed));
    Ok(())
}

#[tokio::test]
async fn an_overloaded_server_is_busy_and_the_watch_goes_on() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let (tamper, store, scope) = tampered(&bench).await?;
    let busy = Reply::too_many_requests(Duration::from_secs(1));
    tamper.once(is_list, Fate::Respond(busy));
    let mut watch = store.watch(scope);
    assert!(matches!(item(&mut watch).await, Err(Fault::Busy(_))));
    assert!(matches!(item(&mut watch).await, Ok(Sighting::Listed(_))));
    Ok(())
}

#[tokio::test]
async fn a_broken_connection_is_survived_and_nothing_is_missed() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    if std::env::var("USE_EXISTING_CLUSTER").is_ok() {
        return Ok(());
    }
    let lock = name("cut");
    done(&bench.store, &lock, create("a", 1)).await;
    let proxy = bench.server.proxy().await?;
    let store = kube_store(&bench.server.client_via(&proxy, ADMIN).await?, &bench.namespace);
    let (mut watch, _) = open(&store, Scope::Lock(lock.clone())).await;
    done(&bench.store, &lock, renew(1, 10, 11)).await;
    item(&mut watch).await.expect("it is connected");
    proxy.reset();
    let renewed = done(&bench.store, &lock, renew(1, 11, 12)).await;
    let shown = timeout(LIMIT, shows(&mut watch, renewed.version.number)).await;
    assert!(shown.is_ok(), "the renewal after the break is never shown");
    Ok(())
}

/// Polls, errors or not, until this version was seen.
async fn shows(watch: &mut Watch, version: u64) {
    loop {
        match watch.next().await.expect("a watch never ends") {
            Ok(Sighting::Changed(_, snapshot)) if snapshot.version.number == version => return,
            Ok(Sighting::Listed(found)) if found.iter().any(|(_, s)| s.version.number == version) => return,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The real thing: etcd has compacted the version away, and no watch cache hides it.
#[tokio::test]
async fn a_compacted_version_is_listed_again() -> Result<()> {
    let options = Options { watch_cache: false, compaction: Some(Duration::from_secs(1)), ..Options::default() };
    let Some(server) = TestServer::start(options).await? else { return Ok(()) };
    let mut config = server.config(ADMIN).await?;
    config.default_retry = false;
    install_crd(&Client::try_from(config.clone())?).await?;
    let (tamper, lock) = (Tamper::new(), name("compacted"));
    let store = kube_store(&tamper.client(config)?, "default");
    let first = done(&store, &lock, create("a", 1)).await.version.number.to_string();
    for beat in 11..20 {
        done(&store, &lock, renew(1, beat - 1, beat)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (mut watch, listed) = open(&store, Scope::Lock(lock)).await;
    tamper.once(is_watch, ends_after(&[bookmark(&first)]));
    assert!(matches!(item(&mut watch).await, Ok(Sighting::Alive)));
    assert_eq!(next(&mut watch).await, Sighting::Listed(listed));
    let resumed = tamper.calls().into_iter().rfind(is_watch).expect("it watched");
    assert!(resumed.path.contains(&format!("resourceVersion={first}")), "the server was asked: {}", resumed.path);
    Ok(())
}
