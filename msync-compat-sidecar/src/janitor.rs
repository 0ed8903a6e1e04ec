//! Removes records that nobody has wanted for long: locks taken through sidecars are freed, not deleted.
//!
//! What may go is the library's to know, see [`Sweep`]. Every sidecar does this; that they meet costs a refused request.
//! Records of a cluster are left for a day, as people may look at them. Those in memory nobody else sees, and they would
//! fill it; what clients are told of such a lock is remembered elsewhere.

use std::time::Duration;

use msync::Sweep;
use tokio::time::sleep;

use crate::config::Store;

/// Between two rounds in a cluster. What the first has seen, the second may remove.
const ROUND: Duration = Duration::from_secs(3600);
/// Between two rounds in memory, and how long a record is left there: a flood of names makes hundreds in a second, and each
/// round copies all that are left.
const BRIEF_ROUND: Duration = Duration::from_secs(10);
const BRIEF: Duration = Duration::from_secs(20);

/// Cleans up, round by round, for as long as the sidecar runs. Sidecars that start together do not clean up together.
///
/// # Cancel safety
/// May be dropped at any time.
#[allow(clippy::disallowed_methods, reason = "rounds need no exact time")]
pub async fn run(sweep: Sweep, store: Store) {
    let (mut sweep, round) = match store {
        Store::Kube | Store::Leases => (sweep, ROUND),
        Store::Memory => (sweep.older_than(BRIEF), BRIEF_ROUND),
    };
    let mut nap = spread(round);
    loop {
        sleep(nap).await;
        nap = round;
        match sweep.round().await {
            Ok(swept) => told(&swept.removed),
            Err(error) => tracing::info!(%error, "could not look for records that nobody wants"),
        }
    }
}

fn told<T: std::fmt::Display>(removed: &[T]) {
    for lock in removed {
        tracing::debug!(%lock, "removed a record that nobody has wanted for long");
    }
    if !removed.is_empty() {
        tracing::info!(records = removed.len(), "removed what nobody has wanted for long");
    }
}

fn spread(most: Duration) -> Duration {
    let part = getrandom::u32().unwrap_or_default();
    most * (part / 1000) / (u32::MAX / 1000)
}

#[cfg(test)]
mod tests {
    use msync::{
        Client, LockName, MemoryStore,
        clock::{Clock, TokioClock},
        unstable::record::{Beat, Term},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    #[allow(clippy::disallowed_methods, reason = "the clock of these tests is tokio's, and it is paused")]
    async fn a_record_in_memory_goes_within_a_minute() {
        let (store, clock) = (MemoryStore::new(), TokioClock::default());
        let client = Client::builder().clock(clock.clone()).memory(&store).build();
        let free = LockName::new("free").unwrap();
        store.edit(&free, |record| record.expiry = Some(clock.wall()));
        let janitor = tokio::spawn(run(client.sweep(), Store::Memory));
        for seconds in 0..60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(seconds > 15 || !store.names().is_empty(), "not before");
        }
        assert_eq!(store.names(), []);
        janitor.abort();
    }

    /// The rules are tested where they are; here it is that rounds are made, and that they remember.
    #[tokio::test(start_paused = true)]
    async fn a_record_that_nobody_has_wanted_for_a_day_goes_within_two_hours() {
        let (store, clock) = (MemoryStore::new(), TokioClock::default());
        let client = Client::builder().clock(clock.clone()).memory(&store).build();
        let (dead, free) = (LockName::new("dead").unwrap(), LockName::new("free").unwrap());
        store.edit(&dead, |record| {
            (record.term, record.beat, record.ttl) = (Term(1), Beat(2), Duration::from_secs(31));
            record.expiry = Some(clock.wall());
        });
        store.edit(&free, |record| record.expiry = Some(clock.wall()));
        let janitor = tokio::spawn(run(client.sweep(), Store::Kube));
        let hours = |hours: u64| tokio::time::advance(Duration::from_secs(hours * 3600));
        for _ in 0..23 {
            hours(1).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(store.names(), [dead, free], "not before");
        for _ in 0..4 {
            hours(1).await;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(store.names(), []);
        janitor.abort();
    }
}
