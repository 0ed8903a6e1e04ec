//! Locks that people edited, as the API server takes and shows them.

use anyhow::Result;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use msync::unstable::{
    crd::Lock,
    record::{Beat, Pair, Record, Refused, Term},
    store::{Fatal, Fault, Scope, Sighting},
};
use serde_json::{Value, json};
use tests::store_contract::{
    WALL, claim, create, done, engine, enqueue, free, leave, name, next, open, read, refused, renew, take,
};

use crate::Bench;

impl Bench {
    fn raw(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::erase::<Lock>(&()))
    }

    async fn edit(&self, name: &str, spec: Value) -> kube::Result<DynamicObject> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.raw().patch(name, &PatchParams::default(), &patch).await
    }

    async fn make(&self, name: &str, spec: Option<Value>) -> kube::Result<DynamicObject> {
        let mut object = DynamicObject::new(name, &ApiResource::erase::<Lock>(&()));
        object.data = spec.map_or(json!({}), |spec| json!({ "spec": spec }));
        self.raw().create(&PostParams::default(), &object).await
    }
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn a_lock_without_fields_is_free_and_usable() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    for (lock, spec) in [("no-spec", None), ("no-fields", Some(json!({})))] {
        bench.make(lock, spec).await?;
        let lock = name(lock);
        assert_eq!(read(&bench.store, &lock).await.record, Record::default());
        done(&bench.store, &lock, enqueue("b", 2)).await;
        let removes = vec![(0, claim("b", 2).entry(WALL))];
        done(&bench.store, &lock, take("b", 2, Pair::FREE, removes)).await;
        done(&bench.store, &lock, free(2)).await;
    }
    Ok(())
}

#[tokio::test]
async fn fields_removed_by_hand_come_back_neutral() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let lock = name("removed");
    done(&bench.store, &lock, create("a", 1)).await;
    let nothing = json!({"waiters": null, "owner": null, "instant": null, "acquired": null, "expiry": null});
    bench.edit("removed", nothing).await?;
    let record = read(&bench.store, &lock).await.record;
    assert_eq!((record.pair(), record.instant, record.expiry), (Pair { term: Term(1), beat: Beat(10) }, false, None));
    assert_eq!(done(&bench.store, &lock, enqueue("b", 2)).await.record.waiters.len(), 1);
    done(&bench.store, &lock, renew(1, 10, 11)).await;
    Ok(())
}

#[tokio::test]
async fn an_empty_owner_does_not_free_a_lock() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let lock = name("ownerless");
    done(&bench.store, &lock, create("a", 1)).await;
    bench.edit("ownerless", json!({"owner": ""})).await?;
    assert!(!read(&bench.store, &lock).await.record.is_free());
    assert_eq!(refused(&bench.store, &lock, take("b", 2, Pair::FREE, vec![])).await, Refused::Mismatch);
    Ok(())
}

#[tokio::test]
async fn an_absurd_date_is_unknown_in_reads_lists_and_events() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let lock = name("dates");
    done(&bench.store, &lock, create("a", 1)).await;
    let (mut watch, _) = open(&bench.store, Scope::Lock(lock.clone())).await;
    for date in ["9999-12-31T23:59:59Z", "tomorrow", ""] {
        bench.edit("dates", json!({"expiry": date, "acquired": date})).await?;
        let snapshot = read(&bench.store, &lock).await;
        assert_eq!((snapshot.record.expiry, snapshot.record.acquired), (None, None), "{date}");
        assert_eq!(next(&mut watch).await, Sighting::Changed(lock.clone(), snapshot.clone()));
        let (_, listed) = open(&bench.store, Scope::Engine(engine("a"))).await;
        assert_eq!(listed, [(lock.clone(), snapshot)]);
    }
    Ok(())
}

#[tokio::test]
async fn the_schema_refuses_what_the_protocol_could_not_read() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    done(&bench.store, &name("schema"), create("a", 1)).await;
    let absurd = [
        json!({"ttlMilliseconds": -1}),
        json!({"renewals": -1}),
        json!({"ttlMilliseconds": "long"}),
        json!({"term": "mine"}),
        json!({"beat": "0000000000005F0C"}),
        json!({"waiters": [5]}),
        json!({"waiters": vec!["x"; 65]}),
    ];
    for spec in absurd {
        assert_eq!(code(bench.edit("schema", spec.clone()).await), 422, "{spec}");
    }
    Ok(())
}

#[tokio::test]
async fn unknown_fields_are_dropped() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let lock = name("unknown");
    let before = done(&bench.store, &lock, create("a", 1)).await;
    let edited = bench.edit("unknown", json!({"colour": "blue"})).await?;
    assert_eq!(edited.data["spec"].get("colour"), None);
    assert_eq!(read(&bench.store, &lock).await.record, before.record);
    Ok(())
}

#[tokio::test]
async fn any_text_in_the_queue_can_be_removed() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let lock = name("texts");
    done(&bench.store, &lock, create("a", 1)).await;
    bench.edit("texts", json!({"waiters": ["", "a \"b\" \\ /~1", "line\nbreak", "\u{e4}\u{1f512}"]})).await?;
    for entry in read(&bench.store, &lock).await.record.waiters {
        done(&bench.store, &lock, leave(0, entry)).await;
    }
    done(&bench.store, &lock, free(1)).await;
    Ok(())
}

#[tokio::test]
async fn a_term_of_zeros_is_an_error_that_names_the_lock() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let lock = name("zeros");
    bench.make("zeros", Some(json!({"term": "0000000000000000"}))).await?;
    let fault = bench.store.read(&lock).await.expect_err("nobody could ever change it");
    let Fault::Fatal(Fatal::Other(why)) = fault else { panic!("not fatal: {fault:?}") };
    assert!(why.to_string().contains(&format!("{}/zeros", bench.namespace)), "{why}");
    let (_, listed) = open(&bench.store, Scope::Lock(lock)).await;
    assert_eq!(listed, [], "it is left out, so that others are shown");
    Ok(())
}

#[tokio::test]
async fn a_lock_deleted_and_made_by_hand_is_seen_as_another() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let lock = name("remade");
    let before = done(&bench.store, &lock, create("a", 1)).await;
    let (mut watch, _) = open(&bench.store, Scope::Lock(lock.clone())).await;
    bench.locks.delete("remade", &DeleteParams::default()).await?;
    bench.make("remade", Some(json!({"owner": "somebody"}))).await?;
    assert!(matches!(next(&mut watch).await, Sighting::Gone(..)));
    let Sighting::Changed(_, after) = next(&mut watch).await else { panic!("expected the new object") };
    assert!(after.record.is_free() && after.version.uid != before.version.uid);
    assert_eq!(refused(&bench.store, &lock, renew(1, 10, 11)).await, Refused::Mismatch);
    Ok(())
}

#[tokio::test]
async fn an_object_that_a_finalizer_keeps_is_freed_and_nobody_gets_it() -> Result<()> {
    let Some(bench) = Bench::new().await? else { return Ok(()) };
    let lock = name("kept");
    done(&bench.store, &lock, create("a", 1)).await;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": ["example.com/kept"]}}));
    bench.raw().patch("kept", &PatchParams::default(), &patch).await?;
    let version = read(&bench.store, &lock).await.version;
    bench.store.delete(&lock, &version).await.expect("the API server agrees");
    let kept = bench.raw().get("kept").await?;
    assert!(kept.metadata.deletion_timestamp.is_some() && kept.data["spec"]["term"] == "", "freed: {}", kept.data);
    assert!(bench.store.read(&lock).await.expect("the read is answered").is_none(), "it will never be anybody's");
    let fault = bench.store.apply(&lock, &create("b", 2)).await.expect_err("it is in the way");
    assert!(format!("{fault:?}").contains("example.com/kept"), "{fault:?}");
    Ok(())
}
