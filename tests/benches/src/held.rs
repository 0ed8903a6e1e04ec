//! e: many locks held by one process that renews each by itself: what it sends, what it needs, and where it breaks. What
//! sessions make of it is section s.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tests::{process::ChildProcess, proxy::Proxy};
use tokio::time::sleep;

use crate::{
    child::{Holdings, LIMIT, Role, start},
    figures::{Figure, Sample, Table, millis},
    metrics::Usage,
    raw::throughput,
    server::{Room, Server},
    sizes::{Holding, Sizes},
};

const KIB: f64 = 1024.0;
/// What the server bears is sought at the default ttl.
const BREAKING_TTL: u64 = 15;

/// A process that holds many locks, just after it acquired them.
pub(crate) struct Holder {
    pub(crate) child: ChildProcess,
    /// Milliseconds that each acquisition took, all of them at once.
    pub(crate) acquired_in: f64,
    /// Bytes that each lock needs.
    pub(crate) memory: f64,
    /// Milliseconds of CPU that each acquisition took, here and at the API server.
    pub(crate) cpu: [f64; 2],
}

/// What a while of holding showed.
pub(crate) struct While {
    pub(crate) holdings: Holdings,
    pub(crate) seconds: f64,
    cpu: f64,
    server_cpu: f64,
}

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    for &holding in &sizes.held {
        hold(server, holding, sizes.quick, table).await?;
    }
    breaking(server, sizes, table).await
}

async fn hold(server: &Server, holding: Holding, quick: bool, table: &mut Table) -> Result<()> {
    let Holding { locks, ttl, round_trip } = holding;
    let (mut holder, _proxy) = Holder::behind(server, holding, false).await?;
    let seconds = if quick { ttl } else { ttl.max(120) };
    let seen = holder.watch(server, Duration::from_secs(seconds)).await?;
    let figure = |what: &str, unit, value: f64| {
        Figure::new('e', format!("{locks} locks, ttl {ttl} s, API +{round_trip} ms: {what}"), unit, value)
    };
    let per_ttl = seen.holdings.renewals.len() as f64 / locks as f64 * ttl as f64 / seen.seconds;
    table.add(figure("renewals of a lock per ttl", "writes", per_ttl).over("one each third", 3.0).budget("3"));
    let (mean, most) = seen.bursts();
    table.add(figure("renewals in the busiest second", "per second", most).over("mean", mean).budget("<= 2"));
    table.add(figure("lost", "locks", seen.holdings.lost as f64).budget("0"));
    table.add(figure("memory of a lock", "KiB", holder.memory / KIB).budget("<= 2"));
    let [cpu, server_cpu] = seen.of_a_core();
    table.add(figure("CPU to hold all", "% of a core", cpu).over("API server's", server_cpu));
    Ok(())
}

async fn breaking(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let raw = throughput(&server.room().await?, Duration::from_secs(sizes.breaking_time.min(10))).await?;
    table.add(Figure::new('e', "raw writes by 32 connections", "per second", raw));
    for &locks in &sizes.breaking {
        let room = server.room().await?;
        let place = room.place("holder", Duration::from_secs(BREAKING_TTL)).sessions(false);
        let mut holder = Holder::start(&room, &place, locks).await?;
        let seen = holder.watch(server, Duration::from_secs(sizes.breaking_time)).await?;
        let (lost, rate) = (seen.holdings.lost, seen.holdings.renewals.len() as f64 / seen.seconds);
        let what = format!("{locks} locks at ttl {BREAKING_TTL} s: {lost} lost; renewals");
        table.add(Figure::new('e', what, "per second", rate).over("raw writes", raw).budget("says where it breaks"));
        if lost > 0 {
            break;
        }
    }
    Ok(())
}

// === impl Holder ===

impl Holder {
    /// One whose API server is as far away as is wanted: behind a proxy, which lives as long as it is kept.
    pub(crate) async fn behind(server: &Server, holding: Holding, sessions: bool) -> Result<(Self, Proxy)> {
        let room = server.room().await?;
        let proxy = server.test_server().proxy().await?;
        proxy.delay(Duration::from_millis(holding.round_trip) / 2);
        let place = room.place("holder", Duration::from_secs(holding.ttl)).sessions(sessions);
        let place = place.via(format!("https://{}", proxy.addr()));
        Ok((Self::start(&room, &place, holding.locks).await?, proxy))
    }

    pub(crate) async fn start(room: &Room<'_>, place: &crate::child::Place, locks: usize) -> Result<Self> {
        let mut child = start(place, &Role::Hold { locks }).await?;
        let before = [Usage::of(child.pid())?, room.server.usage().await?];
        let start = Instant::now();
        child.say("acquire")?;
        child.line_with("held", LIMIT).await?;
        let acquired_in = millis(start.elapsed()) / locks as f64;
        let after = [Usage::of(child.pid())?, room.server.usage().await?];
        let memory = (after[0].memory - before[0].memory) / locks as f64;
        let cpu = [0, 1].map(|who| (after[who].cpu - before[who].cpu) * 1e3 / locks as f64);
        Ok(Self { child, acquired_in, memory, cpu })
    }

    pub(crate) async fn watch(&mut self, server: &Server, time: Duration) -> Result<While> {
        self.child.say("clear")?;
        self.child.line_with("cleared", LIMIT).await?;
        let (start, before) = (Instant::now(), [Usage::of(self.child.pid())?, server.usage().await?]);
        sleep(time).await;
        let (seconds, after) = (start.elapsed().as_secs_f64(), [Usage::of(self.child.pid())?, server.usage().await?]);
        self.child.say("report")?;
        let report = self.child.line_with("{", LIMIT).await?;
        let [cpu, server_cpu] = [0, 1].map(|who| after[who].cpu - before[who].cpu);
        Ok(While { holdings: serde_json::from_str(&report).context("a report")?, seconds, cpu, server_cpu })
    }
}

// === impl While ===

impl While {
    /// CPU of the process and of the API server, in per cent of a core.
    pub(crate) fn of_a_core(&self) -> [f64; 2] {
        [self.cpu, self.server_cpu].map(|cpu| cpu / self.seconds * 100.0)
    }

    /// Renewals a second: the mean, and in the busiest second.
    fn bursts(&self) -> (f64, f64) {
        let renewals = &self.holdings.renewals;
        let first = renewals.iter().min().copied().unwrap_or_default();
        let mut seconds = std::collections::BTreeMap::<u64, u32>::new();
        for at in renewals {
            *seconds.entry((at - first) / 1_000_000_000).or_default() += 1;
        }
        let counts: Sample = seconds.values().map(|count| f64::from(*count)).collect();
        (renewals.len() as f64 / self.seconds, counts.greatest())
    }
}
