//! What a test does to a [`MemoryStore`] by hand, and what it sees of it.

use std::{ops::Sub, time::Duration};

use super::{Calls, MemoryStore};
use crate::{
    LockName,
    clock::{self, Clock},
    record::{Beat, EngineId, Record, Term},
    store::Snapshot,
};

/// The owner of what [`MemoryStore::take_over`] has taken.
const SOMEBODY: &str = "somebody-else";

/// How long that is held, for it is never renewed.
const TTL: Duration = Duration::from_secs(15);

// === impl MemoryStore: for tests ===

/// With the feature `testing`; see [`testing`](crate::testing).
impl MemoryStore {
    /// Gives a lock or an election to somebody else, as if another process had taken it over: whoever has it learns
    /// [`LossReason::TakenOver`](crate::LossReason::TakenOver). That somebody never renews and never releases, so who waits
    /// has it 15 seconds later.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// let store = msync::MemoryStore::new();
    /// let lock = store.client("web").lock("job")?;
    /// let ended = lock.run(async |_guard| {
    ///     store.take_over("job");
    ///     std::future::pending::<()>().await // dropped: the body does not run on
    /// });
    /// assert!(ended.await.is_err_and(|error| error.is_lost()));
    /// # Ok(()) }
    /// ```
    pub fn take_over(&self, name: impl AsRef<str>) {
        let wall = clock::of_caller().wall();
        self.edit(&named(name), |record| {
            let term = Term(record.term.0.wrapping_add(1).max(1));
            record.engine = EngineId::new(SOMEBODY, term.0);
            (record.term, record.beat, record.renewals) = (term, Beat(term.0), 1);
            (record.ttl, record.acquired, record.expiry) = (TTL, Some(wall), Some(wall + TTL));
        });
    }

    /// Deletes a lock, as `kubectl delete` would: whoever has it learns [`LossReason::Deleted`](crate::LossReason::Deleted),
    /// and anybody may have it at once. Says whether there was one.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// let store = msync::MemoryStore::new();
    /// let guard = store.client("web").lock("job")?.acquire().await?;
    /// assert!(store.delete("job"));
    /// assert_eq!(guard.lost().await, msync::LossReason::Deleted);
    /// # Ok(()) }
    /// ```
    pub fn delete(&self, name: impl AsRef<str>) -> bool {
        self.state().remove(&named(name))
    }

    /// Returns how many requests there were so far; see [`Calls`]. What an [`outage`](Self::outage) keeps away is not among
    /// them.
    pub fn calls(&self) -> Calls {
        self.state().calls
    }

    /// Returns the names of all locks that there are, held or not, sorted. The sessions that keep several of them alive are none.
    pub fn names(&self) -> Vec<LockName> {
        self.state().locks.keys().filter(|name| !name.is_session()).cloned().collect()
    }

    /// Returns the owner of whoever has a lock or leads an election, as it stands in the store; none if it is free.
    pub fn holder(&self, name: impl AsRef<str>) -> Option<String> {
        let found = self.snapshot(&named(name)).filter(|found| !found.record.is_free());
        found.map(|found| found.record.engine.owner().to_owned())
    }

    /// Returns how many wait in the queue of a lock or an election.
    pub fn waiting(&self, name: impl AsRef<str>) -> usize {
        self.snapshot(&named(name)).map_or(0, |found| found.record.waiters.len())
    }

    /// Returns how many clients it has been given, with this one.
    #[cfg(feature = "testing")]
    pub(crate) fn nth_client(&self) -> u64 {
        let mut state = self.state();
        state.trouble.clients += 1;
        state.trouble.clients
    }

    /// Returns a lock as it is now.
    #[doc(hidden)]
    pub fn snapshot(&self, name: &LockName) -> Option<Snapshot> {
        self.state().locks.get(name).cloned()
    }

    /// Edits a lock by hand, as `kubectl edit` would; a lock that is absent is made, free at first.
    #[doc(hidden)]
    pub fn edit(&self, name: &LockName, edit: impl FnOnce(&mut Record)) -> Snapshot {
        let mut state = self.state();
        let mut record = state.locks.get(name).map(|s| s.record.clone()).unwrap_or_default();
        edit(&mut record);
        state.put(name, record)
    }

    /// Makes every watch start over with a list, as the API server does when it has forgotten too much (410).
    #[doc(hidden)]
    pub fn expire_watches(&self) {
        self.state().relist();
    }
}

/// One rule for names: the one of [`Client::lock`].
fn named(name: impl AsRef<str>) -> LockName {
    LockName::escaped(name)
}

// === impl Calls: arithmetic ===

impl Calls {
    /// Returns how many requests there were of all kinds; watches are counted when they are opened.
    pub fn total(&self) -> u64 {
        self.reads + self.lists + self.watches + self.writes()
    }
}

impl Sub for Calls {
    type Output = Self;

    /// Returns what came after `earlier`.
    fn sub(self, earlier: Self) -> Self {
        Self {
            reads: self.reads - earlier.reads,
            creates: self.creates - earlier.creates,
            claims: self.claims - earlier.claims,
            enqueues: self.enqueues - earlier.enqueues,
            leaves: self.leaves - earlier.leaves,
            renews: self.renews - earlier.renews,
            reserves: self.reserves - earlier.reserves,
            grants: self.grants - earlier.grants,
            frees: self.frees - earlier.frees,
            advertises: self.advertises - earlier.advertises,
            deletes: self.deletes - earlier.deletes,
            lists: self.lists - earlier.lists,
            watches: self.watches - earlier.watches,
        }
    }
}
