//! Removes records that nobody has wanted for a day: locks taken through sidecars are freed, not deleted.
//!
//! A deletion is conditional on the very state that was judged, so whoever takes the lock meanwhile keeps it. Every sidecar
//! does this; that they meet costs a refused request.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use msync::{
    LockName,
    store::{Fault, Snapshot, Store, Version},
};
use tokio::time::{sleep, timeout};

use crate::clock::Moment;

/// How long a record is left alone after its date.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Between two rounds.
const ROUND: Duration = Duration::from_secs(3600);
/// The longest that one request may take.
const CALL: Duration = Duration::from_secs(30);

/// What earlier rounds saw: which version of each held record, since when.
#[derive(Debug, Default)]
struct Janitor {
    held: HashMap<LockName, (Version, Duration)>,
}

/// Cleans up, round by round, for as long as the sidecar runs. Sidecars that start together do not clean up together.
///
/// # Cancel safety
/// May be dropped at any time.
#[allow(clippy::disallowed_methods, reason = "rounds need no exact time")]
pub async fn run(store: Arc<dyn Store>) {
    let mut janitor = Janitor::default();
    let mut nap = spread(ROUND);
    loop {
        sleep(nap).await;
        nap = ROUND;
        match timeout(CALL, store.list()).await {
            Ok(Ok(found)) => remove(&*store, janitor.unwanted(&found, Moment::now())).await,
            Ok(Err(fault)) => tracing::info!(?fault, "could not look for records that nobody wants"),
            Err(_) => tracing::info!("the API server does not list locks in time"),
        }
    }
}

async fn remove(store: &dyn Store, unwanted: Vec<(LockName, Version)>) {
    for (name, version) in unwanted {
        #[allow(clippy::disallowed_methods, reason = "a request is waited for in real time")]
        match timeout(CALL, store.delete(&name, &version)).await {
            Ok(Ok(())) => tracing::info!(lock = %name, "removed a record that nobody has wanted for a day"),
            Ok(Err(Fault::Refused(_))) => {}
            Ok(Err(fault)) => tracing::info!(lock = %name, ?fault, "could not remove a record"),
            Err(_) => return,
        }
    }
}

fn spread(most: Duration) -> Duration {
    let part = getrandom::u32().unwrap_or_default();
    most * (part / 1000) / (u32::MAX / 1000)
}

impl Janitor {
    /// Says which records may go: those whose date is a day old and that are free, or whose holder was seen to do nothing
    /// for its ttl. A record that somebody waits for is changed by its waiters sooner than that.
    fn unwanted(&mut self, found: &[(LockName, Snapshot)], now: Moment) -> Vec<(LockName, Version)> {
        let before = std::mem::take(&mut self.held);
        let mut unwanted = Vec::new();
        for (name, snapshot) in found.iter().filter(|(_, snapshot)| is_old(snapshot, now.wall)) {
            let seen = before.get(name).filter(|(version, _)| *version == snapshot.version);
            let since = seen.map_or(now.since_boot, |(_, since)| *since);
            let idle = snapshot.record.is_free() && snapshot.record.waiters.is_empty();
            if idle || now.since_boot.saturating_sub(since) > snapshot.record.patience() {
                unwanted.push((name.clone(), snapshot.version.clone()));
            } else {
                self.held.insert(name.clone(), (snapshot.version.clone(), since));
            }
        }
        unwanted
    }
}

/// A record without a readable date is left to people.
fn is_old(snapshot: &Snapshot, wall: Timestamp) -> bool {
    let expiry = snapshot.record.expiry.and_then(|expiry| Timestamp::from_millisecond(expiry.as_millis()).ok());
    expiry.is_some_and(|expiry| wall.duration_since(expiry).unsigned_abs() > DAY && expiry < wall)
}

#[cfg(test)]
mod tests {
    use msync::record::{Beat, Term};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn start() -> Moment {
        Moment { since_boot: HOUR, wall: "2026-11-22T14:00:00Z".parse().unwrap() }
    }

    fn record(text: &str, version: u64, held: bool) -> (LockName, Snapshot) {
        let expiry = Some(msync::clock::Wall::from_millis(start().wall.as_millisecond()));
        let mut record = msync::record::Record { expiry, ttl: Duration::from_secs(31), ..Default::default() };
        if held {
            (record.term, record.beat) = (Term(1), Beat(2));
        }
        let version = Version { uid: "u".into(), number: version };
        (LockName::new(text).unwrap(), Snapshot { version, record })
    }

    #[test]
    fn a_record_free_for_a_day_goes() {
        let mut janitor = Janitor::default();
        let found = [record("x", 5, false)];
        assert!(janitor.unwanted(&found, start().after(23 * HOUR)).is_empty());
        let unwanted = janitor.unwanted(&found, start().after(25 * HOUR));
        assert_eq!(unwanted, [(found[0].0.clone(), found[0].1.version.clone())]);
    }

    #[test]
    fn a_holder_must_also_have_been_seen_to_do_nothing() {
        let mut janitor = Janitor::default();
        let at = |hours| start().after(hours * HOUR);
        assert!(janitor.unwanted(&[record("x", 5, true)], at(25)).is_empty(), "seen for the first time");
        assert!(janitor.unwanted(&[record("x", 6, true)], at(26)).is_empty(), "it has changed");
        assert_eq!(janitor.unwanted(&[record("x", 6, true)], at(27)).len(), 1);
    }

    #[test]
    fn what_has_no_date_is_left_to_people() {
        let mut found = record("x", 5, false);
        found.1.record.expiry = None;
        assert!(Janitor::default().unwanted(&[found], start().after(25 * HOUR)).is_empty());
    }

    #[tokio::test]
    async fn what_was_taken_meanwhile_stays() {
        let store = msync::MemoryStore::new();
        let name = LockName::new("x").unwrap();
        let judged = store.edit(&name, |record| record.renewals = 1).version;
        store.edit(&name, |record| record.term = Term(3));
        remove(&store, vec![(name.clone(), judged)]).await;
        assert!(store.snapshot(&name).is_some());
        let judged = store.snapshot(&name).unwrap().version;
        remove(&store, vec![(name.clone(), judged)]).await;
        assert!(store.snapshot(&name).is_none());
    }
}
