//! g: what the macros and `run` add to the work that they guard, on the store in memory.
//!
//! What is compared runs in turns of a few calls each, and the fastest twentieth of either side is reported: whatever else
//! the machine does only ever adds, and the difference is a hundredth of either.

use std::{
    future::{Future, poll_fn},
    hint::black_box,
    task::Poll,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use msync::{Client, Error, Lock, MemoryStore, locked};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    figures::{Figure, Table},
    sizes::Sizes,
};

/// A ttl that no round reaches, so that no renewal falls into one.
const TTL: Duration = Duration::from_secs(3600);

/// One figure after the other, in a runtime of one thread: a second one would only add the time to wake it.
pub(crate) async fn measure(sizes: &Sizes, table: &mut Table) -> Result<()> {
    let rounds = sizes.rounds;
    let (done, figures) = oneshot::channel();
    std::thread::spawn(move || done.send(on_one_thread(rounds)));
    for figure in figures.await.context("the thread of the figures does not panic")?? {
        table.add(figure);
    }
    Ok(())
}

fn on_one_thread(rounds: usize) -> Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let timing = msync::Timing::with_ttl(TTL)?;
        let client = Client::builder().memory(&MemoryStore::new()).timing(timing).build();
        msync::init(client.clone());
        let mut figures = Vec::from(acquisition(&client, rounds).await?);
        figures.extend(contended(&client, rounds).await?);
        figures.extend(polls(&client.lock("polls")?, rounds).await?);
        client.shutdown().await;
        Ok(figures)
    })
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
async fn acquisition(client: &Client, rounds: usize) -> Result<[Figure; 3]> {
    let by_hand = async || under_guard(client, 1).await;
    let (plain, added) = compare(rounds, 10, by_hand, async || under_macro(1).await).await?;
    let by_hand = async || under_named_guard(client, 1).await;
    let (_, named) = compare(rounds, 10, by_hand, async || under_named_macro(1).await).await?;
    Ok([
        figure(rounds, "acquire, run and release by hand, in memory", plain),
        figure(rounds, "added by #[locked(\"bench\")]", added).budget("<= 100 ns"),
        figure(rounds, "added by #[locked(\"bench-{x}\")]", named).budget("<= 100 ns"),
    ])
}

/// A lock that its process keeps, because other tasks wait for it: the store is not asked, so what is added shows best.
async fn contended(client: &Client, rounds: usize) -> Result<[Figure; 2]> {
    const TASKS: u32 = 64;
    let by_hand = async || {
        let client = client.clone();
        together(TASKS, move || by_owned_client(client.clone())).await
    };
    let by_macro = async || together(TASKS, || under_macro(1)).await;
    let (plain, added) = compare(rounds, 1, by_hand, by_macro).await?;
    let each = f64::from(TASKS);
    Ok([
        figure(rounds, "the same by hand, from task to task", plain / each).budget("<= 10000 ns"),
        figure(rounds, "added to it by #[locked(\"bench\")]", added / each).budget("<= 100 ns"),
    ])
}

/// A body that is woken again and again, as by a busy socket.
async fn polls(lock: &Lock, rounds: usize) -> Result<[Figure; 3]> {
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
    let (plain, by_run) = compare(rounds, 1, bare, async || lock.run(async |_| woken(POLLS).await).await).await?;
    let (_, by_macro) = compare(rounds, 1, bare, async || under_macro(POLLS).await).await?;
    let each = f64::from(POLLS);
    Ok([
        figure(rounds, "one poll of a body by tokio", plain / each),
        figure(rounds, "added to each poll by Lock::run", by_run / each),
        figure(rounds, "added to each poll by #[locked]", by_macro / each),
    ])
}

/// The value is the fastest twentieth of so many rounds.
fn figure(rounds: usize, what: &str, nanos: f64) -> Figure {
    Figure::new('g', format!("{what} (p5 of {rounds} rounds)"), "ns", nanos)
}

/// Returns nanoseconds of one call of `first`, and how many more one call of `second` takes.
async fn compare<T, E: Into<anyhow::Error>>(
    rounds: usize,
    calls: u32,
    mut first: impl AsyncFnMut() -> Result<T, E>,
    mut second: impl AsyncFnMut() -> Result<T, E>,
) -> Result<(f64, f64)> {
    let (mut plain, mut other) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
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
