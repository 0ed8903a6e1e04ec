//! f: many engines that wait for the same many locks.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::ListParams;
use msync::{LockGuard, unstable::record::MAX_WAITERS};
use tests::{eventually, process::ChildProcess};
use tokio::time::sleep;

use crate::{
    child::{LIMIT, Role, start},
    figures::{Figure, Table},
    metrics::Usage,
    server::{Room, Server},
    sizes::Sizes,
};

const TTL: Duration = Duration::from_secs(60);

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    in_turns(server, sizes, table).await?;
    for &crowd in &sizes.stampede {
        stampede(server, crowd, table).await?;
    }
    Ok(())
}

/// One engine after the other queues up for all locks: what they cost while they wait.
async fn in_turns(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let crowd = sizes.crowd;
    let room = server.room().await?;
    let guards = hold(&room, crowd).await?;
    let (before, server_before) = (server.requests().await?, server.usage().await?);
    let role = Role::Crowd { engines: crowd, locks: crowd, together: false };
    let mut waiting = start(&room.place("waiter", TTL), &role).await?;
    let idle = memory(&waiting)?;
    let begun = Instant::now();
    waiting.say("wait")?;
    waiting.line_with("waiting", 4 * LIMIT).await?; // a slow server answers 100 writes a second
    let took = begun.elapsed().as_secs_f64();
    until_queued(&room, crowd).await?;
    sleep(Duration::from_secs(if sizes.quick { 1 } else { 10 })).await; // the first two of each queue open their watches
    let (joined, server_joined) = (server.requests_now().await?, server.usage().await?);
    let waiters = (crowd * crowd) as f64;
    let enqueued = joined.since(&before).writes() as f64 / waiters;
    let figure = |what: &str, unit, value: f64| {
        Figure::new('f', format!("{crowd} engines x {crowd} locks: {what}"), unit, value)
    };
    table.add(figure("everybody queued up or found the queue full", "s", took));
    table.add(figure("to queue up", "writes each", enqueued).over("refused create + enqueue", 2.0));
    let watches = crowd as f64 + 2.0 * crowd as f64 + 1.0;
    table.add(figure("open watches", "watches", joined.watches as f64).over("inboxes + 2 per lock", watches));
    table.add(figure("memory of a waiter", "KiB", (memory(&waiting)? - idle) / waiters / 1024.0));
    let grown = (server_joined.memory - server_before.memory) / waiters / 1024.0;
    table.add(figure("memory of a waiter at the API server", "KiB", grown));

    let start = Instant::now();
    sleep(Duration::from_secs(sizes.crowd_time)).await;
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    let (load, after) = (server.requests_now().await?.since(&joined), server.usage().await?);
    let per_minute = load.total() as f64 / minutes / waiters;
    let look = 60.0 / TTL.as_secs_f64();
    table.add(
        figure("a waiter's requests", "requests/min", per_minute).over("1 look per ttl", look).budget("1 per ttl"),
    );
    let cpu = (after.cpu - server_joined.cpu) / (minutes * 60.0) * 100.0;
    table.add(figure("CPU of the API server", "% of a core", cpu));
    let held = guards.iter().filter(|guard| guard.check().is_ok()).count();
    table.add(figure("locks still held", "locks", held as f64).over("all", crowd as f64).budget("all"));
    waiting.kill()?;
    drop(guards);
    Ok(())
}

/// All engines want all locks at the same moment, so that their appends meet at each object: the API server applies one and
/// tries the others again.
async fn stampede(server: &Server, crowd: usize, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    let guards = hold(&room, crowd).await?;
    let role = Role::Crowd { engines: crowd, locks: crowd, together: true };
    let mut waiting = start(&room.place("waiter", TTL), &role).await?;
    let (before, begun) = (server.requests().await?, Instant::now());
    waiting.say("wait")?;
    waiting.line_with("waiting", 4 * LIMIT).await?;
    let took = begun.elapsed().as_secs_f64();
    until_queued(&room, crowd).await?;
    let load = server.requests_now().await?.since(&before);
    let figure = |what: &str, unit, value: f64| {
        Figure::new('f', format!("{crowd} engines x {crowd} locks, all at once: {what}"), unit, value)
    };
    table.add(figure("everybody queued up", "s", took));
    let queued = (crowd * crowd) as f64;
    table
        .add(figure("to queue up", "writes each", load.writes() as f64 / queued).over("refused create + enqueue", 2.0));
    let tries = load.updates as f64 / load.patched().max(1) as f64;
    table.add(figure("the API server's tries at etcd", "per applied patch", tries).over("no other writer", 1.0));
    let held = guards.iter().filter(|guard| guard.check().is_ok()).count();
    table.add(figure("locks still held", "locks", held as f64).over("all", crowd as f64).budget("all"));
    waiting.kill()?;
    Ok(())
}

async fn hold(room: &Room<'_>, locks: usize) -> Result<Vec<LockGuard>> {
    let holder = room.client("holder", TTL).await?;
    let acquire = |number| holder.lock(format!("held-{number}")).map(|lock| async move { lock.acquire().await });
    let locks: Vec<_> = (0..locks).map(acquire).collect::<Result<_, _>>()?;
    Ok(stream::iter(locks).buffer_unordered(16).try_collect().await?)
}

fn memory(child: &ChildProcess) -> Result<f64> {
    Ok(Usage::of(child.pid())?.memory)
}

async fn until_queued(room: &Room<'_>, crowd: usize) -> Result<()> {
    let locks = room.locks().await?;
    let wanted = crowd * crowd.min(MAX_WAITERS);
    let queued = || async {
        let found = locks.list(&ListParams::default()).await;
        found.is_ok_and(|found| found.items.iter().map(|lock| lock.spec.waiters.len()).sum::<usize>() >= wanted)
    };
    eventually("the queues are as long as they get", 4 * LIMIT, queued).await.context("the crowd did not queue up")
}
