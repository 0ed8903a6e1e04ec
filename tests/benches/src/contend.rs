//! b: one lock, several processes: from the call of the release to the successor's body.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use msync::{
    clock::{BootClock, Clock},
    unstable::record::MAX_WAITERS,
};
use tests::{cluster::LIMIT, eventually, process::ChildProcess};
use tokio::time::sleep;

use crate::{
    child::{Held, Role, start},
    figures::{Figure, Sample, Table},
    raw::{Writes, in_turns},
    server::{Room, Server},
    sizes::Sizes,
};

/// How long each keeps the lock: long enough for the one before to queue up again.
pub(crate) const HOLD: Duration = Duration::from_millis(20);

/// No renewal and no look of a waiter falls into a measurement.
const TTL: Duration = Duration::from_secs(120);

/// Contenders, as processes with so many engines each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contenders {
    pub(crate) processes: usize,
    pub(crate) engines: usize,
    pub(crate) ttl: Duration,
}

/// What came of a contention.
pub(crate) struct Contention {
    /// From the call of the release to the successor's body, in milliseconds.
    pub(crate) hand_offs: Sample,
    /// Raw writes until their event meanwhile, by others at the same server.
    pub(crate) raw: Sample,
    /// The same, of an object with as many waiters.
    pub(crate) as_long: Sample,
    /// What the contenders wrote.
    pub(crate) writes: u64,
    pub(crate) acquisitions: usize,
}

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    for &waiters in &sizes.waiters {
        let contenders = Contenders { processes: waiters + 1, engines: 1, ttl: TTL };
        let time = Duration::from_secs(sizes.contention);
        let contention = contenders.contend(&room, &format!("contended-{waiters}"), time).await?;
        let what = format!("hand-off, {waiters} waiting processes");
        let figure = |hand_offs| Figure::new('b', what.clone(), "ms", hand_offs);
        let hand_offs = contention.hand_offs;
        table.add(
            figure(hand_offs.clone()).over("write + event meanwhile", contention.raw.median()).budget("<= 1.2, flat"),
        );
        table.add(figure(hand_offs).over("the same with such a queue", contention.as_long.median()));

        let (writes, refused) = drain(&room, waiters).await?;
        let what = format!("the same, {refused:.2} of them refused");
        table.add(Figure::new('b', what, "writes each", writes).over("one write", 1.0).budget("1, 0 refused"));
    }
    Ok(())
}

// === impl Contenders ===

impl Contenders {
    /// Lets everybody take turns for a while.
    pub(crate) async fn contend(self, room: &Room<'_>, lock: &str, time: Duration) -> Result<Contention> {
        let mut children = self.start(room, lock).await?;
        let contenders = self.processes * self.engines;
        let mut raw = Writes::start(room, &format!("raw-{lock}"), 0).await?;
        let mut as_long = Writes::start(room, &format!("long-{lock}"), (contenders - 1).min(MAX_WAITERS)).await?;
        let before = room.server.requests().await?;
        order(&mut children, "go")?;
        let [raw, as_long] = in_turns([&mut raw, &mut as_long], BootClock.now() + time).await?;
        order(&mut children, "stop")?;
        let held = collect(&mut children).await?;
        let requests = room.server.requests().await?.since(&before);
        order(&mut children, "end")?;
        // The first of everybody queued up behind a free lock.
        let settled = held.get(contenders..).unwrap_or_default();
        let gap = |pair: &[Held]| pair[1].from.saturating_sub(pair[0].to) as f64 / 1e6;
        let writes = requests.writes() - (raw.len() + as_long.len()) as u64;
        let hand_offs = settled.windows(2).map(gap).collect();
        Ok(Contention { hand_offs, raw, as_long, writes, acquisitions: held.len() })
    }

    async fn start(self, room: &Room<'_>, lock: &str) -> Result<Vec<ChildProcess>> {
        let mut children = Vec::new();
        for number in 0..self.processes {
            let role = Role::Contend { lock: lock.to_owned(), hold: HOLD, engines: self.engines };
            children.push(start(&room.place(&format!("{lock}-{number}"), self.ttl), &role).await?);
        }
        Ok(children)
    }
}

/// Lets a queue run empty, so that nobody queues up meanwhile; returns writes and refusals of each hand-off.
async fn drain(room: &Room<'_>, waiters: usize) -> Result<(f64, f64)> {
    let lock = format!("drained-{waiters}");
    let mut children = Contenders { processes: waiters, engines: 1, ttl: TTL }.start(room, &lock).await?;
    let holder = room.client("drainer", TTL).await?;
    let guard = holder.lock(&lock)?.acquire().await?;
    order(&mut children, "once")?;
    let locks = room.locks().await?;
    let queued = || async { locks.get(&lock).await.is_ok_and(|found| found.spec.waiters.len() == waiters) };
    eventually("everybody waits", LIMIT, queued).await?;
    sleep(Duration::from_millis(500)).await; // until the holder has seen them
    let before = room.server.requests().await?;
    guard.release().await?;
    collect(&mut children).await?;
    let requests = room.server.requests().await?.since(&before);
    order(&mut children, "end")?;
    // The last of all releases to nobody: a deletion.
    let hand_offs = waiters as f64;
    Ok(((requests.writes() - requests.of("DELETE")) as f64 / hand_offs, requests.refused() as f64 / hand_offs))
}

fn order(children: &mut [ChildProcess], order: &str) -> Result<()> {
    children.iter_mut().try_for_each(|child| child.say(order))
}

/// What all have held, in the order of the tokens.
async fn collect(children: &mut [ChildProcess]) -> Result<Vec<Held>> {
    let answers = children.iter_mut().map(|child| child.line_with("[", crate::child::LIMIT));
    let mut all = Vec::new();
    for answer in try_join_all(answers).await? {
        all.extend(serde_json::from_str::<Vec<Held>>(&answer).context("a list of holds")?);
    }
    all.sort_unstable_by_key(|held| held.token);
    Ok(all)
}
