//! Every state that a `Lock` goes through, as a watch of the API server shows it, and what the protocol allows of it.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use futures::StreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use msync::{
    clock::{BootClock, Clock, Moment},
    unstable::{
        crd::Lock,
        record::{Entry, Record},
        store::{Events, Objects, Snapshot},
    },
};
use tokio::task::JoinHandle;

use crate::eventually;

/// One state, and when the watch showed it.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The local clock, which all processes of one machine share.
    pub at: Moment,
    /// The version of the event.
    pub version: u64,
    /// The state; `None` when the object was deleted.
    pub snapshot: Option<Snapshot>,
}

/// A running recording; ends when it is dropped.
#[derive(Debug)]
pub struct History {
    /// The state at the beginning.
    first: Option<Snapshot>,
    sights: Arc<Mutex<Vec<Sight>>>,
    /// Whoever joins stands at the end of the queue; in a Lease its place is by its clock.
    appends: bool,
    task: JoinHandle<()>,
}

/// How the lock changed hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hands {
    /// Granted to the first of the queue.
    pub granted_in_order: usize,
    /// Made new, or claimed while it was free.
    pub found_free: usize,
    /// Anything else: granted out of order, or taken over.
    pub overtaken: usize,
}

// === impl History ===

impl History {
    /// Begins to watch one lock; everything after this call is recorded.
    pub(crate) async fn start(objects: &Objects, lock: &str) -> Result<Self> {
        let selector = format!("metadata.name={lock}");
        let list = objects.list(&ListParams::default().fields(&selector)).await?;
        let now = BootClock.now();
        let sights = Vec::from_iter(list.items.first().and_then(|found| sight(found, false, now)));
        let first = sights.first().and_then(|sight| sight.snapshot.clone());
        let sights = Arc::new(Mutex::new(sights));
        let version = list.metadata.resource_version.unwrap_or_default();
        let events = objects.watch(&WatchParams::default().fields(&selector), &version).await?;
        let task = tokio::spawn(record(events, Arc::clone(&sights)));
        let appends = matches!(objects, Objects::Locks(_));
        Ok(Self { first, sights, appends, task })
    }

    /// What was seen so far.
    pub fn sights(&self) -> Vec<Sight> {
        self.lock().clone()
    }

    /// Waits until what was seen so far is as wanted.
    ///
    /// # Errors
    ///
    /// When it was not within `limit`.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn until(&self, what: &str, limit: Duration, wanted: impl Fn(&[Sight]) -> bool + Send) -> Result<()> {
        eventually(what, limit, || std::future::ready(wanted(&self.lock()))).await
    }

    /// When the newest beat of the present holder was seen.
    pub fn last_beat(&self) -> Option<Moment> {
        let sights = self.lock();
        let newest = sights.last()?.snapshot.as_ref()?.record.pair();
        let same = |sight: &&Sight| sight.snapshot.as_ref().is_some_and(|seen| seen.record.pair() == newest);
        sights.iter().rev().take_while(same).last().map(|sight| sight.at)
    }

    /// Counts how the lock changed hands.
    ///
    /// # Errors
    ///
    /// When the queue was reordered, or somebody joined it elsewhere than at its end.
    pub fn hands(&self) -> Result<Hands> {
        let mut hands = Hands::default();
        let sights = self.lock();
        let mut before = self.first.as_ref().map(|seen| &seen.record);
        for sight in sights.iter() {
            let after = sight.snapshot.as_ref().map(|seen| &seen.record);
            if let (Some(before), Some(after)) = (before, after) {
                keeps_order(before, after, self.appends)?;
            }
            if let Some(after) = after {
                hands.count(before, after);
            }
            before = after;
        }
        Ok(hands)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Sight>> {
        self.sights.lock().expect("nobody panics with the history")
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Hands ===

impl Hands {
    fn count(&mut self, before: Option<&Record>, after: &Record) {
        let free = before.is_none_or(Record::is_free);
        let same = before.is_some_and(|before| before.term == after.term);
        if after.is_free() || same {
            return;
        }
        let first = before.and_then(|before| before.waiters.first()).and_then(Entry::term);
        if free {
            self.found_free += 1;
        } else if after.renewals == 0 && first == Some(after.term) {
            self.granted_in_order += 1;
        } else {
            self.overtaken += 1;
        }
    }
}

/// Entries may leave from anywhere, but those that stay keep their order, and new ones come after them.
fn keeps_order(before: &Record, after: &Record, appends: bool) -> Result<()> {
    let stayed: Vec<_> = before.waiters.iter().filter(|entry| after.waiters.contains(entry)).collect();
    let old = after.waiters.iter().filter(|entry| appends || before.waiters.contains(entry));
    let now: Vec<_> = old.take(stayed.len()).collect();
    ensure!(stayed == now, "the queue was reordered: {:?} became {:?}", before.waiters, after.waiters);
    Ok(())
}

async fn record(mut events: Events, sights: Arc<Mutex<Vec<Sight>>>) {
    while let Some(Ok(event)) = events.next().await {
        let now = BootClock.now();
        let seen = match event {
            WatchEvent::Added(lock) | WatchEvent::Modified(lock) => sight(&lock, false, now),
            WatchEvent::Deleted(lock) => sight(&lock, true, now),
            WatchEvent::Bookmark(_) | WatchEvent::Error(_) => None,
        };
        sights.lock().expect("nobody panics with the history").extend(seen);
    }
}

fn sight(lock: &Lock, deleted: bool, at: Moment) -> Option<Sight> {
    let (_, snapshot) = lock.snapshot().ok()?;
    Some(Sight { at, version: snapshot.version.number, snapshot: (!deleted).then_some(snapshot) })
}

/// The middle of some measurements.
///
/// # Errors
///
/// When there are none.
pub fn median(mut times: Vec<Duration>) -> Result<Duration> {
    times.sort_unstable();
    let Some(middle) = times.get(times.len() / 2) else { bail!("nothing was measured") };
    Ok(*middle)
}
