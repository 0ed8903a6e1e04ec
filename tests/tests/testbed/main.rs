//! The test bed's own tests: everything in it that can fail, so that other tests may rely on it.
// Servers, sockets and processes run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

mod build;
mod process;
mod proxy;
mod server;
mod tamper;

use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, api::PostParams};

/// Long enough for a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(60);

/// Long enough to believe that nothing comes any more; only ever waited for in vain.
const SILENCE: Duration = Duration::from_millis(500);

fn named(name: &str) -> ConfigMap {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(name.to_owned());
    object
}

async fn make(api: &Api<ConfigMap>, name: &str) -> kube::Result<ConfigMap> {
    api.create(&PostParams::default(), &named(name)).await
}

fn config_maps(client: Client, namespace: &str) -> Api<ConfigMap> {
    Api::namespaced(client, namespace)
}

/// The HTTP status of a refusal.
fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}
