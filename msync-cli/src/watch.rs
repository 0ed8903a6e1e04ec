//! `msync watch`: a line whenever a lock changes hands, its queue changes, or its holder falls silent.
//!
//! Here a holder is judged by what this process has seen: a change of its record is a sign of life, and the time since is
//! counted by the local clock.

use std::{collections::BTreeMap, io::Write, process::Stdio, time::Duration};

use futures::StreamExt;
use kube::{
    ResourceExt,
    api::{WatchEvent, WatchParams},
};
use msync::{
    clock::{BootClock, Clock, Moment},
    unstable::{
        crd::Lock,
        record::{Pair, Record},
        store::{Events, Objects},
    },
};

use crate::{
    args::{Cluster, Output, Watch},
    connect::Connection,
    exit::{FAILED, Failure},
    look,
    row::{Row, State},
    show,
};

/// After a failure of the watch.
const PAUSE: Duration = Duration::from_secs(1);
/// Below the time after which kube's client gives up reading.
const TIMEOUT_SECONDS: u32 = 290;

/// What is known of one lock.
struct Sight {
    lock: Lock,
    record: Record,
    /// Its last sign of life; of one that was not seen yet, what the API server tells of it.
    alive: Moment,
    told: Option<Row>,
}

/// All that is watched.
struct Watcher<'a> {
    args: &'a Watch,
    sights: BTreeMap<(String, String), Sight>,
    stream: Option<show::Stream>,
}

pub(crate) async fn watch(cluster: &Cluster, args: &Watch) -> Result<(), Failure> {
    let connection = Connection::open(cluster).await?;
    let locks = look::locks(&connection, args.all_namespaces);
    let mut watcher = Watcher { args, sights: BTreeMap::new(), stream: None };
    let mut failures = 0;
    loop {
        let ended = watcher.follow(&connection, &locks, &mut failures).await;
        let Err(failure) = ended else { continue };
        // The first answer decides whether this can work at all; later, a cluster that is away comes back.
        if failures == 0 && watcher.stream.is_none() || failure.is_final() {
            return Err(failure);
        }
        failures += 1;
        if failures == 1 {
            eprintln!("msync: {failure}; trying again");
        }
        BootClock.sleep_until(BootClock.now() + PAUSE).await;
    }
}

// === impl Watcher ===

impl Watcher<'_> {
    /// Lists, then takes events until the watch ends.
    async fn follow(&mut self, connection: &Connection, locks: &Objects, failures: &mut u32) -> Result<(), Failure> {
        let (found, version) = look::read_all(locks).await?;
        let now = look::server_time(&connection.client).await;
        self.listed(found, now)?;
        *failures = 0;
        let how = WatchParams::default().timeout(TIMEOUT_SECONDS);
        let mut events: Events = match locks.watch(&how, &version).await {
            Ok(events) => events,
            Err(error) => return Err(look::refused(&error, "watch")),
        };
        loop {
            let alarm = BootClock.sleep_until(self.next_change());
            let event = tokio::select! {
                biased;
                event = events.next() => event,
                () = alarm => {
                    self.tell_all()?;
                    continue;
                }
            };
            match event {
                Some(Ok(WatchEvent::Added(lock) | WatchEvent::Modified(lock))) => {
                    let key = self.see(lock, None);
                    self.tell(key.as_ref())?;
                }
                Some(Ok(WatchEvent::Deleted(lock))) => self.gone(&lock)?,
                Some(Ok(WatchEvent::Bookmark(_))) => {}
                // 410: the server has forgotten the version. Listing again shows what was missed.
                None | Some(Ok(WatchEvent::Error(_))) => return Ok(()),
                Some(Err(error)) => return Err(look::refused(&error, "watch")),
            }
        }
    }

    fn listed(&mut self, found: Vec<Lock>, now: jiff::Timestamp) -> Result<(), Failure> {
        let names: Vec<_> = found.iter().map(key).collect();
        let missing: Vec<_> = self.sights.keys().filter(|known| !names.contains(known)).cloned().collect();
        for lock in found {
            let silent = look::silence(&lock, now);
            self.see(lock, Some(silent));
        }
        if self.stream.is_none() && self.args.output.is_for_people() {
            let rows: Vec<_> = self.sights.values().map(Sight::row).collect();
            let stream = show::Stream::new(self.args.output, self.args.all_namespaces, &rows, look::wall());
            stream.head()?;
            self.stream = Some(stream);
        }
        for name in missing {
            let lock = self.sights[&name].lock.clone();
            self.gone(&lock)?;
        }
        self.tell_all()
    }

    /// Takes a state of a lock; `silent` when it is a list's, whose age only the server knows.
    fn see(&mut self, lock: Lock, silent: Option<Duration>) -> Option<(String, String)> {
        let wanted = self.args.names.is_empty() || self.args.names.iter().any(|name| name.as_str() == lock.name_any());
        let (_, snapshot) = lock.snapshot().ok().filter(|_| wanted)?;
        let (key, record, now) = (key(&lock), snapshot.record, BootClock.now());
        let known = self.sights.get(&key);
        let pair = |sight: &Sight| -> Pair { sight.record.pair() };
        let alive = match known {
            Some(sight) if pair(sight) == record.pair() => sight.alive,
            _ => now - silent.unwrap_or_default(),
        };
        let told = known.and_then(|sight| sight.told.clone());
        self.sights.insert(key.clone(), Sight { lock, record, alive, told });
        Some(key)
    }

    /// A lock whose record is gone is free.
    fn gone(&mut self, lock: &Lock) -> Result<(), Failure> {
        let Some(sight) = self.sights.remove(&key(lock)) else { return Ok(()) };
        let was_free = sight.told.is_some_and(|row| row.state == State::Free);
        if was_free { Ok(()) } else { self.report(&Row::new(lock, &Record::default(), Duration::ZERO)) }
    }

    fn tell_all(&mut self) -> Result<(), Failure> {
        let keys: Vec<_> = self.sights.keys().cloned().collect();
        keys.iter().try_for_each(|key| self.tell(Some(key)))
    }

    /// Tells of a lock if anything has happened to it that people care for.
    fn tell(&mut self, key: Option<&(String, String)>) -> Result<(), Failure> {
        let Some(sight) = key.and_then(|key| self.sights.get_mut(key)) else { return Ok(()) };
        let row = sight.row();
        if sight.told.as_ref().is_some_and(|told| told.essence() == row.essence()) {
            return Ok(());
        }
        sight.told = Some(row.clone());
        self.report(&row)
    }

    fn report(&self, row: &Row) -> Result<(), Failure> {
        match (self.args.output, &self.stream) {
            (Output::Json, _) => show::json_line(row)?,
            (Output::Yaml, _) => {
                show::print("---\n")?;
                show::yaml(row)?;
            }
            (_, Some(stream)) => stream.row(row, look::wall())?,
            (_, None) => {}
        }
        self.args.exec.as_ref().map_or(Ok(()), |program| execute(program, row))
    }

    /// When the next holder looks otherwise, if nothing is heard of it.
    fn next_change(&self) -> Moment {
        let now = BootClock.now();
        let next = |sight: &Sight| Some(sight.alive + State::changes_after(&sight.record, now.since(sight.alive))?);
        self.sights.values().filter_map(next).min().unwrap_or(now + Duration::from_secs(3600))
    }
}

// === impl Sight ===

impl Sight {
    fn row(&self) -> Row {
        Row::new(&self.lock, &self.record, BootClock.now().since(self.alive))
    }
}

fn key(lock: &Lock) -> (String, String) {
    (lock.namespace().unwrap_or_default(), lock.name_any())
}

/// Runs the user's program on a change and waits for it: two of them never run at once, and they run in order.
fn execute(program: &str, row: &Row) -> Result<(), Failure> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut child = std::process::Command::new("sh")
        .args(["-c", program])
        .env("MSYNC_LOCK", &row.name)
        .env("MSYNC_LOCK_NAMESPACE", &row.namespace)
        .env("MSYNC_STATE", format!("{:?}", row.state).to_lowercase())
        .env("MSYNC_HOLDER", text(&row.holder))
        .env("MSYNC_TERM", text(&row.term))
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::new(FAILED, format_args!("cannot run sh for --exec: {error}; is it in the PATH?")))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who does not read it has not asked for it.
        let _ = serde_json::to_writer(&mut stdin, row).map(|()| stdin.flush());
    }
    let status = child.wait()?;
    if !status.success() {
        eprintln!("msync: --exec ended with {status} for lock {}; watching on", row.name);
    }
    Ok(())
}
