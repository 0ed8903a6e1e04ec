//! Sidecars on a real API server. What takes a ttl of 30 s runs at the same time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{Api, api::PostParams};
use msync::{Client, Timing};
use serde_json::json;
use tests::{
    eventually,
    testbed::{ADMIN, Options, SHARED_USERS, TestServer},
};
use tokio::{
    time::{Instant, sleep},
    try_join,
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    http::ask_as,
    process::{Place, Sidecar, prepared},
};

const SECOND: Duration = Duration::from_secs(1);
/// More than a busy machine needs for anything but waiting for a ttl.
const SLACK: f64 = 4.0;

/// Polls until a sidecar has a lock, and says when, in seconds since `start`.
async fn taken_at(sidecar: &Sidecar, name: &str, start: Instant) -> Result<f64> {
    while sidecar.put(name).await? != 200 {
        ensure!(start.elapsed() < 90 * SECOND, "never taken");
        sleep(SECOND / 4).await;
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Beats for a lock every few seconds, as an old client does, and fails if one is refused.
async fn beat(sidecar: &Sidecar, name: &str, times: u32) -> Result<()> {
    for _ in 0..times {
        ensure!(sidecar.put(name).await? == 200, "a beat was refused");
        sleep(5 * SECOND).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_pass_between_sidecars_as_their_clients_live_and_die() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let place = Place::new(server).await?;
    let (a, b) = (place.sidecar("a", None).await?, place.sidecar("b", None).await?);
    try_join!(
        async { two_sidecars_exclude_each_other(&a, &b).await.context("exclusion") },
        async { a_holder_keeps_its_lock_while_others_wait(&a, &b).await.context("waiters") },
        async { a_silent_client_gives_way_at_once(&a, &b).await.context("silent client") },
        async { a_killed_sidecar_costs_its_ttl(&place, &b).await.context("killed") },
        async { a_restarted_sidecar_keeps_its_locks(&place, &b).await.context("restart") },
        async { two_sidecars_of_one_pod_exclude_each_other(&place).await.context("one pod") },
        async { a_library_in_the_pod_is_no_earlier_start(server, &place).await.context("library in the pod") },
        async { the_library_contends_for_the_same_lock(server, &place, &a).await.context("library") },
        async { a_terminated_sidecar_serves_until_its_clients_are_done(&place, &b).await.context("SIGTERM") },
    )?;
    Ok(())
}

async fn two_sidecars_exclude_each_other(a: &Sidecar, b: &Sidecar) -> Result<()> {
    for round in 0..20 {
        let name = format!("round-{round}");
        let (one, other) = try_join!(a.put(&name), b.put(&name))?;
        ensure!([one, other].contains(&200) && [one, other].contains(&409), "{one} and {other}");
    }
    ensure!(a.ask("GET", "x").await?.status == 404);
    ensure!(a.put("x").await? == 200);
    let refused = b.ask("PUT", "x").await?;
    ensure!(refused.status == 409 && refused.owner() == "a", "{refused:?}");
    let seen = b.ask("GET", "x").await?;
    ensure!(seen.status == 200 && (29.0..30.05).contains(&seen.left()), "{seen:?}");
    ensure!(b.ask("POST", "x").await?.status == 409);
    Ok(())
}

/// Whoever holds is served before any question of queues; `beats.rs` asks the same of the store in memory.
async fn a_holder_keeps_its_lock_while_others_wait(a: &Sidecar, b: &Sidecar) -> Result<()> {
    let [here, there] = [a.port(), b.port()];
    let holding = [("of-nobody", None), ("of-one", Some("holder")), ("of-one-in-time?ttl=30", Some("holder"))].map(
        async |(target, client)| {
            let beat = async || match client {
                Some(client) => ask_as(here, "PUT", target, client).await,
                None => a.ask("PUT", target).await,
            };
            let first = beat().await?;
            ensure!(first.status == 200 && first.token().is_some(), "{first:?}");
            let wait = format!("{}?wait=120", target.split('?').next().unwrap_or_default());
            let waiting = [here, there].map(|port| {
                let wait = wait.clone();
                AbortOnDropHandle::new(tokio::spawn(async move { ask_as(port, "PUT", &wait, "waiter").await }))
            });
            for at in 1..=6 {
                sleep(10 * SECOND).await;
                let reply = beat().await?;
                ensure!(reply.status == 200 && reply.token() == first.token(), "beat {at} of {target}: {reply:?}");
            }
            ensure!(waiting.iter().all(|waiting| !waiting.is_finished()), "nobody was granted {target}");
            anyhow::Ok(())
        },
    );
    try_join_all(holding).await.map(drop)
}

async fn a_silent_client_gives_way_at_once(a: &Sidecar, b: &Sidecar) -> Result<()> {
    let start = Instant::now();
    ensure!(a.put("silent").await? == 200);
    sleep(27 * SECOND).await;
    let taken = taken_at(b, "silent", start).await?;
    ensure!((29.9..30.5 + SLACK).contains(&taken), "after {taken} s");
    let lost = a.ask("PUT", "silent").await?;
    ensure!(lost.status == 409 && lost.owner() == "b", "{lost:?}");
    Ok(())
}

async fn a_killed_sidecar_costs_its_ttl(place: &Place, b: &Sidecar) -> Result<()> {
    let mut killed = place.sidecar("killed", None).await?;
    ensure!(killed.put("dead").await? == 200);
    ensure!(b.put("dead").await? == 409, "b begins to observe");
    killed.process.kill()?;
    let start = Instant::now();
    let taken = taken_at(b, "dead", start).await?;
    ensure!((25.0..32.0 + SLACK).contains(&taken), "after {taken} s");
    Ok(())
}

async fn a_restarted_sidecar_keeps_its_locks(place: &Place, b: &Sidecar) -> Result<()> {
    let mut first = place.sidecar("c", Some("uid-1")).await?;
    ensure!(first.put("kept").await? == 200);
    first.process.kill()?;
    ensure!(b.put("kept").await? == 409);
    let (second, other) = try_join!(place.sidecar("c", Some("uid-1")), place.sidecar("c", Some("uid-2")))?;
    ensure!(other.put("kept").await? == 409, "another pod of the same name has no right to it");
    let start = Instant::now();
    ensure!(second.put("kept").await? == 200 && start.elapsed() < 3 * SECOND, "at once");
    ensure!(b.put("kept").await? == 409);
    beat(&second, "kept", 2).await
}

/// Two containers with the same owner and `POD_UID`, of which the first is restarted while the second lives.
async fn two_sidecars_of_one_pod_exclude_each_other(place: &Place) -> Result<()> {
    let (mut a, b) = (place.sidecar("pod", Some("uid-3")).await?, place.sidecar("pod", Some("uid-3")).await?);
    ensure!(a.put("of-a").await? == 200 && b.put("of-b").await? == 200);
    for _ in 0..4 {
        ensure!(b.put("of-a").await? == 409 && a.put("of-b").await? == 409, "neither takes what the other holds");
        ensure!(a.put("of-a").await? == 200 && b.put("of-b").await? == 200);
        sleep(SECOND).await;
    }
    a.process.kill()?;
    ensure!(b.put("of-a").await? == 409, "what b sees of a is no proof");
    let restarted = place.sidecar("pod", Some("uid-3")).await?;
    let start = Instant::now();
    ensure!(restarted.put("of-b").await? == 409, "b lives");
    ensure!(restarted.put("of-a").await? == 200 && start.elapsed() < 5 * SECOND, "at once");
    ensure!(b.put("of-b").await? == 200);
    Ok(())
}

async fn a_library_in_the_pod_is_no_earlier_start(server: &TestServer, place: &Place) -> Result<()> {
    let kube = server.client(ADMIN).await?;
    let library = Client::builder().owner("both").pod_uid("uid-4").namespace(&place.namespace).kube(kube).build();
    let guard = library.lock("both")?.acquire().await?;
    let sidecar = place.sidecar("both", Some("uid-4")).await?;
    ensure!(sidecar.put("both").await? == 409);
    guard.check()?;
    guard.release().await?;
    ensure!(sidecar.put("both").await? == 200);
    ensure!(library.lock("both")?.try_acquire().await?.is_none());
    Ok(())
}

async fn the_library_contends_for_the_same_lock(server: &TestServer, place: &Place, a: &Sidecar) -> Result<()> {
    let kube = server.client(ADMIN).await?;
    let timing = Timing::with_ttl(5 * SECOND)?;
    let library = Client::builder().owner("library").namespace(&place.namespace).timing(timing).kube(kube).build();
    let guard = library.lock("shared")?.acquire().await?;
    let refused = a.ask("PUT", "shared").await?;
    ensure!(refused.status == 409 && refused.owner() == "library", "{refused:?}");
    guard.release().await?;
    ensure!(a.ask("GET", "shared").await?.status == 200, "known, though its object is gone");
    let start = Instant::now();
    ensure!(a.put("shared").await? == 200);
    let guard = library.lock("shared")?.acquire().await?;
    let waited = start.elapsed().as_secs_f64();
    ensure!((29.9..30.5 + SLACK).contains(&waited), "the queue gets it when the client is silent: {waited} s");
    ensure!(a.put("shared").await? == 409);
    guard.release().await?;
    ensure!(a.put("shared").await? == 200);
    Ok(())
}

async fn a_terminated_sidecar_serves_until_its_clients_are_done(place: &Place, b: &Sidecar) -> Result<()> {
    let mut ending = place.sidecar("ending", None).await?;
    ensure!(ending.put("last").await? == 200);
    ending.process.terminate()?;
    eventually("new locks are refused", 5 * SECOND, async || {
        ending
            .ask("PUT", &format!("new-{:?}", Instant::now().elapsed().as_nanos()))
            .await
            .is_ok_and(|r| r.status == 409)
    })
    .await?;
    let start = Instant::now();
    beat(&ending, "last", 4).await?;
    ensure!(b.put("last").await? == 409, "beats still count");
    let status = ending.process.wait(45 * SECOND).await?;
    ensure!(status.success() && start.elapsed() > 40 * SECOND, "{status}, after {:?}", start.elapsed());
    ensure!(b.put("last").await? == 200, "freed before the end");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_api_server_ends_beats_while_twelve_seconds_remain() -> Result<()> {
    let Some(server) = TestServer::start(Options::default()).await? else { return Ok(()) };
    let sidecar = Place::new(&server).await?.sidecar("a", None).await?;
    ensure!(sidecar.put("x").await? == 200);
    sleep(6 * SECOND).await;
    server.freeze().await?;
    let frozen = Instant::now();
    let refused = loop {
        let reply = sidecar.ask("PUT", "x").await?;
        if reply.status != 200 {
            break reply;
        }
        ensure!(reply.left() > 11.9, "{} s left in an answer with 200", reply.left());
        sleep(SECOND / 5).await;
    };
    let after = frozen.elapsed().as_secs_f64();
    ensure!(refused.status == 409, "{refused:?}");
    // The last renewal was sent at most 5 s before, and a deadline is 30 s after that.
    ensure!((12.5..18.0 + 5.5).contains(&after), "after {after} s");
    while frozen.elapsed() < 26 * SECOND {
        ensure!(sidecar.put("x").await? == 409);
        ensure!(sidecar.ask("GET", "x").await?.status == 200);
        sleep(SECOND / 2).await;
    }
    server.thaw().await
}

/// What a sidecar says that may not start as this user.
async fn refused_start(server: &TestServer, user: &str, namespace: &str) -> Result<String> {
    let log = tempfile::NamedTempFile::new()?;
    let spawn = prepared("a").env("KUBECONFIG", server.kubeconfig(user)?).args(["--namespace", namespace]);
    let status = spawn.stderr_to(log.path())?.spawn()?.wait(20 * SECOND).await?;
    let said = std::fs::read_to_string(log.path())?;
    ensure!(!status.success(), "{status}: {said}");
    Ok(said)
}

/// Allows a user these verbs on locks, in one namespace.
async fn allow(server: &TestServer, user: &str, namespace: &str, verbs: &[&str]) -> Result<()> {
    let client = server.client(ADMIN).await?;
    let group = "rbac.authorization.k8s.io";
    let role = json!({"metadata": {"name": "some"},
        "rules": [{"apiGroups": ["metaparticle.io"], "resources": ["locks"], "verbs": verbs}]});
    let binding = json!({"metadata": {"name": "some"}, "roleRef": {"apiGroup": group, "kind": "Role", "name": "some"},
        "subjects": [{"kind": "User", "apiGroup": group, "name": user}]});
    let how = PostParams::default();
    Api::<Role>::namespaced(client.clone(), namespace).create(&how, &serde_json::from_value(role)?).await?;
    Api::<RoleBinding>::namespaced(client, namespace).create(&how, &serde_json::from_value(binding)?).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_without_rights_says_which_are_missing() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    // The resource must be there: without it nobody has been refused anything yet.
    drop(Place::new(server).await?.sidecar("installer", None).await?);
    let namespace = server.namespace().await?;
    let said = refused_start(server, SHARED_USERS[0], &namespace).await?;
    ensure!(said.contains("missing is a Role with the rule"), "{said}");
    allow(server, SHARED_USERS[0], &namespace, &["get", "list", "watch", "create"]).await?;
    eventually("the API server knows the new rights", 20 * SECOND, async || {
        let said = refused_start(server, SHARED_USERS[0], &namespace).await.unwrap_or_default();
        said.contains("not allowed to delete or patch locks") && said.contains("missing is a Role with the rule")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_may_not_install_the_resource_says_what_is_missing() -> Result<()> {
    let Some(server) = TestServer::start(Options::with_users(&["limited"])).await? else { return Ok(()) };
    let namespace = server.namespace().await?;
    allow(&server, "limited", &namespace, &["create", "delete", "get", "list", "patch", "watch"]).await?;
    eventually("the API server knows the rights", 20 * SECOND, async || {
        let said = refused_start(&server, "limited", &namespace).await.unwrap_or_default();
        said.contains("the Lock resource is not installed, and this sidecar could not install it")
            && said.contains("rbac-install.yaml")
    })
    .await
}
