//! Leases that others have written, on a real API server: they are waited for, taken over in time, lost to at once, or
//! refused with the reason; and never are there two holders of msync.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
};
use msync::{
    Client, Error, LossReason, Timing,
    clock::{BootClock, Clock},
    unstable::{
        record::{Change, Pair, Refused, Term},
        store::{Fatal, Fault, Lease, Scope, Sighting},
    },
};
use serde_json::{Value, json};
use tests::{
    eventually,
    lock_request::{Kind, writes},
    store_contract::{WALL, claim, create, done, engine, enqueue, free, name, next, open, read, refused, renew, take},
    tamper::Tamper,
    testbed::{ADMIN, Options, TestServer},
};
use tokio::time::{sleep, timeout};

use crate::{Bench, lease_store};

const LIMIT: Duration = Duration::from_secs(30);
const TTL: Duration = Duration::from_secs(1);

/// The Leases of a namespace, by other hands than msync's.
struct Others(Api<Lease>);

// === impl Others ===

impl Others {
    fn of(bench: &Bench) -> Self {
        Self(Api::namespaced(bench.client.clone(), &bench.namespace))
    }

    async fn make(&self, name: &str, metadata: Value, spec: Value) -> Result<()> {
        let mut object = json!({"metadata": {"name": name}, "spec": spec});
        object["metadata"]
            .as_object_mut()
            .context("an object")?
            .extend(metadata.as_object().cloned().unwrap_or_default());
        self.0.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        Ok(())
    }

    /// Writes the spec as client-go does: the whole of it, at the version that was read.
    async fn put(&self, name: &str, holder: &str) -> Result<()> {
        let mut lease = self.0.get(name).await?;
        let mut spec = held(holder, 1);
        if lease.spec.get("holderIdentity") == Some(&json!(holder)) {
            spec["acquireTime"] = lease.spec.get("acquireTime").cloned().unwrap_or_default();
        }
        lease.spec = serde_json::from_value(spec)?;
        self.0.replace(name, &PostParams::default(), &lease).await?;
        Ok(())
    }
}

/// The date as a Lease has it.
fn now() -> String {
    BootClock.wall().to_string().replace('Z', "000Z")
}

/// A hold of somebody else, written now.
fn held(holder: &str, seconds: i64) -> Value {
    let now = now();
    json!({"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 3,
           "acquireTime": now, "renewTime": now})
}

impl Bench {
    async fn engine(&self, owner: &str) -> Result<Client> {
        let builder = Client::builder().leases().namespace(&self.namespace).owner(owner).timing(Timing::with_ttl(TTL)?);
        Ok(builder.config(self.server.config(ADMIN).await?).build()?)
    }
}

#[tokio::test]
async fn a_lease_with_nothing_in_it_is_taken_and_given_back() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, client) = (Others::of(&bench), bench.engine("a").await?);
    for (lease, spec) in [
        ("no-spec", json!({})),
        ("empty", json!({"holderIdentity": ""})),
        ("dated", json!({"leaseDurationSeconds": 7})),
    ] {
        others.make(lease, json!({}), spec).await?;
        let term = timeout(LIMIT, client.election(lease)?.campaign()).await??;
        term.check()?;
        term.resign().await?;
        assert!(read(&bench.store, &name(lease)).await.record.is_free());
    }
    client.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn what_others_have_put_there_stays() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, client) = (Others::of(&bench), bench.engine("a").await?);
    let metadata = json!({"annotations": {"team": "x"}, "labels": {"app": "y"}});
    others.make("shared", metadata, json!({})).await?;
    client.election("shared")?.campaign().await?.resign().await?;
    let metadata = others.0.get("shared").await?.metadata;
    assert_eq!(metadata.annotations.context("annotations")?["team"], "x");
    assert_eq!(metadata.labels.context("labels")?["app"], "y");
    assert!(metadata.managed_fields.context("managers")?.len() <= 2, "one entry for msync, however often it writes");
    client.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_foreign_holder_is_waited_for_as_long_as_it_renews_and_its_seconds_after() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, client) = (Others::of(&bench), bench.engine("a").await?);
    others.make("led", json!({}), held("host_1", 1)).await?;
    let election = client.election("led")?;
    let campaign = tokio::spawn(async move { election.campaign().await });
    for _ in 0..4 {
        sleep(Duration::from_millis(500)).await;
        // Its annotations are another's now: a PUT that met one of ours is repeated.
        while others.put("led", "host_1").await.is_err() {}
    }
    let last = BootClock.now();
    assert!(!campaign.is_finished(), "it was alive");
    let term = timeout(LIMIT, campaign).await???;
    let waited = BootClock.now().since(last);
    assert!(waited >= TTL && waited < TTL * 4, "{waited:?}");
    term.resign().await?;
    client.shutdown().await;
    Ok(())
}

/// What kubert 0.25 asks of the API server, each at the version that it saw last: it acquires by a server-side apply, renews
/// by a merge, and vacates by nulls. It decides by its own clock, and that decision is none of ours.
struct AsKubert {
    leases: Api<Lease>,
    version: Option<String>,
}

impl AsKubert {
    const SECONDS: u64 = 5;

    async fn look(&mut self) -> Result<()> {
        self.version = self.leases.get("shared").await?.metadata.resource_version;
        Ok(())
    }

    async fn acquire(&mut self) -> Result<(), kube::Error> {
        let now = now();
        let spec = json!({"acquireTime": now, "renewTime": now, "holderIdentity": "kubert", "leaseTransitions": 7,
                          "leaseDurationSeconds": Self::SECONDS});
        self.send(&PatchParams::apply("kubert").force(), Patch::Apply(self.body(&spec))).await
    }

    async fn renew(&mut self) -> Result<(), kube::Error> {
        let spec = json!({"renewTime": now(), "leaseDurationSeconds": Self::SECONDS});
        self.send(&PatchParams::default(), Patch::Strategic(self.body(&spec))).await
    }

    async fn vacate(&mut self) -> Result<(), kube::Error> {
        let spec =
            json!({"acquireTime": null, "renewTime": null, "holderIdentity": null, "leaseDurationSeconds": null});
        self.send(&PatchParams::default(), Patch::Strategic(self.body(&spec))).await
    }

    fn body(&self, spec: &Value) -> Value {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
               "metadata": {"resourceVersion": self.version}, "spec": spec})
    }

    async fn send(&mut self, how: &PatchParams, patch: Patch<Value>) -> Result<(), kube::Error> {
        self.version = self.leases.patch("shared", how, &patch).await?.metadata.resource_version;
        Ok(())
    }
}

/// Says whether somebody had written meanwhile.
fn conflicts(answer: &Result<(), kube::Error>) -> bool {
    matches!(answer, Err(kube::Error::Api(status)) if status.code == 409)
}

#[tokio::test]
async fn who_elects_as_kubert_does_is_waited_for_and_lets_us_in_when_it_vacates() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, client) = (Others::of(&bench), bench.engine("a").await?);
    others.make("shared", json!({}), json!({})).await?;
    let mut kubert = AsKubert { leases: others.0.clone(), version: None };
    kubert.look().await?;
    kubert.acquire().await?;
    let election = client.election("shared")?;
    let campaign = tokio::spawn(async move { election.campaign().await });
    let joined = async || read(&bench.store, &name("shared")).await.record.waiters.len() == 1;
    eventually("msync waits", LIMIT, joined).await?;
    assert!(conflicts(&kubert.renew().await), "whoever joins costs its leader a write");
    assert!(conflicts(&kubert.vacate().await), "or its release, until it has looked");
    for _ in 0..3 {
        kubert.look().await?;
        kubert.renew().await?;
        sleep(TTL / 2).await;
    }
    assert!(!campaign.is_finished(), "it was alive");
    kubert.vacate().await?;
    let term = timeout(Duration::from_secs(AsKubert::SECONDS) / 2, campaign).await???;
    assert!(conflicts(&kubert.acquire().await), "what it has seen is old");
    term.check()?;
    term.resign().await?;
    kubert.look().await?;
    kubert.acquire().await?;
    let record = read(&bench.store, &name("shared")).await.record;
    assert_eq!((record.engine.owner(), record.ttl), ("kubert", Duration::from_secs(AsKubert::SECONDS)));
    client.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn another_ones_write_is_a_loss_at_once_and_its_release_lets_us_in_again() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, client) = (Others::of(&bench), bench.engine("a").await?);
    for holder in ["host_1", ""] {
        let term = timeout(LIMIT, client.election("wiped")?.campaign()).await??;
        while others.put("wiped", holder).await.is_err() {}
        let begun = BootClock.now();
        let why = timeout(LIMIT, term.lost()).await?;
        assert_eq!(why, LossReason::TakenOver);
        assert!(BootClock.now().since(begun) < TTL / 2, "by the event, not by the deadline");
        drop(term);
        if !holder.is_empty() {
            assert_eq!(read(&bench.store, &name("wiped")).await.record.engine.owner(), holder, "it was left alone");
        }
        // Whoever wrote it is dead, or has released.
    }
    timeout(LIMIT, client.election("wiped")?.campaign()).await??.resign().await?;
    client.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn coordinated_election_is_refused_with_the_reason() -> Result<()> {
    // Off by default, as long as it is beta: then the server drops the field.
    let flags = ["--feature-gates=CoordinatedLeaderElection=true", "--runtime-config=coordination.k8s.io/v1beta1=true"];
    let options = Options { flags: flags.map(str::to_owned).to_vec(), ..Options::default() };
    let Some(server) = TestServer::start(options).await? else { return Ok(()) };
    let kube = server.client(ADMIN).await?;
    let (others, store) = (Others(Api::namespaced(kube.clone(), "default")), lease_store(&kube, "default"));
    let client = Client::builder().leases().namespace("default").config(server.config(ADMIN).await?).build()?;
    let mut spec = held("host_1", 1);
    spec["strategy"] = json!("OldestEmulationVersion");
    others.make("coordinated", json!({}), spec).await?;
    others.make("other", json!({"annotations": {"msync.dev/x": "y"}}), held("host_2", 1)).await?;
    let error = timeout(LIMIT, client.election("coordinated")?.campaign()).await?.expect_err("it is not ours");
    assert!(matches!(error, Error::Store { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("coordinated") && text.contains("strategy"), "{text}");
    let listed = store.list().await.map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
    assert_eq!(
        listed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["other"],
        "the rest is not disturbed"
    );
    client.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn absurd_leases_are_read_and_none_is_taken_early() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let others = Others::of(&bench);
    let absurd = [
        (
            "far",
            json!({"holderIdentity": "h", "leaseDurationSeconds": 1, "renewTime": "9999-12-31T23:59:59.999999Z"}),
            1,
        ),
        ("undated", json!({"holderIdentity": "h"}), 300),
        ("long", json!({"holderIdentity": "h", "leaseDurationSeconds": i32::MAX}), 300),
    ];
    for (lease, spec, patience) in absurd {
        others.make(lease, json!({}), spec).await?;
        let record = read(&bench.store, &name(lease)).await.record;
        assert!(!record.is_free());
        assert_eq!((record.patience(), record.engine.owner()), (Duration::from_secs(patience), "h"));
        done(&bench.store, &name(lease), enqueue("b", 2)).await;
        done(&bench.store, &name(lease), take("c", 3, record.pair(), vec![])).await;
    }
    for (field, value) in
        [("leaseDurationSeconds", json!(0)), ("leaseDurationSeconds", json!(-1)), ("renewTime", json!("yesterday"))]
    {
        let mut spec = held("h", 1);
        spec[field] = value;
        assert!(others.make("never", json!({}), spec).await.is_err(), "Kubernetes itself refuses {field}");
    }
    Ok(())
}

#[tokio::test]
async fn a_claim_meets_a_foreign_renewal_that_nobody_saw() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, lock) = (Others::of(&bench), name("raced"));
    others.make("raced", json!({}), held("host_1", 1)).await?;
    let seen: Pair = read(&bench.store, &lock).await.record.pair();
    others.put("raced", "host_1").await?;
    assert_eq!(refused(&bench.store, &lock, take("a", 1, seen, vec![])).await, Refused::Mismatch);
    let now = read(&bench.store, &lock).await.record;
    assert_eq!((now.engine.owner(), now.pair().term), ("host_1", seen.term));
    assert_ne!(now.pair(), seen);
    done(&bench.store, &lock, take("a", 1, now.pair(), vec![])).await;
    others.put("raced", "host_2").await?;
    assert_eq!(refused(&bench.store, &lock, renew(1, 10, 11)).await, Refused::Mismatch, "the annotations still say so");
    assert_eq!(refused(&bench.store, &lock, free(1)).await, Refused::Mismatch);
    Ok(())
}

/// Each with a store of its own, which has seen nothing of the queue.
#[tokio::test]
async fn whose_clock_is_behind_joins_behind_those_who_came_before_with_one_write_more() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (lock, hour, tamper) = (name("late"), Duration::from_secs(3600), Tamper::new());
    done(&bench.store, &lock, create("a", 1)).await;
    let joins = |owner: &str, term, wall| Change::Enqueue { claim: claim(owner, term), wall };
    for (owner, term, wall, cost) in
        [("b", 9, WALL + hour, 1), ("c", 8, WALL, 2), ("d", 7, WALL, 2), ("e", 6, WALL + hour + TTL, 1)]
    {
        let store = lease_store(&tamper.client(bench.server.config(ADMIN).await?)?, &bench.namespace);
        let sent = tamper.calls().len();
        let joined = done(&store, &lock, joins(owner, term, wall)).await.record;
        assert_eq!(joined.rank_of(Term(term)), Some(joined.waiters.len() - 1), "{owner} is the last: {joined:?}");
        assert_eq!(writes(&tamper.calls()[sent..]), vec![Kind::Enqueue; cost], "{owner}");
    }
    let seen = read(&bench.store, &lock).await.record;
    let next = done(&bench.store, &lock, joins("f", 5, WALL)).await.record;
    assert_eq!(next.waiters[..4], seen.waiters, "who has looked needs one");
    assert_eq!(next.rank_of(Term(5)), Some(4));
    Ok(())
}

#[tokio::test]
async fn annotations_without_room_are_an_error_that_says_so() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, client) = (Others::of(&bench), bench.engine("a").await?);
    let metadata = json!({"annotations": {"x": "x".repeat(256 * 1024 - 100)}});
    others.make("stuffed", metadata, json!({})).await?;
    let error = timeout(LIMIT, client.lock("stuffed")?.acquire()).await?.expect_err("nothing fits");
    assert!(error.to_string().contains("annotations"), "{error}");
    assert!(read(&bench.store, &name("stuffed")).await.record.is_free());
    client.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn another_field_manager_does_not_keep_us_out() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let leases: Api<DynamicObject> =
        Api::namespaced_with(bench.client.clone(), &bench.namespace, &ApiResource::erase::<Lease>(&()));
    let applied = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "applied"},
                         "spec": {"holderIdentity": "", "leaseDurationSeconds": 9}});
    leases.patch("applied", &PatchParams::apply("argo"), &Patch::Apply(applied)).await?;
    let client = bench.engine("a").await?;
    client.election("applied")?.campaign().await?.resign().await?;
    client.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn an_inbox_is_not_misled_by_a_label_that_was_left() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, lock) = (Others::of(&bench), name("left"));
    done(&bench.store, &lock, create("a", 1)).await;
    let (mut inbox, listed) = open(&bench.store, Scope::Engine(engine("a"))).await;
    assert_eq!(listed.len(), 1);
    others.put("left", "host_1").await?;
    assert!(matches!(next(&mut inbox).await, Sighting::Gone(gone, _) if gone == lock));
    others.put("left", "host_1").await?;
    others.put("left", "").await?;
    let (_, listed) = open(&bench.store, Scope::Engine(engine("a"))).await;
    assert_eq!(listed, [], "the label still says so");
    let left = read(&bench.store, &lock).await.record.pair();
    let taken = done(&bench.store, &lock, take("a", 2, left, vec![])).await;
    assert_eq!(next(&mut inbox).await, Sighting::Changed(lock, taken), "and nothing between");
    Ok(())
}

#[tokio::test]
async fn leases_of_others_are_no_locks_to_list_or_sweep() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, client) = (Others::of(&bench), bench.engine("a").await?);
    others
        .make(
            "kube-scheduler",
            json!({}),
            json!({"holderIdentity": "host_1", "leaseDurationSeconds": 1,
        "renewTime": "2020-01-01T00:00:00.000000Z"}),
        )
        .await?;
    done(&bench.store, &name("taken"), create("b", 1)).await;
    others.put("taken", "host_1").await?;
    let swept = client.sweep().older_than(Duration::ZERO).patience(TTL * 3).run().await?;
    assert_eq!((swept.removed.len(), swept.seen), (0, 1));
    assert_eq!(others.0.list(&kube::api::ListParams::default()).await?.items.len(), 2);
    client.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_finalizer_is_told_as_on_the_resource() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, lock) = (Others::of(&bench), name("kept"));
    let held = done(&bench.store, &lock, create("a", 1)).await;
    let finalizer = json!({"metadata": {"finalizers": ["example.com/backup"]}});
    others.0.patch("kept", &PatchParams::default(), &Patch::Merge(finalizer)).await?;
    let held =
        msync::unstable::store::Version { number: read(&bench.store, &lock).await.version.number, ..held.version };
    bench.store.delete(&lock, &held).await.map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
    assert_eq!(
        bench.store.read(&lock).await.map_err(|fault| anyhow::anyhow!("{fault:?}"))?,
        None,
        "free, as good as gone"
    );
    let fault = bench.store.apply(&lock, &create("b", 2)).await.expect_err("it is in the way");
    let Fault::Fatal(Fatal::Other(why)) = fault else { panic!("{fault:?}") };
    assert!(why.to_string().contains("example.com/backup"), "{why}");
    Ok(())
}

#[tokio::test]
async fn observe_shows_foreign_leaders_by_their_whole_name() -> Result<()> {
    let Some(bench) = Bench::on_leases().await? else { return Ok(()) };
    let (others, client) = (Others::of(&bench), bench.engine("a").await?);
    others.make("seen", json!({}), held("host-1.example_9f2c", 1)).await?;
    let mut leaders = std::pin::pin!(client.election("seen")?.observe());
    let leader = timeout(LIMIT, leaders.next()).await?.flatten().context("somebody leads")?;
    assert_eq!(leader.owner(), "host-1.example_9f2c");
    others.put("seen", "").await?;
    assert!(timeout(LIMIT, leaders.next()).await?.context("it is told")?.is_none());
    client.shutdown().await;
    Ok(())
}
