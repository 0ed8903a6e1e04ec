//! The chaos: fifty processes contend for locks and elections on a real API server while everything around them fails.
//!
//! Each crew of processes contends for a lock of its own, and all on a server for one more. Faults strike a member by its
//! role, so holders and waiters at every place of the queue are hit for sure; crews suffer side by side, and then the
//! server under all of them. After each fault every living process must get its lock again, without help. What all
//! processes wrote down is judged at the end by [`tests::ledger`].
//!
//! Every pass plays all faults, dealt to a server whose watches end every 5 to 10 seconds, and to one that also forgets its
//! history every 2 seconds and has no watch cache, so that watches meet 410. A small pass has five crews of five on each,
//! both at the same time; a whole pass has five crews of ten, on one after the other.
//!
//! | variable | what it does |
//! |---|---|
//! | `MSYNC_CHAOS_MINUTES` | plays whole passes for so long, and at least one; without it, one small pass |
//! | `MSYNC_SEED` | repeats the choices of an earlier run of the same size, though not its timing |
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
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use kube::api::{ListParams, WatchEvent, WatchParams};
use msync::{
    Timing,
    clock::{BootClock, Clock},
};
use tests::{
    cluster::Cluster,
    dice::{Dice, from_environment},
    ledger::Ledger,
    loudly, skipped,
    testbed::Options,
};

use crate::{
    crew::{Crew, Site, Trade},
    fault::{Fault, strike},
    plan::{CREWS, Outage, Plan, deal},
    report::Report,
};

/// How much a pass plays; every kind of fault strikes at either size.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// How many processes a crew has; each waiter's place is struck, so it decides how many faults there are.
    crew: usize,
    /// Long enough that a busy machine is not the fault under test.
    ttl: Duration,
    /// How many servers suffer at the same time.
    at_once: usize,
}

/// Fifty processes on each server, one server after the other.
const WHOLE: Size = Size { crew: 10, ttl: Duration::from_secs(6), at_once: 1 };
/// Fifty processes in all.
const SMALL: Size = Size { crew: 5, ttl: Duration::from_secs(4), at_once: 2 };

/// How long anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(120);
/// The longest that somebody waits who does not wait for as long as it takes, in milliseconds.
const LONGEST_TRY_MS: u64 = 400;
/// The lock that all processes contend for.
const EVERYONE: &str = "everyone";

const CHILD_DIR: &str = "MSYNC_CHAOS_DIR";
const CHILD_LOCK: &str = "MSYNC_CHAOS_LOCK";
const CHILD_ELECTION: &str = "MSYNC_CHAOS_ELECTION";
const CHILD_DICE: &str = "MSYNC_CHAOS_DICE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_s2_fifty_processes_survive_every_fault() -> Result<()> {
    let asked = from_environment("MSYNC_CHAOS_MINUTES");
    let (size, minutes) = (if asked.is_some() { WHOLE } else { SMALL }, asked.unwrap_or_default());
    let seed = from_environment("MSYNC_SEED").unwrap_or_else(|| BootClock.now().as_nanos());
    loudly(&format!("chaos with MSYNC_SEED={seed}, {minutes} minutes, {size:?}"));
    let (began, mut dice, mut report) = (BootClock.now(), Dice::new(seed), Report::default());
    let faketime = faketime();
    for pass in 0.. {
        if pass > 0 && BootClock.now() >= began + Duration::from_secs(60 * minutes) {
            break;
        }
        let seen = play(size, faketime.as_ref(), &mut dice).await;
        let seen = seen.with_context(|| format!("MSYNC_SEED={seed}, pass {pass}"))?;
        let Some(seen) = seen else { return Ok(()) };
        report.add(seen);
    }
    println!("{report}");
    loudly(&format!("chaos, {} s, MSYNC_SEED={seed}: {}", BootClock.now().since(began).as_secs(), report.in_short()));
    // After each fault its whole crew was seen to have had the lock.
    ensure!(report.acquisitions() > size.crew * report.faults(), "the ledgers tell of less than was seen");
    Ok(())
}

/// Plays one pass; `None` means that there is no server.
async fn play(size: Size, faketime: Option<&PathBuf>, dice: &mut Dice) -> Result<Option<Report>> {
    let servers = servers();
    let plans = deal(servers.len(), size, dice);
    let plays = servers.into_iter().zip(plans).map(|((name, options), plan)| {
        let (faketime, dice) = (faketime.cloned(), Dice::new(dice.roll()));
        async move {
            let forgetful = options.compaction.is_some();
            let Some(cluster) = Cluster::start(options).await? else { return Ok(None) };
            let seen = chaos(cluster, size, (name, forgetful), plan, faketime, dice).await;
            seen.map(Some).with_context(|| format!("server {name}"))
        }
    });
    let plays: Vec<_> = plays.collect();
    let seen: Vec<Option<Report>> = stream::iter(plays).buffer_unordered(size.at_once).try_collect().await?;
    Ok(seen.into_iter().flatten().reduce(Report::with))
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
    size: Size,
    (server, forgetful): (&str, bool),
    plan: Plan,
    faketime: Option<PathBuf>,
    mut dice: Dice,
) -> Result<Report> {
    let dir = tempfile::tempdir()?;
    let site = Site::new(cluster, size, dir.path(), faketime)?;
    let oldest = site.cluster.objects().list(&ListParams::default()).await?.metadata.resource_version;
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
    if forgetful {
        answers_410(&site, &oldest.unwrap_or_default()).await?;
    }
    let ended = try_join_all(crews.iter_mut().map(Crew::end)).await?;
    nothing_is_left(&site, ended.into_iter().max().unwrap_or_default()).await?;
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
            tokio::time::sleep(site.size.ttl * 11 / 10).await;
            server.restart().await?;
        }
        Outage::Frozen | Outage::LongFrozen => {
            server.freeze().await?;
            let time = if matches!(outage, Outage::Frozen) { site.size.ttl / 4 } else { site.size.ttl * 11 / 10 };
            tokio::time::sleep(time).await;
            server.thaw().await?;
        }
    }
    let recovered = try_join_all(crews.iter_mut().map(Crew::all_progress)).await?;
    let slowest = recovered.into_iter().max().unwrap_or_default();
    site.report.lock().expect("nobody panics with the report").survived(&format!("server {outage:?}"), slowest);
    Ok(())
}

/// The server does forget its history: otherwise nobody here has met a 410.
async fn answers_410(site: &Site, oldest: &str) -> Result<()> {
    let mut events = site.cluster.objects().watch(&WatchParams::default(), oldest).await?;
    let first = tests::cluster::soon("an event", events.next()).await?;
    let gone = matches!(&first, Some(Ok(WatchEvent::Error(status))) if status.code == 410);
    ensure!(gone, "a watch from before all this does not answer 410, but {first:?}");
    Ok(())
}

/// Plain locks leave nothing behind once all have released, and elections nobody who holds or waits.
async fn nothing_is_left(site: &Site, slowest_end: Duration) -> Result<()> {
    for (trade, lock) in CREWS.into_iter().chain([(Trade::Lock, EVERYONE)]) {
        let Some(left) = site.cluster.snapshot(lock).await? else { continue };
        if trade == Trade::Election && left.record.is_free() && left.record.waiters.is_empty() {
            continue;
        }
        // A shutdown waits for one ttl at the most, and says so in its documentation.
        ensure!(
            slowest_end >= site.size.ttl,
            "all ended within {slowest_end:?}, and this is left of {lock}: {left:#?}"
        );
        loudly(&format!("the machine is slow, an end took {slowest_end:?}: {lock} was left to its ttl"));
        let next = site.cluster.client("next", Timing::with_ttl(site.size.ttl)?).await?;
        let guard = tests::cluster::soon("the next acquires", next.lock(lock)?.acquire()).await??;
        guard.release().await?;
    }
    Ok(())
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
        skipped("jumps of the whole process's wall clock: no libfaketime (Debian: apt-get install libfaketime)");
    }
    found
}

fn debians() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").ok()?.flatten();
    libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}
