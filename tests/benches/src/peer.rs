//! i: etcd's own mutex, on the very etcd that the API server uses, beside ours in the same turns.
//!
//! It is asked over etcd's JSON gateway by the same HTTP client that we use: the kept client of etcd for Rust needs
//! `protoc` to build. So the figures include the gateway: they are not etcd's own speed.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::Config;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    acquire::timed,
    figures::{Figure, Sample, Table},
    server::{Room, Server},
    sizes::Sizes,
};

const TTL: Duration = Duration::from_secs(120);

/// How long a lock is kept before it is handed on: its waiter has queued up by then.
const HOLD: Duration = Duration::from_millis(30);

/// `lock` in base64, as etcd's gateway wants its keys.
const NAME: &str = "bG9jaw==";
/// `put` in base64.
const KEY: &str = "cHV0";

/// A session of etcd: a client and its lease.
#[derive(Clone)]
struct Session {
    client: kube::Client,
    lease: String,
}

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let etcd = server.etcd()?;
    let sessions = [Session::start(&etcd).await?, Session::start(&etcd).await?];
    let room = server.room().await?;
    let [mut put, mut acquire] = [const { Vec::new() }; 2];
    for _ in 0..sizes.samples {
        put.push(timed(sessions[0].put()).await?.0);
        let (took, key) = timed(sessions[0].lock()).await?;
        acquire.push(took);
        sessions[0].unlock(&key).await?;
    }
    let put = Sample::from_iter(put).median();
    let figure = |what: &str, values: Vec<f64>| Figure::new('i', what, "ms", Sample::from_iter(values));
    table.add(figure("etcd's JSON gateway: acquire its free mutex", acquire).over("put by the gateway", put));
    let (etcds, ours) = hand_offs(&sessions, &room, sizes.samples.min(200)).await?;
    table.add(figure("etcd's JSON gateway: hand-off of its mutex (not etcd's own speed)", etcds));
    table.add(figure("msync: hand-off, in turns with it", ours));
    Ok(())
}

/// Hands etcd's lock and ours from one of two clients to the other, in turns.
async fn hand_offs(sessions: &[Session; 2], room: &Room<'_>, count: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let locks = [room.client("one", TTL).await?.lock("peer")?, room.client("two", TTL).await?.lock("peer")?];
    let (mut key, mut guard) = (sessions[0].lock().await?, locks[0].acquire().await?);
    let [mut etcds, mut ours] = [const { Vec::new() }; 2];
    for round in 0..=count {
        let next = (round + 1) % 2;
        let (session, lock) = (sessions[next].clone(), locks[next].clone());
        let waiting = tokio::spawn(async move { session.lock().await });
        sleep(HOLD).await;
        let (took, locked) = timed(async {
            sessions[round % 2].unlock(&key).await?;
            waiting.await?
        })
        .await?;
        key = locked;
        let waiting = tokio::spawn(async move { lock.acquire().await });
        sleep(HOLD).await;
        let (ours_took, held) = timed(async {
            // Both at once: the successor may run before the release is acknowledged.
            let (released, held) = tokio::join!(guard.release(), waiting);
            released?;
            anyhow::Ok(held??)
        })
        .await?;
        guard = held;
        if round > 0 {
            etcds.push(took);
            ours.push(ours_took);
        }
    }
    sessions[(count + 1) % 2].unlock(&key).await?;
    guard.release().await?;
    Ok((etcds, ours))
}

// === impl Session ===

impl Session {
    async fn start(etcd: &str) -> Result<Self> {
        let client = kube::Client::try_from(Config::new(etcd.parse()?))?;
        let session = Self { client, lease: String::new() };
        let granted = session.call("lease/grant", &json!({ "TTL": TTL.as_secs() })).await?;
        Ok(Self { lease: text(&granted, "ID")?, ..session })
    }

    /// Waits for the lock; returns the key that is to be given back.
    async fn lock(&self) -> Result<String> {
        text(&self.call("lock/lock", &json!({ "name": NAME, "lease": self.lease })).await?, "key")
    }

    async fn unlock(&self, key: &str) -> Result<()> {
        self.call("lock/unlock", &json!({ "key": key })).await.map(drop)
    }

    async fn put(&self) -> Result<()> {
        self.call("kv/put", &json!({ "key": KEY, "value": KEY })).await.map(drop)
    }

    async fn call(&self, method: &str, body: &Value) -> Result<Value> {
        let request = http::Request::post(format!("/v3/{method}")).body(serde_json::to_vec(body)?)?;
        self.client.request(request).await.with_context(|| format!("etcd's {method}"))
    }
}

fn text(answer: &Value, field: &str) -> Result<String> {
    Ok(answer[field].as_str().with_context(|| format!("no {field} in {answer}"))?.to_owned())
}
