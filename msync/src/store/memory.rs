//! The store in memory: for tests, demos and programs that run as a single process.
//!
//! It is the API server's double: it decides by [`Change::apply`], counts versions across all locks, keeps counting when
//! a lock is deleted, and shows watches what the real server would show them, a grant to another engine included. It
//! never loses, delays or repeats anything of its own accord: faults are for a store that wraps it.

#[cfg(any(test, feature = "testing"))]
mod by_hand;
#[cfg(any(test, feature = "testing"))]
mod trouble;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{
    StreamExt,
    channel::mpsc::{UnboundedSender, unbounded},
    future::BoxFuture,
};
use tokio::task::yield_now;

use crate::{
    LockName,
    record::{Change, Record, Refused},
    store::{Fault, Scope, Sighting, Snapshot, Store, Version, Watch},
};

/// A store of records in memory. Its clones share their content, so that several clients can contend for one lock.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

/// How many requests of each kind a [`MemoryStore`] has had, the refused ones included.
///
/// # Examples
#[cfg_attr(feature = "testing", doc = "```")]
#[cfg_attr(not(feature = "testing"), doc = "```text")]
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
/// let store = msync::MemoryStore::new();
/// let lock = store.client("web").lock("invoices")?;
/// lock.acquire().await?.release().await?; // the first use also opens a watch
///
/// let before = store.calls();
/// lock.acquire().await?.release().await?;
/// let calls = store.calls() - before;
/// assert_eq!((calls.creates, calls.deletes, calls.total()), (1, 1, 2), "one request each");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Reads of one lock.
    pub reads: u64,
    /// Acquisitions of a lock that was not there.
    pub creates: u64,
    /// Acquisitions of one that was there: free, or its holder had crashed.
    pub claims: u64,
    /// Entries into a queue.
    pub enqueues: u64,
    /// Waiters that gave up.
    pub leaves: u64,
    /// Renewals, and confirmations by leaders that were granted an election.
    pub renews: u64,
    /// Locks that `at_least` keeps over a shutdown.
    pub reserves: u64,
    /// Hand-overs to the first of a queue.
    pub grants: u64,
    /// Releases of an election that nobody waits for.
    pub frees: u64,
    /// Texts of leaders; see [`Election::advertise`](crate::Election::advertise).
    pub advertises: u64,
    /// Releases of a lock that nobody waits for.
    pub deletes: u64,
    /// Reads of all locks.
    pub lists: u64,
    /// Watches opened.
    pub watches: u64,
}

#[derive(Default)]
struct State {
    version: u64,
    creations: u64,
    locks: BTreeMap<LockName, Snapshot>,
    watchers: Vec<Watcher>,
    calls: Calls,
    #[cfg(any(test, feature = "testing"))]
    trouble: trouble::Trouble,
}

struct Watcher {
    scope: Scope,
    queue: UnboundedSender<Result<Sighting, Fault>>,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every transition is complete before the mutex is released, so a panic elsewhere leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one request between two yields: a caller that is dropped at the first has sent nothing, at the second it
    /// has sent and does not learn the answer. Both happen on a real network.
    async fn request<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Fault>) -> Result<T, Fault> {
        yield_now().await;
        #[cfg(any(test, feature = "testing"))]
        if self.state().is_troubled() {
            return self.in_trouble(act).await;
        }
        let answer = act(&mut self.state());
        yield_now().await;
        answer
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryStore").field("version", &state.version).field("locks", &state.locks.len()).finish()
    }
}

impl Store for MemoryStore {
    fn read<'a>(&'a self, name: &'a LockName) -> BoxFuture<'a, Result<Option<Snapshot>, Fault>> {
        Box::pin(self.request(move |state| {
            state.calls.reads += 1;
            Ok(state.locks.get(name).cloned())
        }))
    }

    fn apply<'a>(&'a self, name: &'a LockName, change: &'a Change) -> BoxFuture<'a, Result<Snapshot, Fault>> {
        Box::pin(self.request(move |state| {
            *state.calls.of(change) += 1;
            let stored = state.locks.get(name).map(|s| &s.record);
            let record = change.apply(stored).map_err(Fault::Refused)?;
            Ok(state.put(name, record))
        }))
    }

    fn delete<'a>(&'a self, name: &'a LockName, version: &'a Version) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.request(move |state| {
            state.calls.deletes += 1;
            match state.locks.get(name) {
                None => Err(Fault::Refused(Refused::Absent)),
                Some(stored) if stored.version != *version => Err(Fault::Refused(Refused::Mismatch)),
                Some(_) => {
                    state.remove(name);
                    Ok(())
                }
            }
        }))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<(LockName, Snapshot)>, Fault>> {
        Box::pin(self.request(|state| {
            state.calls.lists += 1;
            Ok(state.locks.iter().map(|(name, snapshot)| (name.clone(), snapshot.clone())).collect())
        }))
    }

    fn watch(&self, scope: Scope) -> Watch {
        let (queue, watch) = unbounded();
        let mut state = self.state();
        state.calls.watches += 1;
        if !state.is_down() {
            let _ = queue.unbounded_send(Ok(state.listed(&scope)));
        }
        state.watchers.push(Watcher { scope, queue });
        let kept_alive = self.clone();
        watch
            .map(move |sighting| {
                let _ = &kept_alive;
                sighting
            })
            .boxed()
    }
}

// === impl State ===

impl State {
    fn put(&mut self, name: &LockName, record: Record) -> Snapshot {
        let before = self.locks.get(name).cloned();
        if let Some(same) = before.as_ref().filter(|old| old.record == record) {
            // The API server, too, answers a write that changes nothing without making a version of it.
            return same.clone();
        }
        self.version += 1;
        let uid = before.as_ref().map_or_else(|| self.new_uid(), |old| Arc::clone(&old.version.uid));
        let snapshot = Snapshot { version: Version { uid, number: self.version }, record };
        self.locks.insert(name.clone(), snapshot.clone());
        self.tell(name, before.as_ref(), Some(&snapshot));
        snapshot
    }

    fn remove(&mut self, name: &LockName) -> bool {
        let Some(before) = self.locks.remove(name) else { return false };
        self.version += 1;
        self.tell(name, Some(&before), None);
        true
    }

    fn new_uid(&mut self) -> Arc<str> {
        self.creations += 1;
        format!("memory-{}", self.creations).into()
    }

    /// Queues what each watch is to see of a transition, and forgets the watches that were dropped.
    fn tell(&mut self, name: &LockName, before: Option<&Snapshot>, after: Option<&Snapshot>) {
        let (version, is_down) = (self.version, self.is_down());
        self.watchers.retain(|watcher| {
            if is_down {
                return !watcher.queue.is_closed();
            }
            let matches = |s: &&Snapshot| watcher.scope.matches(name, &s.record);
            let sighting = match (before.filter(matches), after.filter(matches)) {
                (_, Some(new)) => Sighting::Changed(name.clone(), new.clone()),
                (Some(_), None) => Sighting::Gone(name.clone(), version),
                (None, None) => return !watcher.queue.is_closed(),
            };
            watcher.queue.unbounded_send(Ok(sighting)).is_ok()
        });
    }

    /// Says whether it cannot be reached just now, as a test has ordered.
    #[cfg_attr(not(any(test, feature = "testing")), expect(clippy::unused_self, reason = "only tests order that"))]
    fn is_down(&self) -> bool {
        #[cfg(any(test, feature = "testing"))]
        return self.trouble.is_down();
        #[cfg(not(any(test, feature = "testing")))]
        false
    }

    fn listed(&self, scope: &Scope) -> Sighting {
        let matching = self.locks.iter().filter(|(name, snapshot)| scope.matches(name, &snapshot.record));
        Sighting::Listed(matching.map(|(name, snapshot)| (name.clone(), snapshot.clone())).collect())
    }
}

// === impl Calls ===

impl Calls {
    /// Returns how many requests asked for a change or a deletion.
    pub fn writes(&self) -> u64 {
        let holds = self.creates + self.claims + self.renews + self.reserves + self.grants;
        holds + self.enqueues + self.leaves + self.frees + self.advertises + self.deletes
    }

    fn of(&mut self, change: &Change) -> &mut u64 {
        match change {
            Change::Create { .. } => &mut self.creates,
            Change::Claim { .. } => &mut self.claims,
            Change::Enqueue { .. } => &mut self.enqueues,
            Change::Leave { .. } => &mut self.leaves,
            Change::Renew { .. } => &mut self.renews,
            Change::Reserve { .. } => &mut self.reserves,
            Change::Grant { .. } => &mut self.grants,
            Change::Free { .. } => &mut self.frees,
            Change::Advertise(_) => &mut self.advertises,
        }
    }
}

#[cfg(test)]
mod tests;
