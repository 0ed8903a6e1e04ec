//! The API server's own count of requests.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use kube::Client;
use tokio::time::sleep;

/// Requests that a server has answered, by verb as its metrics call them: POST, PUT, PATCH, APPLY, DELETE,
/// DELETECOLLECTION, GET, LIST, WATCH. A watch counts when it ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts(BTreeMap<String, u64>);

// === impl RequestCounts ===

impl RequestCounts {
    /// Requests of one verb.
    pub fn of(&self, verb: &str) -> u64 {
        self.0.get(verb).copied().unwrap_or(0)
    }

    /// All requests that change something, also refused ones.
    pub fn writes(&self) -> u64 {
        self.0.iter().filter(|(verb, _)| !is_read(verb)).map(|(_, n)| n).sum()
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// What came after an earlier count of the same server process.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let new = self.0.iter().map(|(verb, n)| (verb.clone(), n.saturating_sub(earlier.of(verb))));
        Self(new.filter(|(_, n)| *n > 0).collect())
    }

    /// Adds up the metric's lines of one resource.
    fn parse(metrics: &str, group: &str, resource: &str) -> Result<Self> {
        let (group, resource) = (format!("group=\"{group}\""), format!("resource=\"{resource}\""));
        let mut counts = BTreeMap::new();
        for line in metrics.lines() {
            let Some(rest) = line.strip_prefix("apiserver_request_total{") else { continue };
            let (labels, value) = rest.rsplit_once("} ").context("a metric has labels and a value")?;
            // No label of this metric contains a comma.
            let has = |label: &str| labels.split(',').any(|l| l == label);
            if has(&group) && has(&resource) {
                *counts.entry(verb(labels)?).or_default() += value.parse::<u64>().context("a count is a number")?;
            }
        }
        Ok(Self(counts))
    }
}

fn verb(labels: &str) -> Result<String> {
    let verb = labels.split(',').find_map(|label| label.strip_prefix("verb=\"")?.strip_suffix('"'));
    verb.map(ToOwned::to_owned).context("the metric has a verb")
}

fn is_read(verb: &str) -> bool {
    matches!(verb, "GET" | "LIST" | "WATCH")
}

/// Reads the counts until two readings agree: a request is counted shortly *after* it was answered.
pub(super) async fn settled(client: &Client, group: &str, resource: &str) -> Result<RequestCounts> {
    let mut last = read(client, group, resource).await?;
    for _ in 0..50 {
        sleep(Duration::from_millis(100)).await;
        let now = read(client, group, resource).await?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    bail!("requests for {resource} keep coming: {last:?}")
}

async fn read(client: &Client, group: &str, resource: &str) -> Result<RequestCounts> {
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let metrics = client.request_text(request).await.context("read the server's metrics")?;
    RequestCounts::parse(&metrics, group, resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"
# TYPE apiserver_request_total counter
apiserver_request_total{code="201",component="apiserver",dry_run="",group="metaparticle.io",resource="locks",scope="resource",subresource="",verb="POST",version="v1"} 5
apiserver_request_total{code="409",component="apiserver",dry_run="",group="metaparticle.io",resource="locks",scope="resource",subresource="",verb="POST",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="metaparticle.io",resource="locks",scope="resource",subresource="",verb="GET",version="v1"} 4
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="PATCH",version="v1"} 9
"#;

    #[test]
    fn counts_add_up_over_the_codes_of_one_resource() {
        let counts = RequestCounts::parse(METRICS, "metaparticle.io", "locks").unwrap();
        assert_eq!((counts.of("POST"), counts.writes(), counts.total()), (7, 7, 11));
    }

    #[test]
    fn difference_leaves_out_what_did_not_change() {
        let earlier = RequestCounts([("POST".to_owned(), 6), ("GET".to_owned(), 4)].into());
        let counts = RequestCounts::parse(METRICS, "metaparticle.io", "locks").unwrap();
        assert_eq!(counts.since(&earlier), RequestCounts([("POST".to_owned(), 1)].into()));
    }
}
