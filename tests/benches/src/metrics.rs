//! What the API server and the kernel count: requests by verb and code, open watches, CPU and memory of a process.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, bail};
use kube::Client;
use tokio::time::sleep;

/// The server's counts for the `Lock` resource, over all namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    /// By verb and status code. A watch counts when it ends.
    answered: BTreeMap<(String, String), u64>,
    /// Watches that are open now.
    pub(crate) watches: u64,
    /// Updates that the API server asked of etcd. Several for one change that met others at the same object.
    pub(crate) updates: u64,
}

/// A group, and the name of a resource in it.
const LOCKS: (&str, &str) = ("metaparticle.io", "locks");
const LEASES: (&str, &str) = ("coordination.k8s.io", "leases");

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Seconds of CPU, in user and kernel mode.
    pub(crate) cpu: f64,
    /// Bytes of resident memory.
    pub(crate) memory: f64,
}

// === impl Requests ===

impl Requests {
    /// Reads the counts until two readings agree: a request is counted shortly after it was answered.
    pub(crate) async fn settled(client: &Client) -> Result<Self> {
        let mut last = Self::now(client).await?;
        for _ in 0..50 {
            sleep(Duration::from_millis(100)).await;
            let now = Self::now(client).await?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
        bail!("requests keep coming: {last:?}")
    }

    /// Reads the counts as they are.
    pub(crate) async fn now(client: &Client) -> Result<Self> {
        Self::now_of(client, LOCKS).await
    }

    /// Reads the counts for Leases that are none of the server's own: it renews one itself, by other verbs.
    pub(crate) async fn of_leases(client: &Client) -> Result<Self> {
        let mut requests = Self::now_of(client, LEASES).await?;
        requests.answered.retain(|(verb, _), _| matches!(verb.as_str(), "POST" | "PATCH" | "DELETE"));
        Ok(requests)
    }

    async fn now_of(client: &Client, resource: (&str, &str)) -> Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let metrics = client.request_text(request).await.context("read the server's metrics")?;
        Ok(Self::parse(&metrics, resource))
    }

    /// What came since an earlier reading; watches are those open now.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let new = |(key, n): (&(String, String), &u64)| {
            let more = n - earlier.answered.get(key).copied().unwrap_or(0);
            (more > 0).then(|| (key.clone(), more))
        };
        let updates = self.updates.saturating_sub(earlier.updates);
        Self { answered: self.answered.iter().filter_map(new).collect(), watches: self.watches, updates }
    }

    /// Requests that ask for a change, refused ones included.
    pub(crate) fn writes(&self) -> u64 {
        self.sum(|verb, _| is_write(verb))
    }

    /// Requests that asked for a change and were refused: a condition did not hold.
    pub(crate) fn refused(&self) -> u64 {
        self.sum(|verb, code| is_write(verb) && matches!(code, "409" | "422"))
    }

    /// Patches that were applied.
    pub(crate) fn patched(&self) -> u64 {
        self.sum(|verb, code| verb == "PATCH" && code == "200")
    }

    pub(crate) fn of(&self, wanted: &str) -> u64 {
        self.sum(|verb, _| verb == wanted)
    }

    /// All requests but lists and watches, which belong to an engine and not to a lock.
    pub(crate) fn calls(&self) -> u64 {
        self.sum(|verb, _| is_write(verb) || verb == "GET")
    }

    pub(crate) fn total(&self) -> u64 {
        self.sum(|_, _| true)
    }

    fn sum(&self, wanted: impl Fn(&str, &str) -> bool) -> u64 {
        self.answered.iter().filter(|((verb, code), _)| wanted(verb, code)).map(|(_, n)| n).sum()
    }

    fn parse(metrics: &str, (group, plural): (&str, &str)) -> Self {
        let mut requests = Self::default();
        let resource = format!("resource=\"{plural}\"");
        for line in metrics.lines().filter(|line| line.contains(&resource)) {
            let Some((labels, value)) = line.rsplit_once("} ") else { continue };
            let label = |name: &str| {
                let (_, rest) = labels.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value.to_owned())
            };
            if label("group").as_deref() != Some(group) {
                continue;
            }
            let count = value.parse().unwrap_or(0);
            if labels.starts_with("apiserver_request_total{") {
                let key = (label("verb").unwrap_or_default(), label("code").unwrap_or_default());
                *requests.answered.entry(key).or_default() += count;
            } else if labels.starts_with("apiserver_longrunning_requests{") {
                requests.watches += count;
            } else if labels.starts_with("etcd_requests_total{") && label("operation").as_deref() == Some("update") {
                requests.updates += count;
            }
        }
        requests
    }
}

fn is_write(verb: &str) -> bool {
    !matches!(verb, "GET" | "LIST" | "WATCH")
}

// === impl Usage ===

impl Usage {
    pub(crate) fn of(pid: i32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read the process's times")?;
        // The name stands in parentheses and may contain anything; user and system time are fields 14 and 15.
        let (_, rest) = stat.rsplit_once(") ").context("a process has a name")?;
        let ticks: f64 = rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read the process's memory")?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|line| line.trim().strip_suffix(" kB")).context("a process has memory")?;
        let cpu = ticks / rustix::param::clock_ticks_per_second() as f64;
        Ok(Self { cpu, memory: kib.parse::<f64>()? * 1024.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"
apiserver_request_total{code="201",component="apiserver",dry_run="",group="metaparticle.io",resource="locks",scope="resource",subresource="",verb="POST",version="v1"} 5
apiserver_request_total{code="409",component="apiserver",dry_run="",group="metaparticle.io",resource="locks",scope="resource",subresource="",verb="POST",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="metaparticle.io",resource="locks",scope="resource",subresource="",verb="GET",version="v1"} 4
apiserver_request_total{code="200",component="apiserver",dry_run="",group="other.io",resource="locks",scope="resource",subresource="",verb="GET",version="v1"} 9
apiserver_longrunning_requests{component="apiserver",group="metaparticle.io",resource="locks",scope="namespace",subresource="",verb="WATCH",version="v1"} 3
etcd_requests_total{group="metaparticle.io",operation="update",resource="locks"} 8
etcd_requests_total{group="metaparticle.io",operation="get",resource="locks"} 6
"#;

    #[test]
    fn requests_are_told_by_verb_and_code() {
        let requests = Requests::parse(METRICS, LOCKS);
        assert_eq!((requests.writes(), requests.refused(), requests.calls(), requests.watches), (7, 2, 11, 3));
        assert_eq!((requests.of("GET"), requests.since(&requests).total()), (4, 0));
        assert_eq!((requests.updates, requests.since(&requests).updates), (8, 0));
    }

    #[test]
    fn a_process_uses_memory() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(Usage::of(own).is_ok_and(|usage| usage.memory > 1e5));
    }
}
