//! What the API server itself takes, asked by plain calls of kube: the limits that figures are compared with.

use std::{iter::zip, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, stream::BoxStream};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use msync::{
    LockName,
    clock::{BootClock, Clock, Moment, Wall},
    unstable::{
        crd::Lock,
        record::{Beat, Change, Claim, EngineId, Record, Term},
    },
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use crate::{
    figures::{Sample, millis},
    server::Room,
};

/// Between two raw writes: what else goes on at the server is hardly disturbed.
const PAUSE: Duration = Duration::from_millis(25);

/// An event of a watch: when it arrived, and what it showed.
pub(crate) struct Sight {
    pub(crate) at: Moment,
    pub(crate) lock: Lock,
}

/// A watch of one lock by a client of its own; ends when dropped.
pub(crate) struct Watching {
    pub(crate) sights: mpsc::UnboundedReceiver<Sight>,
    task: JoinHandle<Result<()>>,
}

// === impl Watching ===

impl Watching {
    pub(crate) async fn start(locks: &Api<Lock>, name: &str) -> Result<Self> {
        let how = WatchParams::default().fields(&format!("metadata.name={name}"));
        let first = locks.watch(&how, "0").await?.boxed();
        let (sender, sights) = mpsc::unbounded_channel();
        let task = tokio::spawn(Self::follow(locks.clone(), how, first, sender));
        Ok(Self { sights, task })
    }

    /// Passes on what the watch shows. The server ends each after some five minutes; the next begins with the object as it is.
    async fn follow(
        locks: Api<Lock>,
        how: WatchParams,
        mut events: BoxStream<'static, kube::Result<WatchEvent<Lock>>>,
        sender: mpsc::UnboundedSender<Sight>,
    ) -> Result<()> {
        loop {
            while let Some(event) = events.next().await {
                let at = BootClock.now();
                if let WatchEvent::Added(lock) | WatchEvent::Modified(lock) = event? {
                    let _ = sender.send(Sight { at, lock });
                }
            }
            events = locks.watch(&how, "0").await?.boxed();
        }
    }

    /// When the event of one version arrived.
    async fn arrival(&mut self, version: Option<&str>) -> Result<Moment> {
        loop {
            let sight = self.sights.recv().await.context("the watch has ended")?;
            if sight.lock.metadata.resource_version.as_deref() == version {
                return Ok(sight.at);
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The object of a held lock for which so many wait.
pub(crate) fn object(name: &str, waiters: usize) -> Result<Lock> {
    let claim = |number: u64| {
        let (engine, ttl) = (EngineId::new("raw", number), Duration::from_secs(15));
        Claim { engine, term: Term(number), ttl, instant: true }
    };
    let create = Change::Create { claim: claim(0), beat: Beat(1), under: Term::NONE, wall: BootClock.wall() };
    let mut record: Record = create.apply(None).ok().context("a creation needs no record")?;
    for number in (1..).take(waiters) {
        let enqueue = Change::Enqueue { claim: claim(number), wall: Wall::default() };
        record = enqueue.apply(Some(&record)).ok().context("the queue has room")?;
    }
    Ok(Lock::of(&LockName::new(name)?, &record))
}

/// Writes a new beat, and nothing else.
pub(crate) async fn write(locks: &Api<Lock>, name: &str, beat: u64) -> Result<Lock> {
    let patch = Patch::Merge(json!({ "spec": { "beat": format!("{beat:016x}") } }));
    Ok(locks.patch(name, &PatchParams::default(), &patch).await?)
}

/// Raw writes of an object of their own, each timed from its call to its event at another client.
pub(crate) struct Writes {
    locks: Api<Lock>,
    /// Those of another client, which watches.
    others: Api<Lock>,
    name: String,
    watching: Watching,
    beat: u64,
}

// === impl Writes ===

impl Writes {
    /// Begins with an object for which so many wait.
    pub(crate) async fn start(room: &Room<'_>, name: &str, waiters: usize) -> Result<Self> {
        let locks = room.locks().await?;
        locks.create(&PostParams::default(), &object(name, waiters)?).await?;
        let others = room.locks().await?;
        let watching = Watching::start(&others, name).await?;
        Ok(Self { locks, others, name: name.to_owned(), watching, beat: 1 })
    }

    /// Milliseconds from the call of one write to its event.
    pub(crate) async fn one(&mut self) -> Result<f64> {
        Ok(self.both().await?.1)
    }

    /// Milliseconds from the call of one write to its answer, and to its event.
    pub(crate) async fn both(&mut self) -> Result<(f64, f64)> {
        self.beat += 1;
        let sent = BootClock.now();
        let written = write(&self.locks, &self.name, self.beat).await?;
        let answered = millis(BootClock.now().since(sent));
        let arrived = self.watching.arrival(written.metadata.resource_version.as_deref()).await?;
        Ok((answered, millis(arrived.since(sent))))
    }

    /// One write by the client that watches, until its answer.
    pub(crate) async fn answered(&mut self) -> Result<()> {
        self.beat += 1;
        write(&self.others, &self.name, self.beat).await.map(drop)
    }

    /// One after the other, with pauses, until a moment.
    pub(crate) async fn until(&mut self, end: Moment) -> Result<Sample> {
        let [took] = in_turns([self], end).await?;
        Ok(took)
    }
}

/// Writes of several objects in turns, with pauses, until a moment.
pub(crate) async fn in_turns<const N: usize>(mut all: [&mut Writes; N], end: Moment) -> Result<[Sample; N]> {
    let mut took = std::array::from_fn(|_| Sample::default());
    loop {
        for (writes, took) in zip(&mut all, &mut took) {
            took.push(writes.one().await?);
            sleep(PAUSE).await;
        }
        if BootClock.now() >= end {
            return Ok(took);
        }
    }
}

/// Writes per second that the server answers to 32 clients' worth of connections, each on an object of its own.
pub(crate) async fn throughput(room: &Room<'_>, time: Duration) -> Result<f64> {
    let locks = room.locks().await?;
    let until = BootClock.now() + time;
    let writers = (0..32).map(|number| {
        let locks = locks.clone();
        async move {
            let name = format!("raw-{number}");
            locks.create(&PostParams::default(), &object(&name, 0)?).await?;
            let mut written = 0_u64;
            while BootClock.now() < until {
                written += 1;
                write(&locks, &name, written + 1).await?;
            }
            anyhow::Ok(written)
        }
    });
    let written = futures::future::try_join_all(writers).await?;
    Ok(written.iter().sum::<u64>() as f64 / time.as_secs_f64())
}
