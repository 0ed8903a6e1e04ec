//! d: tasks of one process that hand a lock from one to the next.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use msync::{
    Client, Error,
    clock::{BootClock, Clock},
};
use tokio::task::JoinSet;

use crate::{
    child::{Held, LIMIT, Role, start},
    contend::HOLD,
    figures::{Figure, Sample, Table},
    raw::Writes,
    server::Server,
    sizes::Sizes,
};

/// Hand-overs of one run.
const HAND_OVERS: usize = 100_000;
const RUNS: usize = 5;
const TTL: Duration = Duration::from_secs(15);

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    let client = room.client("host", TTL).await?;
    let total = if sizes.quick { sizes.tasks * 10 } else { HAND_OVERS };
    let mut rates = Sample::default();
    let before = server.requests().await?;
    for _ in 0..RUNS {
        rates.push(hand_overs_per_second(&client, "handed", sizes.tasks, total).await?);
    }
    let requests = server.requests().await?.since(&before).calls();
    let (tasks, handed) = (sizes.tasks, RUNS * total);
    table.add(Figure::new('d', format!("hand-over between {tasks} tasks"), "per second", rates).budget(">= 100000"));
    let what = format!("API calls for {handed} of them, in {RUNS} runs");
    table.add(
        Figure::new('d', what, "calls", requests as f64)
            .over("a create + delete a run", 2.0 * RUNS as f64)
            .budget("O(1)"),
    );
    client.shutdown().await;
    remote_waiter(server, sizes, table).await
}

/// Lets tasks take a lock in turns; returns how often a second they do.
pub(crate) async fn hand_overs_per_second(client: &Client, lock: &str, tasks: usize, total: usize) -> Result<f64> {
    let turns = total.div_ceil(tasks);
    let lock = client.lock(lock)?;
    let start = Instant::now();
    let mut running: JoinSet<_> = (0..tasks)
        .map(|_| {
            let lock = lock.clone();
            async move {
                for _ in 0..turns {
                    lock.acquire().await?.release().await?;
                }
                Ok::<_, Error>(())
            }
        })
        .collect();
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok((turns * tasks) as f64 / start.elapsed().as_secs_f64())
}

/// A second process that wants the same lock again and again, while the tasks of the first never let go by themselves.
async fn remote_waiter(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    let mut raw = Writes::start(&room, "raw", 0).await?;
    let client = room.client("host", TTL).await?;
    let lock = client.lock("shared")?;
    let mut running = JoinSet::new();
    for _ in 0..sizes.tasks {
        let lock = lock.clone();
        running.spawn(async move {
            loop {
                lock.acquire().await?.release().await?;
            }
            #[allow(unreachable_code, reason = "the type of a task that only fails or is aborted")]
            Ok::<_, Error>(())
        });
    }
    let role = Role::Contend { lock: "shared".to_owned(), hold: HOLD, engines: 1 };
    let mut other = start(&room.place("other", TTL), &role).await?;
    other.say("go")?;
    let raw = raw.until(BootClock.now() + Duration::from_secs(sizes.contention)).await?.median();
    other.say("stop")?;
    let held = other.line_with("[", LIMIT).await?;
    running.shutdown().await;
    let held: Vec<Held> = serde_json::from_str(&held).context("a list of holds")?;
    let waits: Sample = held.iter().skip(1).map(|held| (held.from - held.asked) as f64 / 1e6).collect();
    let longest = waits.greatest();
    let what = format!("a second process's wait meanwhile (longest {longest:.1})");
    table.add(
        Figure::new('d', what, "ms", waits).over("write + event meanwhile", raw).budget("16 local turns, then it"),
    );
    client.shutdown().await;
    Ok(())
}
