//! The chaos: fifty processes contend for locks and elections on a real API server while everything around them fails.
//!
//! Five crews of ten processes each contend for a lock of their own, and all fifty for one more. Faults strike a member by
//! its role, so holders and waiters at every place of the queue are hit for sure; crews suffer side by side, and then the
//! server under all of them. After each fault every living process must get its lock again, without help. What all
//! processes wrote down is judged at the end by [`tests::ledger`].
//!
//! Every pass plays all faults, once on a server whose watches end every 5 to 10 seconds, and once on one that forgets its
//! history every 2 seconds and has no watch cache, so that watches meet 410.
//!
//! | variable | what it does |
//! |---|---|
//! | `MSYNC_CHAOS_MINUTES` | goes on with passes for so long; without it, one pass |
//! | `MSYNC_SEED` | repeats the choices of an earlier run, though not its timing |
//! | `MSYNC_LIBFAKETIME` | where libfaketime is, if not where Debian puts it |
#![allow(missing_docs, reason = "a test binary")]
// Processes and servers run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

mod crew;
mod fault;
mod plan;
mod report;
mod worker;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use msync::{
    clock::{BootClock, Clock},
    record::Record,
};
use tests::{
    cluster::Cluster,
    dice::{Dice, from_environment},
    ledger::Ledger,
    loudly,
    testbed::Options,
};

use crate::{
    crew::{Crew, Site, Trade},
    fault::{Fault, strike},
    plan::{CREWS, Outage, Plan, deal},
    report::Report,
};

/// Long enough that a busy machine is not the fault under test.
const TTL: Duration = Duration::from_secs(6);
/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(120);
/// The lock that all processes contend for.
const EVERYONE: &str = "everyone";

const CHILD_DIR: &str = "MSYNC_CHAOS_DIR";
const CHILD_LOCK: &str = "MSYNC_CHAOS_LOCK";
const CHILD_ELECTION: &str = "MSYNC_CHAOS_ELECTION";
const CHILD_DICE: &str = "MSYNC_CHAOS_DICE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_s2_fifty_processes_survive_every_fault() -> Result<()> {
    let seed = from_environment("MSYNC_SEED").unwrap_or_else(|| BootClock.now().as_nanos());
    let minutes = from_environment("MSYNC_CHAOS_MINUTES").unwrap_or(0);
    loudly(&format!("chaos with MSYNC_SEED={seed} MSYNC_CHAOS_MINUTES={minutes}"));
    let (began, mut dice, mut report) = (BootClock.now(), Dice::new(seed), Report::default());
    let faketime = faketime();
    for pass in 0.. {
        if pass > 0 && BootClock.now() >= began + Duration::from_secs(60 * minutes) {
            break;
        }
        let servers = servers();
        let plans = deal(servers.len(), &mut dice);
        for ((name, options), plan) in servers.into_iter().zip(plans) {
            let Some(cluster) = Cluster::start(options).await? else { return Ok(()) };
            let seen = chaos(cluster, name, plan, faketime.clone(), Dice::new(dice.roll())).await;
            report.add(seen.with_context(|| format!("MSYNC_SEED={seed}, pass {pass}, server {name}"))?);
        }
    }
    loudly(&format!("chaos, {} s, MSYNC_SEED={seed}\n{report}", BootClock.now().since(began).as_secs()));
    ensure!(report.acquisitions() > 20 * report.faults(), "hardly anybody ever held a lock");
    Ok(())
}

/// What every pass plays on.
fn servers() -> [(&'static str, Options); 2] {
    let ends = "--min-request-timeout=5".to_owned(); // of watches, after this or up to twice as long
    let short = Options { flags: vec![ends.clone()], ..Options::default() };
    let forgetful = Options { watch_cache: false, compaction: Some(Duration::from_secs(2)), ..short.clone() };
    [("short", short), ("forgetful", forgetful)]
}

/// Plays everything on one server, and judges.
async fn chaos(
    cluster: Cluster,
    server: &str,
    plan: Plan,
    faketime: Option<PathBuf>,
    mut dice: Dice,
) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let site = Site::new(cluster, dir.path(), faketime)?;
    let mut crews = Vec::new();
    for (trade, lock) in CREWS {
        crews.push(Crew::start(&site, trade, lock, Dice::new(dice.roll())).await?);
    }
    let suffering = crews.iter_mut().zip(plan.faults).map(|(crew, faults)| suffer(crew, faults));
    try_join_all(suffering).await?;
    for outage in plan.outages {
        strike_server(&site, &mut crews, outage).await.with_context(|| format!("server {outage:?}"))?;
    }
    let calm = BootClock.now();
    for crew in &mut crews {
        crew.had_the_lock_of_all(calm).await?;
    }
    try_join_all(crews.iter_mut().map(Crew::end)).await?;
    nothing_is_left(&site).await?;
    judge(&site, server)
}

async fn suffer(crew: &mut Crew<'_>, faults: Vec<Fault>) -> Result<()> {
    crew.all_progress().await?;
    for fault in faults {
        strike(crew, fault).await?;
    }
    Ok(())
}

async fn strike_server(site: &Site, crews: &mut [Crew<'_>], outage: Outage) -> Result<()> {
    let server = site.cluster.server();
    match outage {
        Outage::Killed => {
            server.kill().await?;
            server.restart().await?;
        }
        Outage::Down => {
            server.kill().await?;
            tokio::time::sleep(TTL * 11 / 10).await;
            server.restart().await?;
        }
        Outage::Frozen | Outage::LongFrozen => {
            server.freeze().await?;
            let time = if matches!(outage, Outage::Frozen) { TTL / 4 } else { TTL * 11 / 10 };
            tokio::time::sleep(time).await;
            server.thaw().await?;
        }
    }
    let recovered = try_join_all(crews.iter_mut().map(Crew::all_progress)).await?;
    let slowest = recovered.into_iter().max().unwrap_or_default();
    site.report.lock().expect("nobody panics with the report").survived(&format!("server {outage:?}"), slowest);
    Ok(())
}

/// Plain locks leave nothing behind once all have released.
async fn nothing_is_left(site: &Site) -> Result<()> {
    for (trade, lock) in CREWS {
        if trade == Trade::Election {
            let free =
                |found: Option<&Record>| found.is_none_or(|record| record.is_free() && record.waiters.is_empty());
            site.cluster.until("the election is free", lock, free).await?;
        } else {
            site.cluster.until_gone(lock).await?;
        }
    }
    site.cluster.until_gone(EVERYONE).await
}

fn judge(site: &Site, server: &str) -> Result<Report> {
    let mut report = std::mem::take(&mut *site.report.lock().expect("nobody panics with the report"));
    for (trade, lock) in CREWS.into_iter().chain([(Trade::Lock, EVERYONE)]) {
        let ledger = Ledger::read(&site.dir.join(lock)).with_context(|| lock.to_owned())?;
        // Where people edit and delete, S1 and S2 are not promised; that lost is final, and who may release, are.
        if trade != Trade::Edited {
            ledger.check().with_context(|| format!("lock {lock}"))?;
        }
        report.judged(&format!("{lock}, {server}"), ledger.summary());
    }
    Ok(report)
}

/// Where libfaketime is; without it the wall clocks jump inside of msync only.
fn faketime() -> Option<PathBuf> {
    let set = std::env::var_os("MSYNC_LIBFAKETIME").map(PathBuf::from);
    let found = set.or_else(debians).filter(|library| library.exists());
    if found.is_none() {
        loudly("SKIPPED jumps of the whole process's wall clock: no libfaketime (Debian: apt-get install libfaketime)");
    }
    found
}

fn debians() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").ok()?.flatten();
    libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}
