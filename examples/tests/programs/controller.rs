//! A controller whose leader reconciles, and how long nobody does when the leader goes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tests::{cluster::Cluster, process::Spawn, testbed::ADMIN};
use tokio::time::sleep;

use crate::{LIMIT, ends_well, kubeconfig, pod};

/// Config maps that somebody changes all the time.
struct Load {
    maps: Api<ConfigMap>,
}

impl Load {
    const MAPS: usize = 5;

    async fn new(cluster: &Cluster) -> Result<Self> {
        let maps = Api::namespaced(cluster.server().client(ADMIN).await?, cluster.namespace());
        for number in 0..Self::MAPS {
            let map = serde_json::from_value(json!({"metadata": {"name": format!("map-{number}")}}))?;
            maps.create(&PostParams::default(), &map).await?;
        }
        Ok(Self { maps })
    }

    /// Changes one and waits until the controller has seen it.
    async fn change(&self, turn: usize) -> Result<Duration> {
        let (name, start) = (format!("map-{}", turn % Self::MAPS), Instant::now());
        let wanted = json!({"data": {"wanted": turn.to_string()}});
        self.maps.patch(&name, &PatchParams::default(), &Patch::Merge(wanted)).await?;
        while start.elapsed() < LIMIT {
            let map = self.maps.get(&name).await?;
            if map.data.unwrap_or_default().get("seen") == Some(&turn.to_string()) {
                return Ok(start.elapsed());
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("{name} was not reconciled within {LIMIT:?}")
    }
}

fn controller(cluster: &Cluster, name: &str) -> Result<Spawn> {
    Ok(pod(cluster, env!("CARGO_BIN_EXE_controller"), name)?.env("KUBECONFIG", kubeconfig(cluster)?))
}

#[tokio::test]
async fn a_lone_controller_with_its_election_in_memory_reconciles() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let load = Load::new(&cluster).await?;
    let alone = controller(&cluster, "alone")?.env("MSYNC_STORE", "memory").spawn()?;
    for turn in 0..Load::MAPS {
        load.change(turn).await?;
    }
    alone.terminate()?;
    ends_well(alone).await
}

#[tokio::test]
async fn controllers_hand_over_in_a_rolling_restart_under_load() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let load = Load::new(&cluster).await?;
    let mut pods = Vec::new();
    for number in 0..3 {
        pods.push(controller(&cluster, &format!("controller-{number}"))?.spawn()?);
        cluster.until_waiting("controller", number).await?;
    }
    let (mut longest, mut turn) = (Duration::ZERO, 0);
    for _ in 0..20 {
        load.change(turn).await?;
        turn += 1;
    }
    // One after the other goes, the leader first, and a new one comes.
    for number in 3..6 {
        let old = pods.remove(0);
        old.terminate()?;
        let changes = async {
            for _ in 0..30 {
                longest = longest.max(load.change(turn).await?);
                turn += 1;
            }
            anyhow::Ok(())
        };
        let (changed, ended) = tokio::join!(changes, ends_well(old));
        changed?;
        ended?;
        pods.push(controller(&cluster, &format!("controller-{number}"))?.spawn()?);
        cluster.until_waiting("controller", 2).await?;
    }
    println!("the longest that a change went unseen in a rolling restart: {longest:?}");
    ensure!(
        longest < Duration::from_secs(10),
        "{longest:?}: less than a ttl, so it was handed over and not taken over"
    );
    for pod in pods {
        pod.terminate()?;
        ends_well(pod).await?;
    }
    Ok(())
}
