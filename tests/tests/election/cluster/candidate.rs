//! A candidate in a process of its own, and what it tells its parent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use msync::{
    Leadership,
    clock::{BootClock, Clock, Moment},
};
use tests::{
    cluster::{Cluster, LIMIT, child_client},
    process::{ChildProcess, follow_parent, is_child},
};

/// The election that all candidates campaign in.
pub(super) const ELECTION: &str = "leader";

/// A running candidate.
pub(super) struct Candidate {
    pub(super) child: ChildProcess,
}

/// What a candidate reports: a word, and numbers whose meaning goes with it.
pub(super) struct Report {
    numbers: Vec<u64>,
}

// === impl Candidate ===

impl Candidate {
    pub(super) async fn start(cluster: &Cluster, owner: &str, ttl: Duration) -> Result<Self> {
        let mut child = cluster.child("cluster::candidate::child_campaigns", owner, ttl)?.spawn()?;
        child.line_with("ready", LIMIT).await?;
        Ok(Self { child })
    }

    /// Waits for its next report of a kind.
    pub(super) async fn report(&mut self, word: &str) -> Result<Report> {
        let line = self.child.line_with(&format!("{word} "), LIMIT).await?;
        let numbers = line.split(' ').filter_map(|number| number.parse().ok()).collect();
        Ok(Report { numbers })
    }

    /// Waits until it leads: since when, and with which token.
    pub(super) async fn leads(&mut self) -> Result<(Moment, u64)> {
        let report = self.report("leads").await?;
        Ok((report.moment(0)?, report.number(1)?))
    }
}

// === impl Report ===

impl Report {
    pub(super) fn number(&self, index: usize) -> Result<u64> {
        self.numbers.get(index).copied().context("the candidate reports more numbers")
    }

    pub(super) fn moment(&self, index: usize) -> Result<Moment> {
        self.number(index).map(Moment::from_nanos)
    }
}

#[tokio::test]
#[ignore = "a child of the other tests"]
async fn child_campaigns() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let mut commands = follow_parent();
    let election = child_client().await?.election(ELECTION)?;
    println!("\nready");
    loop {
        let term = election.campaign().await?;
        println!("leads {} {}", BootClock.now().as_nanos(), term.token());
        tokio::select! {
            command = commands.recv() => match command.as_deref() {
                Some("resign") => {
                    println!("resigns {}", BootClock.now().as_nanos());
                    term.resign().await?;
                }
                _ => return Ok(()),
            },
            () = lead(&term) => {}
        }
    }
}

/// Leads until it is lost, then tells what a frozen leader must be able to tell: when the body was polled last, when the
/// hold ended, and how the first check after the pause went.
async fn lead(term: &Leadership) {
    let polled = Arc::new(AtomicU64::new(0));
    let body = body(Arc::clone(&polled));
    let look = first_check_after_a_pause(term);
    let (ended, checked) = tokio::join!(term.run(body), look);
    let (polled, now) = (polled.load(Ordering::SeqCst), BootClock.now().as_nanos());
    println!("lost {polled} {now} {} {}", u8::from(ended.is_err()), u8::from(checked.is_err()));
}

/// Notes each time it is polled.
async fn body(polled: Arc<AtomicU64>) {
    loop {
        polled.store(BootClock.now().as_nanos(), Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Looks at the leadership every few milliseconds, and returns the first look after a pause of a second, or the first bad
/// one.
async fn first_check_after_a_pause(term: &Leadership) -> Result<(), msync::Error> {
    let mut last = BootClock.now();
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = BootClock.now();
        let look = term.check();
        if look.is_err() || now.since(last) > Duration::from_secs(1) {
            return look;
        }
        last = now;
    }
}
