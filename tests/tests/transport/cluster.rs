//! msync on a real API server: how many connections it takes, and how it outlives one that the network has forgotten.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use msync::{
    Client,
    unstable::transport::{Http, connect_over},
};
use tests::{
    cluster::{Cluster, soon, ttl},
    eventually,
    proxy::Proxy,
    testbed::{ADMIN, Options},
};
use tokio::time::{Instant, sleep};

/// How soon a connection is missed that the network has forgotten, and another one watches: the design's 15 s, and what a
/// busy machine takes.
const NOTICED: Duration = Duration::from_secs(15 + 10);

/// A client whose connections a proxy counts and breaks.
async fn via(cluster: &Cluster, proxy: &Proxy, http: Http, owner: &str, ttl_ms: u64) -> Result<Client> {
    let mut config = cluster.server().config(ADMIN).await?;
    config.cluster_url = format!("https://{}", proxy.addr()).parse()?;
    Ok(cluster.client_of(connect_over(http, config)?, owner, ttl(ttl_ms)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_locks_and_a_hundred_waits_take_two_connections() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let proxy = cluster.server().proxy().await?;
    let (many, other) =
        (via(&cluster, &proxy, Http::Best, "many", 120_000).await?, cluster.client("other", ttl(120_000)).await?);
    let hold = |client: &Client, name: String| {
        let lock = client.lock(name);
        async move { anyhow::Ok(soon("a free lock", lock?.acquire()).await??) }
    };
    let theirs = try_join_all((0..100).map(|n| hold(&other, format!("theirs-{n}")))).await?;
    let ours = try_join_all((0..500).map(|n| hold(&many, format!("ours-{n}")))).await?;
    let waits: Vec<_> = (0..100).map(|n| tokio::spawn(hold(&many, format!("theirs-{n}")))).collect();
    for n in 0..100 {
        cluster.until_waiting(&format!("theirs-{n}"), 1).await?;
    }
    sleep(Duration::from_secs(5)).await; // names are watched after a while
    ensure!(proxy.connections() <= 2, "{} connections", proxy.connections());
    drop(theirs);
    for wait in waits {
        drop(wait.await??);
    }
    ensure!(proxy.connections() <= 2, "{} connections at the end", proxy.connections());
    drop(ours);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_few_streams_blocks_no_lock() -> Result<()> {
    let options = Options { flags: vec!["--http2-max-streams-per-connection=20".into()], ..Options::default() };
    let Some(cluster) = Cluster::start(options).await? else { return Ok(()) };
    let proxy = cluster.server().proxy().await?;
    let (many, other) =
        (via(&cluster, &proxy, Http::Best, "many", 60_000).await?, cluster.client("other", ttl(60_000)).await?);
    let mut held = Vec::new();
    let mut waits = Vec::new();
    for n in 0..60 {
        held.push(soon("a free lock", other.lock(format!("theirs-{n}"))?.acquire()).await??);
        let lock = many.lock(format!("theirs-{n}"))?;
        waits.push(tokio::spawn(async move { lock.acquire().await }));
    }
    for n in 0..60 {
        cluster.until_waiting(&format!("theirs-{n}"), 1).await?;
    }
    sleep(Duration::from_secs(5)).await; // names are watched after a while
    let begun = Instant::now();
    for n in 0..20 {
        soon("a free lock", many.lock(format!("ours-{n}"))?.acquire()).await??.release().await?;
    }
    ensure!(begun.elapsed() < Duration::from_secs(20), "20 locks took {:?}", begun.elapsed());
    drop(held);
    for wait in waits {
        drop(soon("a lock that was released", wait).await???);
    }
    Ok(())
}

/// A holder and one that waits, over connections that are then forgotten: the lock is kept over a new one, and what the
/// other waits for is seen.
async fn forgotten(http: Http) -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let proxy = cluster.server().proxy().await?;
    let (here, there) =
        (via(&cluster, &proxy, http, "here", 15_000).await?, cluster.client("there", ttl(60_000)).await?);
    let ours = soon("a free lock", here.lock("ours")?.acquire()).await??;
    let theirs = soon("a free lock", there.lock("theirs")?.acquire()).await??;
    let lock = here.lock("theirs")?;
    let waiting = tokio::spawn(async move { lock.acquire().await });
    cluster.until_waiting("theirs", 1).await?;
    sleep(Duration::from_secs(4)).await; // until it watches, as who waits for long does
    let (before, begun) = (proxy.connections(), Instant::now());
    proxy.forget();
    sleep(NOTICED).await;
    ours.check()?;
    ensure!(proxy.connections() > before, "no new connection");
    let released = Instant::now();
    theirs.release().await?;
    drop(soon("the lock that was released", waiting).await???);
    let handed = released.elapsed();
    ensure!(handed < Duration::from_secs(5), "handed over after {handed:?}: nobody watched");
    println!(
        "{http:?}: {} new connections in {:?}, hand-over in {handed:?}",
        proxy.connections() - before,
        begun.elapsed()
    );
    eventually("the lock is held on", Duration::from_secs(1), || async { ours.check().is_ok() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_network_forgot_is_noticed() -> Result<()> {
    forgotten(Http::Best).await
}

/// A watch over HTTP/1.1 shows nothing of that; the calls that keep a lock do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http1_a_lock_is_kept_on_new_connections() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let proxy = cluster.server().proxy().await?;
    let here = via(&cluster, &proxy, Http::One, "here", 15_000).await?;
    let held = try_join_all((0..8).map(|n| {
        let lock = here.lock(format!("one-{n}"));
        async move { anyhow::Ok(soon("a free lock", lock?.acquire()).await??) }
    }));
    let held = held.await?;
    proxy.forget();
    sleep(NOTICED).await;
    held.iter().try_for_each(msync::LockGuard::check)?;
    Ok(())
}
