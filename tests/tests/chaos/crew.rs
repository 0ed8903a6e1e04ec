//! Some processes that contend for one lock, and what their parent sees of them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use msync::{
    clock::{BootClock, Clock, Moment},
    unstable::record::{Entry, Record},
};
use tests::{
    cluster::Cluster,
    dice::Dice,
    ledger::{Pen, Progress},
    process::ChildProcess,
    proxy::Proxy,
};

use crate::{
    CHILD_DICE, CHILD_DIR, CHILD_ELECTION, CHILD_LOCK, EVERYONE, LONGEST_TRY_MS, PATIENCE, Size, report::Report,
};

/// What all crews share.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) size: Size,
    /// Holds a directory for each lock, with a file for each contender.
    pub(crate) dir: PathBuf,
    pub(crate) report: Mutex<Report>,
    /// Where libfaketime is, if it is installed.
    pub(crate) faketime: Option<PathBuf>,
    started: AtomicUsize,
}

/// What a crew contends for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trade {
    /// A plain lock.
    Lock,
    /// An election: the record stays, and grants are accepted.
    Election,
    /// A plain lock whose members' wall clocks jump.
    Clocks,
    /// A plain lock that people edit and delete: S1 and S2 are not promised.
    Edited,
}

/// The processes that contend for one lock.
pub(crate) struct Crew<'s> {
    pub(crate) site: &'s Site,
    pub(crate) trade: Trade,
    pub(crate) lock: String,
    pub(crate) dice: Dice,
    pub(crate) members: Vec<Member>,
}

/// A process, and its own way to the server, which its successor inherits.
pub(crate) struct Member {
    pub(crate) child: ChildProcess,
    pub(crate) proxy: Proxy,
    /// What libfaketime reads the offset from.
    pub(crate) wall: PathBuf,
    owner: String,
    crew: Progress,
    everyone: Progress,
}

/// Who holds and who waits, in order, as members; everybody else is none of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Roles {
    pub(crate) holder: usize,
    pub(crate) waiters: Vec<usize>,
}

// === impl Site ===

impl Site {
    pub(crate) fn new(cluster: Cluster, size: Size, dir: &Path, faketime: Option<PathBuf>) -> Result<Self> {
        fs::create_dir_all(dir.join(EVERYONE))?;
        let (report, started) = (Mutex::default(), AtomicUsize::new(0));
        Ok(Self { cluster, size, dir: dir.to_owned(), report, faketime, started })
    }

    async fn member(&self, trade: Trade, lock: &str, dice: &mut Dice) -> Result<Member> {
        let proxy = self.cluster.server().proxy().await?;
        self.started(proxy, trade, lock, dice)
    }

    /// Starts a process behind a proxy.
    fn started(&self, proxy: Proxy, trade: Trade, lock: &str, dice: &mut Dice) -> Result<Member> {
        let owner = format!("worker-{}", self.started.fetch_add(1, Ordering::SeqCst));
        let files = [lock, EVERYONE].map(|lock| self.dir.join(lock).join(&owner));
        for file in &files {
            Pen::open(file)?; // it is there for whoever reads it early
        }
        let mut spawn = self.cluster.child_via(&proxy, "worker::child_contends", &owner, self.size.ttl)?;
        spawn = spawn.env(CHILD_DIR, &self.dir).env(CHILD_LOCK, lock).env(CHILD_DICE, dice.roll().to_string());
        if trade == Trade::Election {
            spawn = spawn.env(CHILD_ELECTION, "1");
        }
        let wall = self.dir.join(format!("{owner}.wall"));
        if let (Trade::Clocks, Some(library)) = (trade, &self.faketime) {
            fs::write(&wall, "+0")?;
            spawn = spawn.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &wall);
            spawn = spawn.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let child = spawn.spawn()?;
        let (crew, everyone) = (Progress::follow(&files[0])?, Progress::follow(&files[1])?);
        Ok(Member { child, proxy, wall, owner, crew, everyone })
    }
}

// === impl Crew ===

impl<'s> Crew<'s> {
    pub(crate) async fn start(site: &'s Site, trade: Trade, lock: &str, mut dice: Dice) -> Result<Self> {
        fs::create_dir_all(site.dir.join(lock))?;
        let mut members = Vec::new();
        for _ in 0..site.size.crew {
            members.push(site.member(trade, lock, &mut dice).await?);
        }
        for member in &mut members {
            member.child.line_with("ready", PATIENCE).await.with_context(|| member.owner.clone())?;
        }
        Ok(Self { site, trade, lock: lock.to_owned(), dice, members })
    }

    pub(crate) fn tell(&mut self, who: usize, order: &str) -> Result<()> {
        self.members[who].child.say(order).with_context(|| format!("tell {} to {order}", self.members[who].owner))
    }

    pub(crate) fn tell_all(&mut self, order: &str) -> Result<()> {
        (0..self.members.len()).try_for_each(|who| self.tell(who, order))
    }

    pub(crate) fn others(&self, but: usize) -> Vec<usize> {
        (0..self.members.len()).filter(|who| *who != but).collect()
    }

    pub(crate) fn anybody(&mut self) -> usize {
        usize::try_from(self.dice.below(self.members.len() as u64)).unwrap_or_default()
    }

    /// A random time between two parts of the ttl, each a numerator and a denominator.
    pub(crate) fn part_of_ttl(&mut self, least: (u64, u64), below: (u64, u64)) -> Duration {
        let ttl = u64::try_from(self.site.size.ttl.as_millis()).unwrap_or_default();
        self.dice.millis(ttl * least.0 / least.1, ttl * below.0 / below.1)
    }

    /// Kills a member and waits until it is gone.
    pub(crate) fn kill(&mut self, who: usize) -> Result<()> {
        let member = &mut self.members[who];
        let pid = member.child.pid();
        member.child.kill()?;
        if self.trade == Trade::Clocks && self.site.faketime.is_some() {
            // What libfaketime shares with children, which a killed process leaves behind.
            for shared in [format!("faketime_shm_{pid}"), format!("sem.faketime_sem_{pid}")] {
                let _ = fs::remove_file(Path::new("/dev/shm").join(shared));
            }
        }
        Ok(())
    }

    /// Starts a new process in the place of a dead one.
    pub(crate) async fn replace(&mut self, who: usize) -> Result<()> {
        let proxy = self.site.cluster.server().proxy().await?;
        let mut member = self.site.started(proxy, self.trade, &self.lock, &mut self.dice)?;
        member.child.line_with("ready", PATIENCE).await.with_context(|| member.owner.clone())?;
        self.members[who] = member;
        Ok(())
    }

    /// Lets the present holder keep the lock until all others wait for it, and nobody who waits gives up any more.
    pub(crate) async fn pin(&mut self) -> Result<Roles> {
        self.tell_all("stay")?;
        let give_up = BootClock.now() + PATIENCE;
        let (mut pinned, calm) = (None::<(Roles, Moment)>, Duration::from_millis(LONGEST_TRY_MS * 3 / 2));
        loop {
            // A server that is busy is asked again.
            let found = self.site.cluster.snapshot(&self.lock).await.ok().flatten();
            let roles = found.as_ref().and_then(|found| self.roles(&found.record));
            let now = BootClock.now();
            pinned = match roles.filter(|roles| roles.waiters.len() + 1 == self.members.len()) {
                Some(roles) => {
                    let since = pinned.filter(|(before, _)| *before == roles).map_or(now, |(_, since)| since);
                    Some((roles, since))
                }
                None => None,
            };
            // Who began to wait before it was told to stay may give up its place at first.
            if let Some((roles, _)) = pinned.take_if(|(_, since)| now.since(*since) > calm) {
                return Ok(roles);
            }
            ensure!(BootClock.now() < give_up, "not everybody waits: {found:?}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    fn roles(&self, record: &Record) -> Option<Roles> {
        let member = |owner: &str| self.members.iter().position(|member| member.owner == owner);
        let holder = member(record.engine.owner())?;
        let mut waiters = Vec::new();
        for claim in record.waiters.iter().filter_map(Entry::claim) {
            let known = member(claim.engine.owner());
            waiters.extend(known.filter(|who| *who != holder && !waiters.contains(who)));
        }
        Some(Roles { holder, waiters })
    }

    /// Waits until each of them has had the crew's lock since then.
    pub(crate) async fn progress(&mut self, who: &[usize], since: Moment) -> Result<()> {
        let give_up = BootClock.now() + PATIENCE;
        for &who in who {
            while !self.members[who].crew.held_since(since)? {
                self.members[who].lives()?;
                if BootClock.now() >= give_up {
                    let found = self.site.cluster.snapshot(&self.lock).await;
                    bail!("{} does not get {} any more: {found:#?}", self.members[who].owner, self.lock);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Waits until each has had the crew's lock since now; how long that took.
    pub(crate) async fn all_progress(&mut self) -> Result<Duration> {
        let since = BootClock.now();
        self.progress(&(0..self.members.len()).collect::<Vec<_>>(), since).await?;
        Ok(BootClock.now().since(since))
    }

    /// Waits until each has had the lock of all since then.
    pub(crate) async fn had_the_lock_of_all(&mut self, since: Moment) -> Result<()> {
        let give_up = BootClock.now() + PATIENCE;
        for member in &mut self.members {
            while !member.everyone.held_since(since)? {
                member.lives()?;
                if BootClock.now() >= give_up {
                    let found = self.site.cluster.snapshot(EVERYONE).await;
                    bail!("{} does not get the lock of all any more: {found:#?}", member.owner);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Lets every member end in order; how long the slowest needed to release everything.
    pub(crate) async fn end(&mut self) -> Result<Duration> {
        self.tell_all("calm")?;
        self.tell_all("end")?;
        let mut slowest = Duration::ZERO;
        for member in &mut self.members {
            let ended = member.child.line_with("ended ", PATIENCE).await.with_context(|| member.owner.clone())?;
            let millis = ended.trim_start_matches("ended ").parse().context("how long it took")?;
            slowest = slowest.max(Duration::from_millis(millis));
            let status = member.child.wait(PATIENCE).await?;
            ensure!(status.success(), "{} ended with {status}", member.owner);
        }
        Ok(slowest)
    }
}

// === impl Member ===

impl Member {
    fn lives(&mut self) -> Result<()> {
        match self.child.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended by itself: {status}", self.owner),
        }
    }
}
