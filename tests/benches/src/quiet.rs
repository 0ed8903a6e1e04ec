//! q: hand-offs as services have them. Everybody has been quiet for seconds: connections are idle, processes sleep, and the
//! API server does too.
//!
//! What nobody could go below is measured in the same rhythm: a raw write and its event at another client, over connections
//! that were just as idle. Beside it etcd's own mutex, by its own client, and msync with a client of kube's handed in.

use std::{iter::zip, time::Duration};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use futures::{FutureExt, future::select_all};
use kube::{Api, api::WatchParams};
use msync::{
    clock::{BootClock, Clock},
    unstable::crd::Lock,
};
use tests::{
    cluster::LIMIT as SOON,
    process::{ChildProcess, Spawn},
    testbed::etcdmutex,
};
use tokio::time::sleep;

use crate::{
    acquire::timed,
    child::{LIMIT, Over, Role, moment, start},
    figures::{Figure, Sample, Table, millis},
    raw::Writes,
    server::{Room, Server},
    sizes::Sizes,
};

/// No renewal and no look of a waiter falls into a measurement.
const TTL: Duration = Duration::from_secs(1800);

/// What is handed from process to process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Lock,
    LockHttp1,
    LockHandedIn,
    Election,
    ElectionHttp1,
    ElectionHandedIn,
    EtcdMutex,
}

/// One of a kind, held by a process and wanted by others.
struct Contest {
    kind: Kind,
    holder: ChildProcess,
    waiting: Vec<ChildProcess>,
    took: Sample,
}

/// Raw writes, each as idle as the hand-offs.
struct Raw {
    /// Of an object for which nobody waits; the others are of one for which as many wait, for the server works on all of it.
    short: Writes,
    once: Writes,
    twice: Writes,
    took: [Sample; 3],
}

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    for &waiters in &sizes.quiet_waiters {
        compare(server, waiters, sizes, table).await?;
    }
    Ok(())
}

/// Hand-offs of all kinds with so many waiters in turns, each after its quiet.
async fn compare(server: &Server, waiters: usize, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    let mut contests = Vec::new();
    for &kind in &sizes.quiet_kinds() {
        contests.extend(Contest::start(&room, kind, waiters).await?);
    }
    let mut raw = Raw::start(&room, waiters).await?;
    for _ in 0..sizes.quiet_rounds {
        raw.turn(sizes).await?;
        for contest in &mut contests {
            contest.turn(sizes).await?;
        }
    }
    let [short, once, twice] = raw.took;
    let [short, limit, limit2] = [short.median(), once.median(), twice.median()];
    let long = format!("a raw write and its event, {waiters} waiting");
    table.add(Figure::new('q', long, "ms", once).over("the same, nobody waiting", short));
    for Contest { kind, took, .. } in contests {
        let figure = Figure::new('q', format!("{}, {waiters} waiting", kind.name()), "ms", took);
        let figure = match kind {
            Kind::Lock => figure.over("write + event", limit).budget("<= 1.3"),
            Kind::Election => figure.over("2 writes + event", limit2).budget("<= 1.3"),
            Kind::LockHttp1 | Kind::LockHandedIn | Kind::EtcdMutex => figure.over("write + event", limit),
            Kind::ElectionHttp1 | Kind::ElectionHandedIn => figure.over("2 writes + event", limit2),
        };
        table.add(figure);
    }
    Ok(())
}

/// What a hand-off is made of, each part after its quiet.
pub(crate) async fn layers(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    let mut echo = start(&room.place("echo", TTL), &Role::Echo).await?;
    let [ours, kubes] = [server.kube_over(Over::Ours).await?, server.kube_over(Over::Kube).await?];
    let mut writes = Writes::start(&room, "layers", 0).await?;
    let mut took: [Sample; 7] = std::array::from_fn(|_| Sample::default());
    let names = [
        "a line to another process and back",
        "a request without work, msync's connection",
        "a request without work, kube's connection",
        "the same while a watch is open, msync's",
        "the same while a watch is open, kube's",
        "a raw write until its answer",
        "a raw write until its event",
    ];
    let patches = ("apiserver_request_duration_seconds", ["verb=\"PATCH\"", "resource=\"locks\""]);
    let etcd = ("etcd_request_duration_seconds", ["operation=\"update\"", "resource=\"locks\""]);
    let before = [server.seconds(patches.0, &patches.1).await?, server.seconds(etcd.0, &etcd.1).await?];
    for _ in 0..sizes.quiet_rounds {
        let quiet = || sleep(Duration::from_secs(sizes.quiet));
        quiet().await;
        let line = async {
            echo.say("there and back")?;
            echo.line_with("there and back", LIMIT).await
        };
        took[0].push(timed(line).await?.0);
        for (took, client) in zip(&mut took[1..], [&ours, &kubes]) {
            quiet().await;
            took.push(timed(client.apiserver_version()).await?.0);
        }
        for (took, client) in zip(&mut took[3..], [&ours, &kubes]) {
            // kube's takes the only connection with it, as the watch of whoever waits for a lock does.
            let locks: Api<Lock> = Api::namespaced(client.clone(), &room.namespace);
            let _watch = locks.watch(&WatchParams::default(), "0").await?;
            quiet().await;
            took.push(timed(client.apiserver_version()).await?.0);
        }
        quiet().await;
        let (answered, seen) = writes.both().await?;
        took[5].push(answered);
        took[6].push(seen);
    }
    for (name, took) in zip(names, took) {
        table.add(Figure::new('q', name, "ms", took));
    }
    let after = [server.seconds(patches.0, &patches.1).await?, server.seconds(etcd.0, &etcd.1).await?];
    for (name, (before, after)) in zip(["of a write, inside the API server", "of that, etcd"], zip(before, after)) {
        let mean = (after.0 - before.0) / (after.1 - before.1) * 1e3;
        table.add(Figure::new('q', format!("{name} (mean)"), "ms", mean));
    }
    Ok(())
}

// === impl Kind ===

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::LockHttp1 => "lock, HTTP/1.1",
            Self::LockHandedIn => "lock, kube's client handed in",
            Self::Election => "election",
            Self::ElectionHttp1 => "election, HTTP/1.1",
            Self::ElectionHandedIn => "election, kube's client handed in",
            Self::EtcdMutex => "etcd's mutex by its own client",
        }
    }

    /// What a process says when it has it, and before it gives it back.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Election | Self::ElectionHttp1 | Self::ElectionHandedIn => ["leads ", "resigns "],
            _ => ["holds ", "releases "],
        }
    }

    /// Starts a process that wants it; `None` without Go.
    async fn process(self, room: &Room<'_>, number: usize) -> Result<Option<ChildProcess>> {
        let place = room.place(&format!("quiet-{number}"), TTL);
        let name = format!("quiet-{self:?}").to_lowercase();
        let place = place.over(match self {
            Self::LockHttp1 | Self::ElectionHttp1 => Over::OursHttp1,
            Self::LockHandedIn | Self::ElectionHandedIn => Over::Kube,
            Self::Lock | Self::Election | Self::EtcdMutex => Over::Ours,
        });
        let child = match self {
            Self::Lock | Self::LockHttp1 | Self::LockHandedIn => start(&place, &Role::Wait { lock: name }).await?,
            Self::Election | Self::ElectionHttp1 | Self::ElectionHandedIn => {
                start(&place, &Role::Campaign { election: name }).await?
            }
            Self::EtcdMutex => {
                let Some(program) = tokio::task::spawn_blocking(etcdmutex).await?? else { return Ok(None) };
                let (etcd, lock) = (room.server.etcd()?, format!("{}-{name}", room.namespace));
                let mut child = Spawn::program(program).arg(etcd).arg(lock).spawn()?;
                child.line_with("ready", LIMIT).await?;
                child
            }
        };
        Ok(Some(child))
    }
}

// === impl Contest ===

impl Contest {
    async fn start(room: &Room<'_>, kind: Kind, waiters: usize) -> Result<Option<Self>> {
        let Some(mut holder) = kind.process(room, 0).await? else {
            eprintln!("SKIPPED {}: there is no Go", kind.name());
            return Ok(None);
        };
        holder.line_with(kind.words()[0], LIMIT).await?;
        let mut waiting = Vec::new();
        for number in 1..=waiters {
            waiting.extend(kind.process(room, number).await?);
        }
        Ok(Some(Self { kind, holder, waiting, took: Sample::default() }))
    }

    /// Everybody is quiet for a while, then the holder gives it back.
    async fn turn(&mut self, sizes: &Sizes) -> Result<()> {
        sleep(Duration::from_secs(sizes.quiet)).await;
        let [has, gives] = self.kind.words();
        self.holder.say("next")?;
        let gave = moment(&self.holder.line_with(gives, SOON).await?)?;
        let waits = self.waiting.iter_mut().map(|child| child.line_with(has, SOON).boxed());
        let (line, next, others) = select_all(waits).await;
        drop(others);
        self.took.push(millis(moment(&line?)?.since(gave)));
        std::mem::swap(&mut self.holder, &mut self.waiting[next]);
        Ok(())
    }
}

// === impl Raw ===

impl Raw {
    async fn start(room: &Room<'_>, waiters: usize) -> Result<Self> {
        let short = Writes::start(room, "short", 0).await?;
        let (once, twice) = (Writes::start(room, "once", waiters).await?, Writes::start(room, "twice", waiters).await?);
        Ok(Self { short, once, twice, took: std::array::from_fn(|_| Sample::default()) })
    }

    async fn turn(&mut self, sizes: &Sizes) -> Result<()> {
        let quiet = || sleep(Duration::from_secs(sizes.quiet));
        quiet().await;
        self.took[0].push(self.short.one().await?);
        quiet().await;
        self.took[1].push(self.once.one().await?);
        quiet().await;
        let sent = BootClock.now();
        self.twice.one().await?;
        self.twice.answered().await?;
        let took = BootClock.now().since(sent);
        ensure!(took < SOON, "two raw writes took {took:?}");
        self.took[2].push(millis(took));
        Ok(())
    }
}
