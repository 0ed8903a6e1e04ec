//! s: many locks that one heartbeat keeps alive, beside as many that are renewed one by one; and the crash of who holds them.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use msync::clock::{BootClock, Clock};
use tokio::{sync::watch, time::sleep};

use crate::{
    child::{LIMIT, Role, start},
    figures::{Figure, Sample, Table, millis},
    held::Holder,
    plot::{Curve, Plot},
    server::Server,
    sizes::{Holding, Sizes},
};

/// The default ttl, in seconds.
const TTL: u64 = 15;
/// More than this the API server does not bear one by one (section e).
const ONE_BY_ONE: usize = 2000;
/// Processes of the heirs.
const HEIRS: usize = 10;

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    fs::create_dir_all(&sizes.plots).with_context(|| format!("make {}", sizes.plots.display()))?;
    growth(server, sizes, table).await?;
    for &holding in &sizes.session_held {
        let what = format!("{} locks, ttl {} s, API +{} ms", holding.locks, holding.ttl, holding.round_trip);
        hold(server, holding, true, sizes.session_time, &what, table).await?;
    }
    crash(server, sizes, table).await
}

async fn growth(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let [mut by_session, mut one_by_one] = [const { Vec::new() }; 2];
    for &locks in &sizes.session_locks {
        let holding = Holding { locks, ttl: if sizes.quick { 3 } else { TTL }, round_trip: 0 };
        for (sessions, curve) in [(false, &mut one_by_one), (true, &mut by_session)] {
            if sessions || locks <= ONE_BY_ONE {
                let what = format!("{locks} locks, {}", if sessions { "by a session" } else { "one by one" });
                curve.push((locks as f64, hold(server, holding, sessions, sizes.session_time, &what, table).await?));
            }
        }
    }
    let curves = vec![Curve::new("one by one", one_by_one), Curve::new("by a session", by_session)];
    let plot = Plot { title: "Writes that keep locks of ttl 15 s alive", x: "locks", y: "writes per second", curves };
    plot.draw(&sizes.plots.join("growth-sessions.svg"))
}

/// Adds the figures of one process that holds; the writes per second, once all is under way.
async fn hold(
    server: &Server,
    holding: Holding,
    sessions: bool,
    time: u64,
    what: &str,
    table: &mut Table,
) -> Result<f64> {
    let (mut holder, _proxy) = Holder::behind(server, holding, sessions).await?;
    sleep(Duration::from_secs(holding.ttl) * 2).await; // until all have moved under the session
    let seen = holder.watch(server, Duration::from_secs(time)).await?;
    let figure = |figure: &str, unit, value: f64| Figure::new('s', format!("{what}: {figure}"), unit, value);
    let writes = seen.holdings.renewals.len() as f64 / seen.seconds;
    let rate = figure("writes in the steady state", "per second", writes);
    table.add(if sessions { rate.budget("< 1") } else { rate });
    table.add(figure("other requests meanwhile", "requests", seen.holdings.others as f64));
    table.add(figure("lost", "locks", seen.holdings.lost as f64).budget("0"));
    table.add(figure("memory of a lock", "KiB", holder.memory / 1024.0));
    let [cpu, servers] = seen.of_a_core();
    table.add(figure("CPU to hold all", "% of a core", cpu).over("API server's", servers));
    Ok(writes)
}

/// Kills a process whose locks are waited for elsewhere, one by each waiter, while somebody else goes about his work.
async fn crash(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let (room, ttl) = (server.room().await?, Duration::from_secs(if sizes.quick { 3 } else { TTL }));
    let holder = Holder::start(&room, &room.place("holder", ttl), sizes.heirs).await?;
    let each = sizes.heirs.div_ceil(HEIRS);
    let mut heirs = Vec::new();
    for first in (0..sizes.heirs).step_by(each) {
        let role = Role::Inherit { first, locks: each.min(sizes.heirs - first) };
        let mut heir = start(&room.place(&format!("heir-{first}"), ttl), &role).await?;
        heir.say("wait")?;
        heir.line_with("waiting", LIMIT).await?;
        heirs.push(heir);
    }
    sleep(ttl * 2).await; // the dead one's locks are all under its session, and have long been waited for
    let (stop, stopped) = watch::channel(false);
    let bystander = tokio::spawn(go_about(room.client("bystander", ttl).await?, stopped));
    sleep(ttl / 3).await;
    let killed = BootClock.now().as_nanos();
    let mut dead = holder.child;
    dead.kill()?;
    let mut served = Vec::new();
    for heir in &mut heirs {
        let line = heir.line_with("[", LIMIT).await?;
        served.extend(serde_json::from_str::<Vec<u64>>(&line).context("times of an heir")?);
    }
    stop.send_replace(true);
    let turns = bystander.await??;
    let after: Vec<f64> = served.iter().map(|at| (*at as f64 - killed as f64) / 1e9).collect();
    let mut seconds = BTreeMap::<u64, u32>::new();
    for at in &served {
        *seconds.entry(at.saturating_sub(killed) / 1_000_000_000).or_default() += 1;
    }
    let claims: Sample = seconds.values().map(|count| f64::from(*count)).collect();
    let figure = |what: &str, unit, value: Sample| {
        Figure::new('s', format!("SIGKILL of a process with {} locks: {what}", sizes.heirs), unit, value)
    };
    let all = after.iter().copied().collect::<Sample>().greatest();
    table.add(figure("until all that were waited for are had", "s", all.into()).over("ttl", ttl.as_secs_f64()));
    table.add(figure("claims in the busiest second", "per second", claims.greatest().into()));
    table.add(figure("acquire and release of a bystander meanwhile", "ms", turns));
    Ok(())
}

/// Milliseconds that acquiring and releasing a lock of its own took each time.
async fn go_about(client: msync::Client, stopped: watch::Receiver<bool>) -> Result<Sample> {
    let (lock, mut turns) = (client.lock("bystander")?, Vec::new());
    while !*stopped.borrow() {
        let start = Instant::now();
        lock.acquire().await?.release().await?;
        turns.push(millis(start.elapsed()));
        sleep(Duration::from_millis(50)).await;
    }
    Ok(turns.into_iter().collect())
}
