//! l: locks that stand in Leases, beside the same in the `Lock` resource: both ways take turns, on one server.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use msync::{
    Client, LockName,
    clock::{BootClock, Clock},
    unstable::{
        record::{Beat, Change, Claim, EngineId, Term},
        store::{KubeStore, LeaseStore, Store},
    },
};

use crate::{
    acquire::timed,
    figures::{Figure, Sample, Table, millis},
    server::{Room, Server},
    sizes::Sizes,
};

/// No renewal falls into a measurement.
const TTL: Duration = Duration::from_secs(600);
/// Waiters beside which renewals are measured, and hand-offs.
const QUEUES: [usize; 2] = [1, 10];

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    acquire(server, &room, sizes, table).await?;
    for waiters in QUEUES {
        renew(&room, waiters, sizes, table).await?;
    }
    for waiters in QUEUES {
        hand_off(&room, waiters, sizes, table).await?;
    }
    Ok(())
}

async fn acquire(server: &Server, room: &Room<'_>, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let clients = [room.client_on(false, "on-locks", TTL).await?, room.client_on(true, "on-leases", TTL).await?];
    let mut took = [const { Vec::new() }; 2];
    let before = [server.requests().await?, server.lease_requests().await?];
    for _ in 0..sizes.samples {
        for (client, took) in clients.iter().zip(&mut took) {
            let (acquired, guard) = timed(client.lock("acquired")?.acquire()).await?;
            took.push(acquired + timed(guard.release()).await?.0);
        }
    }
    let after = [server.requests().await?, server.lease_requests().await?];
    compare(table, "acquire and release", "ms", took);
    let each = |index: usize| after[index].since(&before[index]).writes() as f64 / sizes.samples as f64;
    let figure = Figure::new('l', "acquire and release, on Leases", "writes", each(1));
    table.add(figure.over("on Locks", each(0)).budget("1.0"));
    for client in clients {
        client.shutdown().await;
    }
    Ok(())
}

/// Renewals as a store sends them, beside so many waiters.
async fn renew(room: &Room<'_>, waiters: usize, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let kube = room.server.kube().await?;
    let namespace = &room.namespace;
    let stores: [Arc<dyn Store>; 2] =
        [Arc::new(KubeStore::new(kube.clone(), namespace)), Arc::new(LeaseStore::new(kube, namespace))];
    let name = LockName::new(format!("renewed-{waiters}"))?;
    let claim = |term: u64| {
        let (engine, ttl) = (EngineId::new("renews", term), Duration::from_secs(15));
        Claim { engine, term: Term(term), ttl, instant: true }
    };
    let fault = |fault| anyhow!("{fault:?}");
    for store in &stores {
        let create = Change::Create { claim: claim(1), beat: Beat(1), under: Term::NONE, wall: BootClock.wall() };
        store.apply(&name, &create).await.map_err(fault)?;
        for term in (2..).take(waiters) {
            store.apply(&name, &Change::Enqueue { claim: claim(term), wall: BootClock.wall() }).await.map_err(fault)?;
        }
    }
    let mut took = [const { Vec::new() }; 2];
    for beat in (1..).take(sizes.samples) {
        for (store, took) in stores.iter().zip(&mut took) {
            let (previous, next, wall) = (Beat(beat), Beat(beat + 1), BootClock.wall());
            let ttl = Duration::from_secs(15);
            let renew = Change::Renew {
                term: Term(1),
                previous,
                beat: next,
                renewals: beat + 1,
                ttl,
                next_owner: None,
                under: Term::NONE,
                wall,
            };
            let start = std::time::Instant::now();
            store.apply(&name, &renew).await.map_err(fault)?;
            took.push(millis(start.elapsed()));
        }
    }
    compare(table, &format!("renewal beside {waiters} waiters"), "ms", took);
    Ok(())
}

/// From the call that gives a lock back to the next holder, after everybody was quiet for a while.
async fn hand_off(room: &Room<'_>, waiters: usize, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let mut crews = Vec::new();
    for (leases, kind) in [(false, "locks"), (true, "leases")] {
        let mut crew = Vec::new();
        for number in 0..=waiters {
            crew.push(room.client_on(leases, &format!("{kind}-{waiters}-{number}"), TTL).await?);
        }
        crews.push(crew);
    }
    let mut took = [const { Vec::new() }; 2];
    for round in 0..sizes.quiet_rounds {
        for (crew, took) in crews.iter().zip(&mut took) {
            took.push(once(crew, &format!("handed-{waiters}-{round}"), sizes.quiet).await?);
        }
    }
    compare(table, &format!("hand-off to one of {waiters} after {} s of quiet", sizes.quiet), "ms", took);
    for client in crews.iter().flatten() {
        client.shutdown().await;
    }
    Ok(())
}

async fn once(crew: &[Client], name: &str, quiet: u64) -> Result<f64> {
    let (holder, waiters) = crew.split_first().context("a crew has a holder")?;
    let guard = holder.lock(name)?.acquire().await?;
    let mut waiting = tokio::task::JoinSet::new();
    for client in waiters {
        let lock = client.lock(name)?;
        waiting.spawn(async move {
            let guard = lock.acquire().await?;
            Ok::<_, msync::Error>((std::time::Instant::now(), guard))
        });
    }
    tokio::time::sleep(Duration::from_secs(quiet)).await;
    let start = std::time::Instant::now();
    guard.release().await?;
    let (at, guard) = waiting.join_next().await.context("somebody waits")???;
    guard.release().await?;
    while let Some(next) = waiting.join_next().await {
        next??.1.release().await?;
    }
    Ok(millis(at.duration_since(start)))
}

fn compare(table: &mut Table, what: &str, unit: &'static str, took: [Vec<f64>; 2]) {
    let [locks, leases] = took.map(Sample::from_iter);
    let figure = Figure::new('l', format!("{what}, on Leases"), unit, leases);
    table.add(figure.over("on Locks", locks.median()).budget("<= 1.1"));
}
