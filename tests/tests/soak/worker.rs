//! One process that takes the lock again and again, in all the ways there are, and writes down when it believed.

use std::{path::Path, time::Duration};

use anyhow::Result;
use msync::{
    Error, Lock, LockGuard,
    clock::{BootClock, Clock},
};
use tests::{
    cluster::child_client,
    dice::Dice,
    ledger::Pen,
    process::{follow_parent, is_child},
};

use crate::{LOCK, TTL};

/// Where the child writes, and what its choices begin with.
pub(crate) const FILE: &str = "MSYNC_SOAK_FILE";
pub(crate) const DICE: &str = "MSYNC_SOAK_DICE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a child of the soak"]
async fn child_contends() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let mut commands = follow_parent();
    let client = child_client().await?;
    let lock = client.lock(LOCK)?;
    let mut pen = Pen::open(Path::new(&std::env::var(FILE)?))?;
    let mut dice = Dice::new(std::env::var(DICE)?.parse()?);
    println!("\nready");
    while commands.try_recv().is_err() {
        pen.wants()?;
        match take(&lock, &mut dice).await? {
            Some(guard) => hold(guard, &mut pen, &mut dice).await?,
            None => pen.gave_up()?,
        }
        tokio::time::sleep(dice.millis(0, 30)).await;
    }
    client.shutdown().await;
    println!("\nended");
    Ok(())
}

/// Waits for the lock, or for a while, or only tries.
async fn take(lock: &Lock, dice: &mut Dice) -> Result<Option<LockGuard>> {
    let taken = match dice.below(10) {
        0 => lock.try_acquire().await,
        1 | 2 => lock.acquire_timeout(dice.millis(1, 400)).await.map(Some),
        _ => lock.acquire().await.map(Some),
    };
    match taken {
        Ok(guard) => Ok(guard),
        // The server is frozen, or somebody else has it.
        Err(Error::Timeout { .. } | Error::Unavailable { .. } | Error::Store { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// Holds for a moment, or through some renewals, and gives back in one of three ways.
async fn hold(guard: LockGuard, pen: &mut Pen, dice: &mut Dice) -> Result<()> {
    let ttl = u64::try_from(TTL.as_millis())?;
    let length = if dice.below(8) == 0 { dice.millis(ttl / 4, ttl * 3 / 2) } else { dice.millis(0, 120) };
    let end = BootClock.now() + length;
    while pen.holds(&guard)? {
        if BootClock.now() >= end {
            pen.releases(&guard)?;
            break;
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
    if dice.below(2) == 0 {
        let _ = guard.release().await; // lost, or the server is away: the ttl ends it
    }
    Ok(())
}

/// Names the file of the worker that is started as number so and so.
pub(crate) fn file_of(number: usize) -> String {
    format!("worker-{number}")
}
