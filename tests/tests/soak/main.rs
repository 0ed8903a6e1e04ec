//! The soak: processes contend for one lock on a real API server while they, and the server, are frozen and killed.
//!
//! Alone in its executable, so that nothing else runs meanwhile. `MSYNC_SOAK_SECONDS` lengthens it, `MSYNC_SOAK_SEED`
//! repeats its choices (though not its timing).
#![allow(missing_docs, reason = "a test binary")]
// Processes and servers run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

mod chaos;
mod worker;

use std::{path::Path, time::Duration};

use anyhow::Result;
use msync::clock::{BootClock, Clock, Moment};
use tests::{
    cluster::{Cluster, LIMIT},
    dice::{Dice, from_environment},
    eventually,
    ledger::{Ledger, Progress},
};

use crate::chaos::Chaos;

/// The lock that all contend for.
const LOCK: &str = "soak";
const TTL: Duration = Duration::from_secs(2);
const WORKERS: usize = 4;

#[tokio::test]
async fn s1_s2_no_two_hold_the_lock_whatever_is_killed_or_frozen() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let seed = from_environment("MSYNC_SOAK_SEED").unwrap_or_else(|| BootClock.now().as_nanos());
    let length = Duration::from_secs(from_environment("MSYNC_SOAK_SECONDS").unwrap_or(120));
    println!("MSYNC_SOAK_SEED={seed} MSYNC_SOAK_SECONDS={}", length.as_secs());
    let dir = tempfile::tempdir()?;
    let mut chaos = Chaos::new(&cluster, dir.path(), Dice::new(seed))?;
    chaos.reign(BootClock.now() + length).await?;
    println!("{}", chaos.summary());
    everybody_has_it_again(dir.path(), &chaos).await?;
    chaos.end().await?;
    cluster.until_gone(LOCK).await?;
    let ledger = Ledger::read(dir.path())?;
    println!("{}", ledger.summary());
    ledger.check()?;
    assert!(ledger.holds().len() as u64 > length.as_secs() / 4, "hardly anybody ever held the lock");
    Ok(())
}

/// Once the faults end, each worker has the lock again, without help.
async fn everybody_has_it_again(dir: &Path, chaos: &Chaos<'_>) -> Result<()> {
    let calm: Moment = BootClock.now();
    for file in chaos.files() {
        let mut progress = Progress::follow(&dir.join(&file))?;
        let again = || std::future::ready(progress.held_since(calm).is_ok_and(|held| held));
        eventually(&format!("the worker of {file} has the lock again"), LIMIT, again).await?;
    }
    println!("everybody had the lock again {:?} after the last fault", BootClock.now().since(calm));
    Ok(())
}
