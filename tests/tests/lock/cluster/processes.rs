//! Many processes and one lock: what it is all for.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use msync::clock::{BootClock, Clock};
use tests::{
    cluster::{Cluster, LIMIT, child_builder, child_client, ttl},
    history::{History, median},
    process::{ChildProcess, follow_parent, is_child},
};

const PROCESSES: usize = 8;
const ACQUISITIONS: usize = 200;
const DIR: &str = "MSYNC_TEST_DIR";

/// One line of a worker: the token, and when it held the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    token: u64,
    from: u64,
    to: u64,
}

#[tokio::test]
async fn l3_eight_processes_lose_no_update_and_wait_in_order() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("counter"), "0")?;
    let history = cluster.history("counter").await?;
    let mut workers = start(&cluster, dir.path()).await?;
    for worker in &mut workers {
        worker.line_with("done", 3 * LIMIT).await?;
    }
    assert_eq!(fs::read_to_string(dir.path().join("counter"))?, (PROCESSES * ACQUISITIONS).to_string());
    let held = read_all(dir.path())?;
    never_two(&held)?;
    cluster.until_gone("counter").await?;
    in_order(&history, &held).await?;
    print_gaps(&held)
}

async fn start(cluster: &Cluster, dir: &Path) -> Result<Vec<ChildProcess>> {
    let mut workers = Vec::new();
    for number in 0..PROCESSES {
        let child =
            cluster.child("cluster::processes::child_counts", &format!("worker-{number}"), ttl(15_000).ttl())?;
        workers.push(child.env(DIR, dir).spawn()?);
    }
    for worker in &mut workers {
        worker.line_with("ready", LIMIT).await?;
    }
    for worker in &mut workers {
        worker.say("go")?;
    }
    Ok(workers)
}

#[tokio::test]
#[ignore = "a child of l3_eight_processes_lose_no_update_and_wait_in_order"]
async fn child_counts() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let mut lines = follow_parent();
    let lock = child_client().await?.lock("counter")?;
    let dir = PathBuf::from(std::env::var(DIR)?);
    println!("\nready");
    lines.recv().await;
    let mut log = String::new();
    for _ in 0..ACQUISITIONS {
        let guard = lock.acquire().await?;
        let from = BootClock.now().as_nanos();
        count(&dir.join("counter")).await?;
        let (token, to) = (guard.token(), BootClock.now().as_nanos());
        guard.release().await?;
        writeln!(log, "{token} {from} {to}")?;
    }
    fs::write(dir.join(format!("{}.held", std::process::id())), log)?;
    println!("\ndone");
    Ok(())
}

/// Reads, lets others run, and writes: an update is lost as soon as two do so at once.
async fn count(file: &Path) -> Result<()> {
    let before: u64 = fs::read_to_string(file)?.parse()?;
    tokio::task::yield_now().await;
    Ok(fs::write(file, (before + 1).to_string())?)
}

/// All workers' lines, by token.
fn read_all(dir: &Path) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|kind| kind == "held") {
            for line in fs::read_to_string(path)?.lines() {
                held.push(parse(line).with_context(|| format!("not a line of a worker: {line}"))?);
            }
        }
    }
    held.sort_unstable();
    Ok(held)
}

fn parse(line: &str) -> Option<Held> {
    let mut numbers = line.split(' ').map_while(|number| number.parse().ok());
    Some(Held { token: numbers.next()?, from: numbers.next()?, to: numbers.next()? })
}

/// In the order of the tokens, each hold begins after the one before has ended.
fn never_two(held: &[Held]) -> Result<()> {
    assert_eq!(held.len(), PROCESSES * ACQUISITIONS);
    for pair in held.windows(2) {
        ensure!(pair[0].token < pair[1].token, "the same token twice: {pair:?}");
        ensure!(pair[0].to <= pair[1].from, "two held the lock: {pair:?}");
    }
    Ok(())
}

/// Every grant went to the first of the queue, and every token is made of the version that a watch saw at that moment.
async fn in_order(history: &History, held: &[Held]) -> Result<()> {
    let all_seen = |sights: &[tests::history::Sight]| sights.last().is_some_and(|sight| sight.snapshot.is_none());
    history.until("the watch has shown the last deletion", LIMIT, all_seen).await?;
    let hands = history.hands()?;
    // On Leases a place is by the waiter's clock: one who joins while the lock is handed on may stand before who gets it.
    let most = if tests::cluster::on_leases() { held.len() / 100 } else { 0 };
    assert!(hands.overtaken <= most, "{hands:?}");
    assert_eq!(hands.granted_in_order + hands.found_free + hands.overtaken, held.len(), "{hands:?}");
    let versions: Vec<_> = history.sights().iter().map(|sight| sight.version).collect();
    assert!(held.iter().all(|held| versions.contains(&(held.token >> 16))), "every token is a version of the lock");
    Ok(())
}

fn print_gaps(held: &[Held]) -> Result<()> {
    let gap = |pair: &[Held]| std::time::Duration::from_nanos(pair[1].from - pair[0].to);
    let gaps: Vec<_> = held.windows(2).map(gap).collect();
    println!("{PROCESSES} processes: median {:?} from the end of one body to the start of the next", median(gaps)?);
    Ok(())
}

/// What was set on the builder holds for the cluster of the environment as well.
#[tokio::test]
async fn a_builder_takes_the_cluster_of_the_environment() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let child = cluster.child("cluster::processes::child_of_the_environment", "named", ttl(20_000).ttl())?;
    let mut child = child.spawn()?;
    child.line_with("held", LIMIT).await?;
    let record = cluster.record("x").await?;
    assert_eq!((record.engine.owner(), record.ttl), ("named", ttl(20_000).ttl()));
    Ok(())
}

#[tokio::test]
#[ignore = "a child of a_builder_takes_the_cluster_of_the_environment"]
async fn child_of_the_environment() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let mut lines = follow_parent();
    let client = child_builder()?.try_default().await?;
    let _guard = client.lock("x")?.acquire().await?;
    println!("held");
    while lines.recv().await.is_some() {}
    Ok(())
}
