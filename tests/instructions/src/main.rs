//! What the test of this crate runs under valgrind: one kind of work, so many times, on the store in memory.
//!
//! One thread, paused time, numbered nonces: two runs execute the same instructions, but for a few of the allocator's.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use msync::{Client, LockName, MemoryStore, Timing, clock::TokioClock, unstable::store::Store};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (work, times) = (args.next().context("what to do")?, args.next().context("how often")?.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        match work.as_str() {
            "acquire-release" => acquire_and_release(times).await,
            "renewal" => renew(times).await,
            _ => bail!("unknown work: {work}"),
        }
    })
}

async fn acquire_and_release(times: u32) -> Result<()> {
    let client = client(&MemoryStore::new());
    let lock = client.lock("counted")?;
    for _ in 0..times {
        lock.acquire().await?.release().await?;
    }
    Ok(())
}

/// Holds a lock until it has been renewed so often.
async fn renew(times: u32) -> Result<()> {
    let store = MemoryStore::new();
    let client = client(&store);
    let guard = client.lock("counted")?.acquire().await?;
    let name = LockName::new("counted")?;
    while renewals(&store, &name).await <= u64::from(times) {
        tokio::task::yield_now().await;
        sleep(Timing::default().ttl() / 3).await;
    }
    guard.check()?;
    Ok(())
}

async fn renewals(store: &MemoryStore, name: &LockName) -> u64 {
    store.read(name).await.ok().flatten().map_or(0, |snapshot| snapshot.record.renewals)
}

fn client(store: &MemoryStore) -> Client {
    let numbers = AtomicU64::new(1);
    // Not the numbers themselves: some are used as parts of an interval, where small ones are all alike.
    let random = move || numbers.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    Client::builder().owner("counted").clock(TokioClock::default()).random(random).memory(store).build()
}

#[allow(clippy::disallowed_methods, reason = "time is paused: this is what makes it pass")]
async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}
