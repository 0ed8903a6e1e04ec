//! Removes records that nobody has wanted for a day: locks taken through sidecars are freed, not deleted.
//!
//! What may go is the library's to know, see [`Sweep`]. Every sidecar does this; that they meet costs a refused request.

use std::time::Duration;

use msync::Sweep;
use tokio::time::sleep;

/// Between two rounds. What the first has seen, the second may remove.
const ROUND: Duration = Duration::from_secs(3600);

/// Cleans up, round by round, for as long as the sidecar runs. Sidecars that start together do not clean up together.
///
/// # Cancel safety
/// May be dropped at any time.
#[allow(clippy::disallowed_methods, reason = "rounds need no exact time")]
pub async fn run(mut sweep: Sweep) {
    let mut nap = spread(ROUND);
    loop {
        sleep(nap).await;
        nap = ROUND;
        match sweep.round().await {
            Ok(swept) => {
                for lock in swept.removed {
                    tracing::info!(%lock, "removed a record that nobody has wanted for a day");
                }
            }
            Err(error) => tracing::info!(%error, "could not look for records that nobody wants"),
        }
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
        record::{Beat, Term},
    };

    use super::*;

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
        let janitor = tokio::spawn(run(client.sweep()));
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
