//! What happens to the workers and to their server.

use std::{path::Path, time::Duration};

use anyhow::Result;
use msync::clock::{BootClock, Clock, Moment};
use tests::{
    cluster::{Cluster, LIMIT},
    dice::Dice,
    ledger::Pen,
    process::ChildProcess,
};

use crate::{
    TTL, WORKERS,
    worker::{DICE, FILE, file_of},
};

/// The workers, and how often each fault struck.
pub(crate) struct Chaos<'a> {
    cluster: &'a Cluster,
    dir: &'a Path,
    dice: Dice,
    workers: Vec<Worker>,
    started: usize,
    counts: Counts,
}

struct Worker {
    child: ChildProcess,
    number: usize,
}

#[derive(Debug, Default)]
struct Counts {
    frozen: u32,
    killed: u32,
    server_frozen: u32,
    server_killed: u32,
}

impl<'a> Chaos<'a> {
    pub(crate) fn new(cluster: &'a Cluster, dir: &'a Path, dice: Dice) -> Result<Self> {
        let mut chaos = Self { cluster, dir, dice, workers: Vec::new(), started: 0, counts: Counts::default() };
        for _ in 0..WORKERS {
            let worker = chaos.start()?;
            chaos.workers.push(worker);
        }
        Ok(chaos)
    }

    fn start(&mut self) -> Result<Worker> {
        let number = self.started;
        self.started += 1;
        let path = self.dir.join(file_of(number));
        Pen::open(&path)?; // it is there for whoever reads it early
        let child = self.cluster.child("worker::child_contends", &file_of(number), TTL)?;
        let child = child.env(FILE, &path).env(DICE, self.dice.roll().to_string()).spawn()?;
        Ok(Worker { child, number })
    }

    /// Strikes again and again.
    pub(crate) async fn reign(&mut self, end: Moment) -> Result<()> {
        while BootClock.now() < end {
            tokio::time::sleep(self.dice.millis(200, 1500)).await;
            match self.dice.below(100) {
                0..45 => self.freeze().await?,
                45..80 => self.kill()?,
                80..95 => self.freeze_server().await?,
                _ => self.kill_server().await?,
            }
        }
        Ok(())
    }

    /// One worker stands still, for a moment or past its ttl; sometimes two do.
    async fn freeze(&mut self) -> Result<()> {
        let (one, other) = (self.pick(), self.pick());
        let pause = self.pause();
        self.counts.frozen += 1;
        self.workers[one].child.stop().await?;
        let both = self.dice.below(4) == 0 && one != other;
        if both {
            self.workers[other].child.stop().await?;
        }
        tokio::time::sleep(pause).await;
        self.workers[one].child.resume()?;
        if both {
            tokio::time::sleep(pause / 4).await;
            self.workers[other].child.resume()?;
        }
        Ok(())
    }

    /// One worker dies without a word, and another process takes its place.
    fn kill(&mut self) -> Result<()> {
        let which = self.pick();
        self.counts.killed += 1;
        self.workers[which].child.kill()?;
        self.workers[which] = self.start()?;
        Ok(())
    }

    async fn freeze_server(&mut self) -> Result<()> {
        let pause = self.pause();
        self.counts.server_frozen += 1;
        self.cluster.server().freeze().await?;
        tokio::time::sleep(pause).await;
        self.cluster.server().thaw().await
    }

    async fn kill_server(&mut self) -> Result<()> {
        self.counts.server_killed += 1;
        self.cluster.server().kill().await?;
        self.cluster.server().restart().await
    }

    fn pick(&mut self) -> usize {
        usize::try_from(self.dice.below(WORKERS as u64)).unwrap_or(0)
    }

    fn pause(&mut self) -> Duration {
        let ttl = u64::try_from(TTL.as_millis()).unwrap_or(u64::MAX);
        if self.dice.below(2) == 0 { self.dice.millis(1, ttl / 2) } else { self.dice.millis(ttl / 2, ttl * 2) }
    }

    pub(crate) fn summary(&self) -> String {
        format!("{:?}", self.counts)
    }

    /// The files of the workers that run.
    pub(crate) fn files(&self) -> Vec<String> {
        self.workers.iter().map(|worker| file_of(worker.number)).collect()
    }

    /// Lets every worker end in order.
    pub(crate) async fn end(mut self) -> Result<()> {
        for worker in &mut self.workers {
            worker.child.say("end")?;
        }
        for worker in &mut self.workers {
            worker.child.line_with("ended", LIMIT).await?;
        }
        Ok(())
    }
}
