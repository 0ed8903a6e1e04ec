//! Events of the cluster, on a real API server.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::events::v1::Event;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use msync::{Client, Timing};
use tests::{
    cluster::{Cluster, LIMIT, soon},
    eventually,
    logs::Logs,
    tamper::{Call, Fate, Reply, Tamper},
    testbed::ADMIN,
};

/// The events of a namespace: reason, kind, what they regard, and the note.
pub(crate) async fn events(cluster: &Cluster) -> Result<Vec<Event>> {
    let api: Api<Event> = Api::namespaced(cluster.server().client(ADMIN).await?, cluster.namespace());
    Ok(api.list(&ListParams::default()).await?.items)
}

pub(crate) fn reasons(events: &[Event]) -> Vec<&str> {
    let mut reasons: Vec<_> = events.iter().filter_map(|event| event.reason.as_deref()).collect();
    reasons.sort_unstable();
    reasons
}

/// A client that writes them.
pub(crate) async fn client(cluster: &Cluster, owner: &str, timing: Timing) -> Result<Client> {
    let _ = Logs::everywhere();
    let config = cluster.server().config(ADMIN).await?;
    let builder = Client::builder().owner(owner).namespace(cluster.namespace()).timing(timing).events(true);
    Ok(builder.config(config).build()?)
}

#[tokio::test]
async fn a_change_of_leaders_is_an_event_on_its_lock() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let client = client(&cluster, "web-1", Timing::default()).await?;
    let term = client.election("scheduler")?.campaign().await?;
    let token = term.token();
    term.resign().await?;
    client.lock("quiet")?.acquire().await?.release().await?;
    soon("the end waits for them", client.shutdown()).await?;
    let found = events(&cluster).await?;
    assert_eq!(
        reasons(&found),
        ["LeaderElected", "LeaderResigned"],
        "a lock that is given back is none: {:?}",
        Logs::everywhere().lines()
    );
    let uid = cluster.locks().get("scheduler").await?.metadata.uid;
    for event in &found {
        let regarding = event.regarding.as_ref().expect("it regards something");
        assert_eq!((regarding.kind.as_deref(), regarding.name.as_deref()), (Some("Lock"), Some("scheduler")));
        assert_eq!(regarding.uid, uid, "kubectl describe finds it by this");
        let note = event.note.as_deref().unwrap_or_default();
        assert!(note.contains("web-1") && note.contains(&token.to_string()), "{note}");
        assert_eq!(event.type_.as_deref(), Some("Normal"));
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_lock_is_a_warning_that_names_the_cause() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let client = client(&cluster, "web-1", Timing::default()).await?;
    let guard = client.lock("invoices")?.acquire().await?;
    cluster.locks().delete("invoices", &DeleteParams::default()).await?;
    soon("it notices", guard.lost()).await?;
    let lost = async || events(&cluster).await.is_ok_and(|found| reasons(&found) == ["LockLost"]);
    eventually("it is written", LIMIT, lost).await?;
    let found = events(&cluster).await?;
    let note = found[0].note.as_deref().unwrap_or_default();
    assert!(note.contains("web-1") && note.contains("its object was deleted"), "{note}");
    assert_eq!(found[0].type_.as_deref(), Some("Warning"));
    drop(guard);
    Ok(())
}

/// The same again is a number on the first, by a patch.
#[tokio::test]
async fn a_leader_that_comes_and_goes_fills_no_list() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let client = client(&cluster, "web-1", Timing::default()).await?;
    for _ in 0..4 {
        client.election("e")?.campaign().await?.resign().await?;
    }
    soon("the end waits for them", client.shutdown()).await?;
    let found = events(&cluster).await?;
    assert_eq!(reasons(&found), ["LeaderElected", "LeaderResigned"]);
    let counts: Vec<_> = found.iter().map(|event| event.series.as_ref().map(|series| series.count)).collect();
    assert_eq!(counts, [Some(4), Some(4)]);
    Ok(())
}

/// It was counted on one that somebody has removed.
#[tokio::test]
async fn an_event_whose_first_is_gone_is_written_anew() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let client = client(&cluster, "web-1", Timing::default()).await?;
    let written = async |wanted: usize| {
        let found = async || events(&cluster).await.is_ok_and(|found| found.len() == wanted);
        eventually("it is written", LIMIT, found).await
    };
    client.election("e")?.campaign().await?.resign().await?;
    written(2).await?;
    let api: Api<Event> = Api::namespaced(cluster.server().client(ADMIN).await?, cluster.namespace());
    for event in events(&cluster).await? {
        api.delete(&event.metadata.name.unwrap_or_default(), &DeleteParams::default()).await?;
    }
    client.election("e")?.campaign().await?.resign().await?;
    written(2).await
}

const FORBIDDEN: &str = "events.events.k8s.io is forbidden: User \"web\" cannot create resource \"events\"";

fn forbidden() -> Fate {
    Fate::Respond(Reply::error(403, "Forbidden", FORBIDDEN))
}

fn of_events(call: &Call) -> bool {
    call.path.contains("/events.k8s.io/")
}

/// A client that writes them, through something that meddles with its calls.
async fn client_with(cluster: &Cluster, tamper: &Tamper) -> Result<Client> {
    let _ = Logs::everywhere();
    let kube = cluster.server().client_with(tamper, ADMIN).await?;
    Ok(Client::builder().owner("web-1").namespace(cluster.namespace()).events(true).kube(kube).build())
}

/// Without the right there are none, and nothing else changes.
#[tokio::test]
async fn without_the_right_locks_go_on() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let tamper = Tamper::new();
    tamper.always(of_events, forbidden());
    let client = client_with(&cluster, &tamper).await?;
    for _ in 0..3 {
        client.election("e")?.campaign().await?.resign().await?;
    }
    let began = tokio::time::Instant::now();
    client.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(events(&cluster).await?.is_empty());
    let tried = || tamper.calls().iter().filter(|call| of_events(call)).count();
    eventually("the first for ten seconds, the others once", LIMIT, async || tried() == 3 + 5).await
}

/// Right after a start of the API server everything is forbidden for a moment, and that is when leaders change.
#[tokio::test]
async fn an_event_that_is_forbidden_for_a_moment_is_not_lost() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let tamper = Tamper::new();
    tamper.once(of_events, forbidden());
    let client = client_with(&cluster, &tamper).await?;
    let _term = client.election("e")?.campaign().await?;
    let told = async || events(&cluster).await.is_ok_and(|found| reasons(&found) == ["LeaderElected"]);
    eventually("it is written", LIMIT, told).await
}
