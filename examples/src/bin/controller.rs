//! A controller in three replicas: the caches of all are warm, only the leader reconciles, and whoever comes to lead looks at
//! everything anew. It copies `data.wanted` of config maps to `data.seen`. `cargo run --bin controller`
use std::sync::Arc;

use clap::Parser;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{Controller, controller::Action, watcher};
use msync::Candidate;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    locks: msync::Args,
}

type Context = (Api<ConfigMap>, Candidate);

async fn reconcile(map: Arc<ConfigMap>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let (maps, candidate) = &*context;
    let data = map.data.clone().unwrap_or_default();
    let Some(term) = candidate.term() else { return Ok(Action::await_change()) }; // warm, and quiet
    if data.get("wanted") != data.get("seen") {
        let seen = serde_json::json!({"data": {"seen": data.get("wanted"), "token": term.token().to_string()}});
        maps.patch(&map.name_any(), &PatchParams::default(), &Patch::Merge(seen)).await?;
        println!("reconciled {}", map.name_any());
    }
    Ok(Action::await_change())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let client = Options::parse().locks.client().await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(kube::Client::try_default().await?);
    let candidate = client.election("controller")?.candidate();
    let changes = stream::unfold(candidate.clone(), async |mut told| told.changed().await.ok().map(|()| ((), told)));
    let controller = Controller::new(maps.clone(), watcher::Config::default()).reconcile_all_on(Box::pin(changes));
    let retry = |_, error: &kube::Error, _| {
        eprintln!("tried again: {error}");
        Action::requeue(std::time::Duration::from_secs(1))
    };
    let running = controller.run(reconcile, retry, Arc::new((maps, candidate))).for_each(async |_| ());
    client.run_until_signal(running).await?;
    Ok(())
}
