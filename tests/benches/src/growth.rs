//! How costs grow with locks, waiters and tasks: curves, as SVG files.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use msync::Timing;

use crate::{
    contend::Contenders,
    figures::{Figure, Table},
    held::Holder,
    local::hand_overs_per_second,
    plot::{Curve, Plot},
    server::Server,
    sizes::Sizes,
};

/// Engines of one process of the curve of waiters; more processes than this machine can start would measure that.
const ENGINES: usize = 10;

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    fs::create_dir_all(&sizes.plots).with_context(|| format!("make {}", sizes.plots.display()))?;
    locks(server, sizes, table).await?;
    waiters(server, sizes, table).await?;
    tasks(server, sizes, table).await
}

/// What each of many locks costs to acquire and to have.
async fn locks(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let [mut memory, mut time, mut own, mut servers] = [const { Vec::new() }; 4];
    for &count in &sizes.grow_locks {
        let room = server.room().await?;
        let place = room.place("grower", Duration::from_secs(300));
        let holder = Holder::start(&room, &place, count).await?;
        let x = count as f64;
        time.push((x, holder.acquired_in));
        own.push((x, holder.cpu[0]));
        servers.push((x, holder.cpu[1]));
        let figure = |what: &str, unit, value| Figure::new('*', format!("{count} locks: {what}"), unit, value);
        table.add(figure("acquiring, all at once", "ms each", holder.acquired_in));
        table.add(figure("CPU to acquire, client", "ms each", holder.cpu[0]));
        table.add(figure("CPU to acquire, API server", "ms each", holder.cpu[1]));
        // Fewer are lost in what an allocator keeps.
        if count >= 100 || sizes.quick {
            memory.push((x, holder.memory / 1024.0));
            table.add(figure("memory", "KiB each", holder.memory / 1024.0));
        }
    }
    let curves = vec![
        Curve::new("acquiring, all at once (ms)", time),
        Curve::new("CPU of the API server (ms)", servers),
        Curve::new("CPU of the client (ms)", own),
        Curve::new("memory of the client (KiB)", memory),
    ];
    let plot = Plot { title: "Cost of each lock that one process holds", x: "locks", y: "ms or KiB each", curves };
    plot.draw(&sizes.plots.join("growth-locks.svg"))
}

/// The hand-off, the longer the queue; beyond 64 waiters it is full.
async fn waiters(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let [mut median, mut slowest, mut writes, mut limit, mut as_long] = [const { Vec::new() }; 5];
    let room = server.room().await?;
    for &waiters in &sizes.grow_waiters {
        let engines = if waiters + 1 < ENGINES { 1 } else { ENGINES };
        let processes = (waiters + 1).div_ceil(engines);
        let contenders = Contenders { processes, engines, ttl: Timing::default().ttl() };
        // The first turn of everybody does not count.
        let time = Duration::from_secs(sizes.contention) + Duration::from_millis(100) * u32::try_from(waiters)?;
        let found = contenders.contend(&room, &format!("grown-{waiters}"), time).await?;
        let waiting = processes * engines - 1;
        let (x, each) = (waiting as f64, found.writes as f64 / found.acquisitions.max(1) as f64);
        median.push((x, found.hand_offs.median()));
        slowest.push((x, found.hand_offs.quantile(0.99)));
        writes.push((x, each));
        let raw = found.raw.median();
        limit.push((x, raw));
        as_long.push((x, found.as_long.median()));
        let figure = Figure::new('*', format!("{waiting} waiters: hand-off"), "ms", found.hand_offs);
        table.add(figure.over("write + event meanwhile", raw));
        table.add(Figure::new(
            '*',
            format!("{waiting} waiters: an acquisition, from queue to release"),
            "writes",
            each,
        ));
    }
    let curves = vec![
        Curve::new("hand-off, p50 (ms)", median),
        Curve::new("hand-off, p99 (ms)", slowest),
        Curve::new("raw write + event meanwhile, p50 (ms)", limit),
        Curve::new("the same with such a queue, p50 (ms)", as_long),
        Curve::new("writes of an acquisition", writes),
    ];
    let plot = Plot { title: "Hand-off of one lock; the queue holds 64", x: "waiters", y: "ms or writes", curves };
    plot.draw(&sizes.plots.join("growth-waiters.svg"))
}

/// Hand-overs within one process, the more tasks want the lock.
async fn tasks(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    let client = room.client("host", Timing::default().ttl()).await?;
    let mut curve = Vec::new();
    for &tasks in &sizes.grow_tasks {
        // One task alone finds nobody to hand the lock to: each turn is a create and a delete.
        let total = if tasks == 1 || sizes.quick { sizes.samples.max(tasks) } else { 100_000.max(tasks) };
        let rate = hand_overs_per_second(&client, &format!("tasks-{tasks}"), tasks, total).await?;
        curve.push((tasks as f64, 1e6 / rate));
        table.add(Figure::new('*', format!("{tasks} tasks on one lock"), "hand-overs/s", rate));
    }
    client.shutdown().await;
    let curves = vec![Curve::new("one turn (µs)", curve)];
    let plot = Plot { title: "One lock, tasks of one process", x: "tasks", y: "µs", curves };
    plot.draw(&sizes.plots.join("growth-tasks.svg"))
}
