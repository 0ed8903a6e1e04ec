//! A sidecar among hostile local clients: floods, half requests, hang-ups and freezes, drawn from a seed, beside holders
//! that beat at their pace.
//!
//! Judged are the holders, which must never be refused, and what the sidecar takes of the machine, which must have a bound.
//! All of it is on loopback, over a store in memory, and every load has an end.

mod holders;
mod loads;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    dice::Dice,
    process::{ChildProcess, Spawn},
};
use holders::Holders;
use loads::Load;

/// Long enough for a machine that does other things as well.
const START: Duration = Duration::from_secs(60);
/// After the loads: more than idle connections are kept, and leases last.
const AFTER: Duration = Duration::from_secs(45);
/// The limit of the shipped container is 128 MiB.
const MOST_MEMORY: u64 = 120 * 1024;
/// What may be open some time after the loads: the holders' connections, and what is always open.
const FEW_DESCRIPTORS: usize = 400;
/// Lines of log in a minute.
const MOST_LINES: u64 = 120;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The sidecar's program.
    pub program: PathBuf,
    /// What all choices come from. What the machine does with them does not.
    pub seed: u64,
    /// How long loads are put on.
    pub length: Duration,
    /// A line for every round.
    pub verbose: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Beats that were answered as they must be.
    pub beats: u64,
    /// Those that were not.
    pub lost: Vec<String>,
    /// Rounds of loads.
    pub rounds: u64,
    /// The most memory ever, in KiB, and what is left of it at the end.
    pub memory: (u64, u64),
    /// The most descriptors that were seen, and those at the end.
    pub descriptors: (usize, usize),
    /// The most threads that were seen.
    pub threads: u64,
    /// Lines of log.
    pub lines: u64,
}

struct Sidecar {
    process: ChildProcess,
    port: u16,
    log: tempfile::NamedTempFile,
}

/// Puts a sidecar under loads and judges it.
///
/// # Errors
/// The sidecar does not start, or ends; what it does to its clients is in the report.
///
/// # Cancel safety
/// Dropping the future ends the sidecar; loads end by themselves.
pub async fn run(plan: &Plan) -> Result<Report> {
    let mut sidecar = Sidecar::start(&plan.program).await?;
    let holders = Holders::start(sidecar.port).await?;
    let (mut dice, mut report) = (Dice::new(plan.seed), Report::default());
    let until = Instant::now() + plan.length;
    while Instant::now() < until {
        let said = sidecar.round(&mut dice, until).await?;
        report.rounds += 1;
        sidecar.look(&mut report)?;
        if plan.verbose {
            let (memory, descriptors) = (sidecar.memory("VmRSS:")?, sidecar.descriptors()?);
            let (round, so_far, waited) = (report.rounds, holders.so_far(), sidecar.waited()?);
            println!(
                "{round:>4} {said}: {memory} KiB, {descriptors} descriptors, {waited:.1} s without a processor, {so_far}"
            );
        }
        ensure!(sidecar.process.ended()?.is_none(), "the sidecar has ended");
    }
    sleep(AFTER).await;
    sidecar.look(&mut report)?;
    (report.beats, report.lost) = holders.stop()?;
    report.memory = (sidecar.memory("VmHWM:")?, sidecar.memory("VmRSS:")?);
    report.descriptors.1 = sidecar.descriptors()?;
    report.lines = std::fs::read_to_string(sidecar.log.path())?.lines().count() as u64;
    Ok(report)
}

impl Report {
    /// What is wrong, if anything is.
    ///
    /// # Errors
    /// A beat was lost, or a bound was passed.
    pub fn judge(&self, length: Duration) -> Result<()> {
        ensure!(self.lost.is_empty(), "{} lost beats: {:#?}", self.lost.len(), &self.lost[..self.lost.len().min(20)]);
        ensure!(self.beats > 0, "nobody beat");
        ensure!(self.memory.0 < MOST_MEMORY, "{} KiB at the most", self.memory.0);
        ensure!(self.descriptors.1 < FEW_DESCRIPTORS, "{} descriptors at the end", self.descriptors.1);
        let most = MOST_LINES * (length.as_secs() / 60 + 2);
        ensure!(self.lines < most, "{} lines of log", self.lines);
        Ok(())
    }
}

impl Sidecar {
    async fn start(program: &Path) -> Result<Self> {
        let log = tempfile::NamedTempFile::new()?;
        let spawn = Spawn::program(program)
            .args(["--ports", "0", "--owner", "hostile", "--store", "memory", "--elections", "led"])
            .env("NO_COLOR", "1")
            .stderr_to(log.path())?;
        let mut process = spawn.spawn()?;
        let line: Value = serde_json::from_str(&process.line_with("\"ports\"", START).await?)?;
        let port = line["ports"][0].as_u64().context("a port")?;
        Ok(Self { process, port: u16::try_from(port)?, log })
    }

    /// Some loads at the same time, and perhaps some freezes.
    async fn round(&self, dice: &mut Dice, until: Instant) -> Result<String> {
        let end = until.min(Instant::now() + dice.millis(4_000, 15_000));
        let loads: Vec<Load> = (0..=dice.below(3)).map(|_| Load::drawn(dice)).collect();
        let mut said = loads.iter().map(Load::to_string).collect::<Vec<_>>().join(" + ");
        let running: Vec<_> =
            loads.into_iter().map(|load| tokio::spawn(load.run(self.port, dice.roll(), end))).collect();
        if dice.below(3) == 0 {
            said += " + freezes";
            self.freeze_now_and_then(dice, end).await?;
        }
        for load in running {
            load.await?;
        }
        Ok(said)
    }

    /// Shorter than any client waits for an answer.
    async fn freeze_now_and_then(&self, dice: &mut Dice, end: Instant) -> Result<()> {
        while Instant::now() < end {
            sleep(dice.millis(500, 3_000)).await;
            self.process.stop().await?;
            sleep(dice.millis(50, 2_500)).await;
            self.process.resume()?;
        }
        Ok(())
    }

    fn look(&self, report: &mut Report) -> Result<()> {
        report.descriptors.0 = report.descriptors.0.max(self.descriptors()?);
        report.threads = report.threads.max(self.memory("Threads:")?);
        Ok(())
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the field")?;
        Ok(line.split_whitespace().next().context("a number")?.parse()?)
    }

    /// How long its threads have been ready to run and had to wait, in seconds: on a busy machine a late answer may be the
    /// machine's.
    fn waited(&self) -> Result<f64> {
        let mut waited = 0.0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.pid()))? {
            // A thread may end meanwhile.
            let times = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let nanos: f64 = times.split(' ').nth(1).and_then(|nanos| nanos.parse().ok()).unwrap_or_default();
            waited += nanos / 1e9;
        }
        Ok(waited)
    }

    fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process.pid()))?.count())
    }
}
