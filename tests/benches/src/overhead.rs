//! What msync adds to the work that it guards, on the store in memory: `cargo run --release -p benches --bin overhead`.
//!
//! What is compared runs in turns of a few calls each, and the fastest twentieth of either side is reported: whatever else
//! the machine does only ever adds. Never fails: figures depend on the machine, so they are for people to judge.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    future::{Future, poll_fn},
    hint::black_box,
    task::Poll,
    time::{Duration, Instant},
};

use anyhow::Result;
use msync::{
    Client, Error, Lock, MemoryStore,
    clock::{BootClock, Clock},
    locked,
};
use tokio::task::JoinSet;

/// How often the sides take turns.
const ROUNDS: usize = 4000;

/// A ttl that no round reaches, so that no renewal falls into one.
const TTL: Duration = Duration::from_secs(3600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let timing = msync::Timing::with_ttl(TTL)?;
    let client = Client::builder().memory(&MemoryStore::new()).timing(timing).build();
    msync::init(client.clone());
    println!("{:<52} {:>10} {:>10}", "", "measured", "goal");
    acquisition(&client).await?;
    contended(&client).await?;
    check(&client.lock("check")?).await?;
    polls(&client.lock("polls")?).await?;
    client.shutdown().await;
    Ok(())
}

#[locked("bench")]
async fn under_macro(x: u64) -> Result<u64, Error> {
    Ok(black_box(x))
}

#[locked("bench-{x}")]
async fn under_named_macro(x: u64) -> Result<u64, Error> {
    Ok(black_box(x))
}

async fn under_guard(client: &Client, x: u64) -> Result<u64, Error> {
    let guard = client.lock("bench")?.acquire().await?;
    let done = black_box(x);
    guard.release().await?;
    Ok(done)
}

async fn under_named_guard(client: &Client, x: u64) -> Result<u64, Error> {
    let guard = client.lock(format!("bench-{x}"))?.acquire().await?;
    let done = black_box(x);
    guard.release().await?;
    Ok(done)
}

async fn by_owned_client(client: Client) -> Result<u64, Error> {
    under_guard(&client, 1).await
}

/// A lock that is created and deleted by each call.
async fn acquisition(client: &Client) -> Result<()> {
    let (plain, added) = compare(10, async || under_guard(client, 1).await, async || under_macro(1).await).await?;
    report("acquire, run and release by hand", plain, "");
    report("  added by #[locked(\"bench\")]", added, "100 ns");
    let by_hand = async || under_named_guard(client, 1).await;
    let (_, added) = compare(10, by_hand, async || under_named_macro(1).await).await?;
    report("  added by #[locked(\"bench-{x}\")]", added, "100 ns");
    Ok(())
}

/// A lock that its process keeps, because other tasks wait for it: the store is not asked, so what is added shows best.
async fn contended(client: &Client) -> Result<()> {
    const TASKS: u32 = 64;
    let by_hand = async || {
        let client = client.clone();
        together(TASKS, move || by_owned_client(client.clone())).await
    };
    let by_macro = async || together(TASKS, || under_macro(1)).await;
    let (plain, added) = compare(1, by_hand, by_macro).await?;
    let each = f64::from(TASKS);
    report("the same, handed from task to task", plain / each, "10000 ns");
    report("  added by #[locked(\"bench\")]", added / each, "100 ns");
    Ok(())
}

async fn check(lock: &Lock) -> Result<()> {
    const CHECKS: u32 = 1000;
    let guard = lock.acquire().await?;
    let checks = async || (0..CHECKS).try_for_each(|_| black_box(&guard).check());
    let clock = async || {
        for _ in 0..CHECKS {
            black_box(BootClock.now());
        }
        Ok::<_, Error>(())
    };
    let (look, added) = compare(1, clock, checks).await?;
    report("one look at the clock", look / f64::from(CHECKS), "");
    report("guard.check()", (look + added) / f64::from(CHECKS), "50 ns");
    guard.release().await?;
    Ok(())
}

/// A body that is woken again and again, as by a busy socket.
async fn polls(lock: &Lock) -> Result<()> {
    const POLLS: u32 = 200;
    #[locked("polls")]
    async fn under_macro(polls: u32) -> Result<(), Error> {
        woken(polls).await;
        Ok(())
    }
    let bare = async || {
        woken(POLLS).await;
        Ok::<_, Error>(())
    };
    let (plain, by_run) = compare(1, bare, async || lock.run(async |_| woken(POLLS).await).await).await?;
    let (_, by_macro) = compare(1, bare, async || under_macro(POLLS).await).await?;
    report("one poll of a body by tokio", plain / f64::from(POLLS), "");
    report("  added by Lock::run", by_run / f64::from(POLLS), "");
    report("  added by #[locked]", by_macro / f64::from(POLLS), "");
    Ok(())
}

/// Returns nanoseconds of one call of `first`, and how many more one call of `second` takes.
async fn compare<T, E: Into<anyhow::Error>>(
    calls: u32,
    mut first: impl AsyncFnMut() -> Result<T, E>,
    mut second: impl AsyncFnMut() -> Result<T, E>,
) -> Result<(f64, f64)> {
    let (mut plain, mut other) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(time(calls, &mut first).await?);
        other.push(time(calls, &mut second).await?);
    }
    let plain = undisturbed(plain);
    Ok((plain, undisturbed(other) - plain))
}

async fn time<T, E: Into<anyhow::Error>>(calls: u32, call: &mut impl AsyncFnMut() -> Result<T, E>) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..calls {
        black_box(call().await.map_err(Into::into)?);
    }
    Ok(nanos(start.elapsed()) / f64::from(calls))
}

async fn together<Fut>(tasks: u32, call: impl Fn() -> Fut) -> Result<()>
where
    Fut: Future<Output = Result<u64, Error>> + Send + 'static,
{
    let mut running: JoinSet<_> = (0..tasks).map(|_| call()).collect();
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

async fn woken(mut times: u32) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn undisturbed(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 20]
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn report(what: &str, nanos: f64, goal: &str) {
    println!("{what:<52} {nanos:>7.0} ns {goal:>10}");
}
