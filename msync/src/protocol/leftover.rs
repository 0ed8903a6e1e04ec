//! Which records nobody needs any more: what crashed holders and ended elections left behind.
//!
//! Nothing decides by a date alone: a holder counts as dead when its record was seen unchanged for its ttl by the local clock,
//! which is the rule for taking over, and the deletion is of the very state that was seen.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{
    LockName,
    clock::{Moment, Now, Wall},
    record::{Entry, Record, WALL_SKEW},
    store::{Snapshot, Version},
};

/// Between two looks at all sessions by one of their engines, about, where there are few: what is left costs a place, and no more.
const SELDOM: Duration = Duration::from_secs(12 * 3600);
/// So much longer for each session that there is: all their engines together look once in a minute at the most.
const SHARE: Duration = Duration::from_secs(60);
/// What a waiter that is alive may need beyond two ttls until it has taken a dead holder's lock over (promise L1).
const STAGGER: Duration = Duration::from_secs(20);

/// Which state of each undecided record was seen, since when.
pub(crate) type Sights = HashMap<LockName, (Version, Moment)>;

/// What one look at all records says.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Those that may go, and the state that they were seen in.
    pub(crate) unwanted: Vec<(LockName, Version)>,
    /// Those that are to be seen again, and when they would be unwanted.
    pub(crate) undecided: Vec<(LockName, Moment)>,
}

/// Says which of the records may go, and remembers since when the others look as they do.
pub(crate) fn judge(sights: &mut Sights, found: &[(LockName, Snapshot)], older_than: Duration, now: Now) -> Judged {
    let before = std::mem::take(sights);
    let mut judged = Judged::default();
    let sessions: HashSet<_> = found.iter().map(|(name, _)| name).filter(|name| name.is_session()).collect();
    for (name, Snapshot { version, record }) in found {
        // A Lease that others hold is theirs, alive or dead.
        if record.engine.is_foreign() || !is_old(record, older_than, now) || lives_by_session(record, &sessions) {
            continue;
        }
        let seen = before.get(name).filter(|(seen, _)| seen == version);
        let since = seen.map_or(now.local, |(_, since)| *since);
        let dead_at = since + silence_of_the_dead(record, now.wall);
        if now.local >= dead_at {
            judged.unwanted.push((name.clone(), version.clone()));
        } else {
            judged.undecided.push((name.clone(), dead_at));
        }
        // In a dry run it stays, and is still unwanted in the next round.
        sights.insert(name.clone(), (version.clone(), since));
    }
    judged
}

/// Says whether its session is there. That it is not counts only when it is seen once more: a list that was sent after the
/// session was first named shows its end.
fn lives_by_session(record: &Record, sessions: &HashSet<&LockName>) -> bool {
    !record.under.is_none() && sessions.contains(&LockName::session(record.under))
}

fn is_old(record: &Record, older_than: Duration, now: Now) -> bool {
    // Under a session it has no date of its own but that of its beginning.
    let date = record.expiry.or(record.acquired.filter(|_| !record.under.is_none()));
    let age = date.map(|expiry| now.wall.as_millis().saturating_sub(expiry.as_millis()));
    age.is_some_and(|age| u128::try_from(age).is_ok_and(|age| age >= older_than.as_millis()))
}

/// How long a record with this content stays unchanged only if nobody of those in it is alive.
///
/// A holder renews within its ttl. A waiter takes a dead holder's lock over within two ttls (promise L1), its own being of
/// no importance; but how long it tries before it looks again is its own, so both count. What `at_least` has kept for nobody
/// ends with its date and the skew of clocks, and may have a ttl of a day.
fn silence_of_the_dead(record: &Record, wall: Wall) -> Duration {
    let over = record.is_reserved() && record.expiry.is_some_and(|until| wall > until + WALL_SKEW);
    let own = if record.is_free() || over { Duration::ZERO } else { record.patience() };
    let waiting = record.waiters.iter().filter_map(Entry::claim).map(|claim| claim.ttl).max();
    match waiting {
        Some(ttl) => 2 * own.max(ttl) + STAGGER,
        // Nobody reads what is illegible.
        None => own,
    }
}

/// Says how long an engine looks at all sessions no more, where there are so many: half to one and a half of the mean.
pub(crate) fn pause(sessions: usize, random: u64) -> Duration {
    let share = SHARE.saturating_mul(u32::try_from(sessions).unwrap_or(u32::MAX));
    let mean = SELDOM.max(share);
    let span = u64::try_from(mean.as_nanos()).unwrap_or(u64::MAX);
    mean / 2 + Duration::from_nanos(random % span)
}

#[cfg(test)]
mod tests;
