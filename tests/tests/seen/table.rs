//! `kubectl get locks`, as a person sees it: the API's own table, printed as kubectl prints it.

use std::time::Duration;

use anyhow::{Context, Result};
use msync::Timing;
use serde_json::Value;
use tests::cluster::{Cluster, ttl};

/// What `kubectl get locks`, or `-o wide`, prints: heads, then a line of cells for each lock.
pub(crate) async fn table(client: &kube::Client, namespace: &str, wide: bool) -> Result<Vec<Vec<String>>> {
    let request = http::Request::get(format!("/apis/metaparticle.io/v1/namespaces/{namespace}/locks"))
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())?;
    let table: Value = client.request(request).await?;
    let columns = table["columnDefinitions"].as_array().context("columns")?;
    let shown: Vec<_> = (0..columns.len()).filter(|at| wide || columns[*at]["priority"] == 0).collect();
    let heads = shown.iter().map(|at| columns[*at]["name"].as_str().unwrap_or_default().to_uppercase()).collect();
    let cell = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    let rows = table["rows"].as_array().context("rows")?;
    let rows = rows.iter().map(|row| shown.iter().map(|at| cell(&row["cells"][*at])).collect());
    Ok(std::iter::once(heads).chain(rows).collect())
}

/// Finds the cell of a lock under a head.
pub(crate) fn cell<'a>(table: &'a [Vec<String>], lock: &str, head: &str) -> &'a str {
    let column = table[0].iter().position(|found| found == head).unwrap_or_else(|| panic!("no {head}: {table:?}"));
    let row = table.iter().find(|row| row[0] == lock).unwrap_or_else(|| panic!("no {lock}: {table:?}"));
    &row[column]
}

#[tokio::test]
async fn people_see_who_has_what_and_who_is_next() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let (a, b) = (cluster.client("web-1", ttl(3_000)).await?, cluster.client("web-2", Timing::default()).await?);
    let (guard, term) = (a.lock("invoices")?.acquire().await?, b.election("scheduler")?.campaign().await?);
    let lock = b.lock("invoices")?;
    let waiting = tokio::spawn(async move { lock.acquire().await });
    cluster.until_waiting("invoices", 1).await?;
    // Who is next is told by the holder's next renewal: nobody writes for it alone.
    cluster
        .until("it shows who is next", "invoices", |found| {
            found.is_some_and(|seen| seen.next_owner.as_deref() == Some("web-2"))
        })
        .await?;
    let kube = cluster.server().client(tests::testbed::ADMIN).await?;
    let seen = table(&kube, cluster.namespace(), false).await?;
    assert_eq!(seen[0], ["NAME", "OWNER", "SINCE", "TTL", "EXPIRY", "KIND", "NEXT"]);
    let row = |lock| ["OWNER", "TTL", "KIND", "NEXT"].map(|head| cell(&seen, lock, head));
    assert_eq!(row("invoices"), ["web-1", "3s", "lock", "web-2"]);
    assert_eq!(row("scheduler"), ["web-2", "15s", "election", ""]);
    let since = cell(&seen, "invoices", "SINCE");
    assert!(since.ends_with('s') && since.len() <= 4, "an age: {since}");
    let wide = table(&kube, cluster.namespace(), true).await?;
    assert_eq!(&wide[0][7..], ["WAITERS", "UNDER", "AGE"]);
    let waiters = cell(&wide, "invoices", "WAITERS");
    let date = msync::clock::BootClock;
    let today = msync::clock::Clock::wall(&date).to_string();
    assert!(waiters.contains("web-2") && waiters.contains(&format!(" instant {}", &today[..10])), "{waiters}");
    guard.release().await?;
    waiting.await??.release().await?;
    term.resign().await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let left = table(&kube, cluster.namespace(), false).await?;
    let row = ["OWNER", "KIND", "NEXT"].map(|head| cell(&left, "scheduler", head));
    assert_eq!(row, ["", "election", ""], "an election's record stays, and shows since when nobody leads: {left:?}");
    assert!(cell(&left, "scheduler", "SINCE").ends_with('s'), "{left:?}");
    Ok(())
}

/// `kubectl get msync` shows them as well.
#[tokio::test]
async fn locks_are_of_a_category() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let kube = cluster.server().client(tests::testbed::ADMIN).await?;
    let known = kube.list_api_group_resources("metaparticle.io/v1").await?;
    let locks = known.resources.iter().find(|resource| resource.name == "locks").context("it is served")?;
    assert_eq!(locks.categories.as_deref(), Some(&["msync".to_owned()][..]));
    Ok(())
}
