//! The `Lock` resource of an older msync, which has no field `next`: nothing but time is lost.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use tests::{
    cluster::{Cluster, soon, ttl},
    eventually,
    testbed::{ADMIN, Options},
};

use super::waiting;

/// Takes the field and its selector out of the definition, and waits until the server has done so.
async fn age(cluster: &Cluster) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.server().client(ADMIN).await?);
    let mut definition = definitions.get("locks.metaparticle.io").await?;
    let version = definition.spec.versions.first_mut().context("a version")?;
    version.selectable_fields.as_mut().context("selectable fields")?.retain(|field| field.json_path != ".spec.next");
    let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()).context("a schema")?;
    let spec = schema.properties.as_mut().and_then(|fields| fields.get_mut("spec")).context("a spec")?;
    spec.properties.as_mut().context("fields")?.remove("next").context("the field")?;
    definitions.replace("locks.metaparticle.io", &PostParams::default(), &definition).await?;
    let selects = ListParams::default().fields("spec.next=nobody");
    let refused = || async { cluster.locks().list(&selects).await.is_err() };
    eventually("the server refuses the selector", Duration::from_secs(60), refused).await
}

#[tokio::test]
async fn where_the_resource_is_older_the_queue_moves_on_all_the_same() -> Result<()> {
    let Some(cluster) = Cluster::start(Options::default()).await?.and_then(Cluster::of_the_resource) else {
        return Ok(());
    };
    age(&cluster).await?;
    let holder = cluster.client("holder", ttl(30_000)).await?;
    let mut guard = holder.lock("x")?.acquire().await?;
    let (mut clients, mut waiters) = (Vec::new(), Vec::new());
    for number in 0..5 {
        let client = cluster.client(&format!("waiter-{number}"), ttl(30_000)).await?;
        waiters.push(waiting(&cluster, &client, "x").await?);
        clients.push(client);
    }
    for waiter in waiters {
        guard.release().await?;
        guard = soon("its turn", waiter).await???;
        guard.check()?;
    }
    let record = cluster.record("x").await?;
    assert!(record.next.as_str().is_empty(), "what the schema does not know is not kept");
    guard.release().await?;
    Ok(())
}
