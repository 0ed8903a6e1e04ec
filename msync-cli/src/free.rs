//! `msync release` and `msync hand-over`: what a holder would write, written for one that does not.
//!
//! Only changes of the protocol, with its conditions: the lock goes to the first in the queue, or to the one named there,
//! and only from the term that was shown. A holder that is alive learns of it as it learns of any loss; it may go on for as
//! long as that takes, which is why people are asked.

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

use msync::{
    LockName,
    clock::{BootClock, Clock, Wall},
    unstable::{
        record::{Beat, Change, Entry, Record, Refused, Term},
        store::{Fault, Snapshot, Version},
    },
};

use crate::{
    args::{Cluster, HandOver, Release},
    connect::Connection,
    exit::{FAILED, FORBIDDEN, Failure, NOT_INSTALLED, UNAVAILABLE, USAGE},
    look,
    row::{Row, State},
};

/// How often a write may meet another before this gives up.
const TRIES: u32 = 20;

/// One write, or that none is needed.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Apply(Change),
    Delete(Version),
}

pub(crate) async fn release(cluster: &Cluster, args: &Release) -> Result<(), Failure> {
    let connection = Connection::open(cluster).await?;
    let (row, record) = shown(&connection, &args.name).await?;
    let Some(term) = args.term else {
        return Err(Failure::usage(format_args!(
            "say which hold is meant, so that no other is ended: msync release {} --term {}",
            args.name, record.term
        )));
    };
    check(&row, &record, term)?;
    let next = row.queue.first().map_or("nobody waits for it".to_owned(), |place| format!("{} gets it", place.owner));
    confirm(&row, &next, args.yes)?;
    tell(&args.name, &end(&connection, &args.name, term, None).await?);
    Ok(())
}

pub(crate) async fn hand_over(cluster: &Cluster, args: &HandOver) -> Result<(), Failure> {
    let connection = Connection::open(cluster).await?;
    let (row, record) = shown(&connection, &args.name).await?;
    let term = args.term.unwrap_or(record.term);
    check(&row, &record, term)?;
    successor(&record, &args.owner, &args.name)?;
    confirm(&row, &format!("{} gets it", args.owner), args.yes)?;
    tell(&args.name, &end(&connection, &args.name, term, Some(&args.owner)).await?);
    Ok(())
}

async fn shown(connection: &Connection, name: &LockName) -> Result<(Row, Record), Failure> {
    let lock = look::read_one(connection, name).await?;
    let now = look::server_time(&connection.client).await;
    look::row(&lock, now).ok_or_else(|| {
        Failure::new(FAILED, format_args!("lock {name} cannot be read; see it with `kubectl get lock {name} -o yaml`"))
    })
}

fn check(row: &Row, record: &Record, term: Term) -> Result<(), Failure> {
    if record.is_free() {
        return Err(Failure::new(FAILED, format_args!("nobody has lock {}; nothing is to be done", row.name)));
    }
    if record.term == term {
        return Ok(());
    }
    let holder = row.holder.as_deref().unwrap_or_default();
    Err(Failure::new(
        FAILED,
        format_args!(
            "lock {} has changed hands: {holder} holds it under term {}; look again with `msync get {}`",
            row.name, record.term, row.name
        ),
    ))
}

fn successor(record: &Record, owner: &str, name: &LockName) -> Result<usize, Failure> {
    record.place_of(owner).ok_or_else(|| {
        let waiting: Vec<_> =
            record.waiters.iter().filter_map(Entry::claim).map(|claim| claim.engine.owner().to_owned()).collect();
        let waiting = if waiting.is_empty() { "nobody does".to_owned() } else { waiting.join(", ") };
        Failure::new(FAILED, format_args!("{owner} does not wait for lock {name}; who does: {waiting}"))
    })
}

/// Asks, where somebody can answer.
fn confirm(row: &Row, next: &str, yes: bool) -> Result<(), Failure> {
    let holder = row.holder.as_deref().unwrap_or_default();
    let (name, seconds) = (&row.name, row.silent_seconds.unwrap_or_default());
    let risk = match row.state {
        State::Dead => format!("it has shown no life for {seconds} s"),
        _ => format!(
            "it may be at work, and goes on until it notices, for {} s at the most",
            row.ttl_milliseconds.div_ceil(1000)
        ),
    };
    if yes {
        return Ok(());
    }
    if !stdin().is_terminal() {
        return Err(Failure::new(
            USAGE,
            format_args!("{holder} has lock {name}: {risk}; to go ahead without being asked, add --yes"),
        ));
    }
    eprint!("{holder} has lock {name}: {risk}.\nTake it away? ({next}) [y/N] ");
    let _ = stderr().flush();
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(FAILED, "nothing was changed"))
}

/// Ends a term, and returns what is left. Step by step: illegible entries go first, as they would by the holder's own hand.
async fn end(connection: &Connection, name: &LockName, term: Term, owner: Option<&str>) -> Result<Record, Failure> {
    let store = connection.store();
    for _ in 0..TRIES {
        let found = store.read(name).await.map_err(|fault| failed(&fault, name))?;
        let Some(snapshot) = found.filter(|snapshot| snapshot.record.term == term) else {
            return Err(Failure::new(
                FAILED,
                format_args!("lock {name}: the hold under term {term} has ended by itself"),
            ));
        };
        if let Some(owner) = owner {
            successor(&snapshot.record, owner, name)?;
        }
        let beat = Beat::random(getrandom::u64().map_err(|error| Failure::new(FAILED, error))?);
        match step(&snapshot, owner, beat, BootClock.wall()) {
            Step::Apply(change) => match store.apply(name, &change).await {
                Ok(left) if left.record.term != term => return Ok(left.record),
                Ok(_) | Err(Fault::Refused(_) | Fault::Busy(_)) => {}
                Err(fault) => return Err(failed(&fault, name)),
            },
            Step::Delete(version) => match store.delete(name, &version).await {
                Ok(()) => return Ok(Record::default()),
                Err(Fault::Refused(_) | Fault::Busy(_)) => {}
                Err(fault) => return Err(failed(&fault, name)),
            },
        }
    }
    Err(Failure::new(UNAVAILABLE, format_args!("lock {name} is written so often that no write got through; try again")))
}

/// Says what the holder's own release would write now (design 4.4).
fn step(snapshot: &Snapshot, owner: Option<&str>, beat: Beat, wall: Wall) -> Step {
    let record = &snapshot.record;
    let index = owner.and_then(|owner| record.place_of(owner)).unwrap_or_default();
    match record.hand_on(index, || beat, wall) {
        Some(change) => Step::Apply(change),
        // Whether its record is to stay is not told by it. A lock's claim is instant, an election's is not.
        None if record.instant => Step::Delete(snapshot.version.clone()),
        None => Step::Apply(Change::Free { term: record.term, wall }),
    }
}

fn tell(name: &LockName, left: &Record) {
    match left.engine.owner() {
        "" => eprintln!("msync: lock {name} is free"),
        owner => eprintln!("msync: lock {name} was handed to {owner}, term {}", left.term),
    }
}

fn failed(fault: &Fault, name: &LockName) -> Failure {
    let (code, why) = match fault {
        Fault::Fatal(msync::unstable::store::Fatal::Forbidden(why)) => (FORBIDDEN, why.clone()),
        Fault::Fatal(msync::unstable::store::Fatal::CrdMissing(_)) => {
            (NOT_INSTALLED, "the Lock resource is not installed".to_owned())
        }
        Fault::Fatal(other) => (FAILED, other.to_string()),
        Fault::Unknown(source) => (UNAVAILABLE, look::chain(&**source)),
        Fault::Refused(Refused::Full) => (FAILED, "its queue is full".to_owned()),
        Fault::Refused(refused) => (FAILED, format!("{refused:?}")),
        Fault::Busy(_) => (UNAVAILABLE, "the API server is overloaded".to_owned()),
    };
    Failure::new(code, format_args!("lock {name}: {why}; see `msync doctor`"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use msync::unstable::record::{Claim, EngineId};

    use super::*;

    fn entry(owner: &str, term: u64) -> Entry {
        Claim { engine: EngineId::new(owner, term), term: Term(term), ttl: Duration::from_secs(15), instant: true }
            .entry(Wall::default())
    }

    fn held(instant: bool, waiters: Vec<Entry>) -> Snapshot {
        let record = Record { term: Term(1), beat: Beat(1), instant, waiters, ..Record::default() };
        Snapshot { version: Version { uid: "u".into(), number: 7 }, record }
    }

    /// The owner that holds after the step; "" when free, `None` when nothing was granted.
    fn after(snapshot: &Snapshot, owner: Option<&str>) -> Option<String> {
        match step(snapshot, owner, Beat(2), Wall::default()) {
            Step::Delete(version) => (version == snapshot.version).then(String::new),
            Step::Apply(change) => {
                let left = change.apply(Some(&snapshot.record)).expect("its conditions hold");
                (left.term != Term(1)).then(|| left.engine.owner().to_owned())
            }
        }
    }

    #[test]
    fn the_first_in_the_queue_gets_it() {
        assert_eq!(after(&held(true, vec![entry("a", 2), entry("b", 3)]), None).as_deref(), Some("a"));
    }

    #[test]
    fn the_one_who_is_named_gets_it_before_the_first() {
        assert_eq!(after(&held(true, vec![entry("a", 2), entry("b", 3)]), Some("b")).as_deref(), Some("b"));
    }

    #[test]
    fn doubles_of_the_successor_leave_with_it() {
        let snapshot = held(true, vec![entry("a", 2), entry("b", 3), entry("a", 2)]);
        let Step::Apply(change) = step(&snapshot, None, Beat(2), Wall::default()) else { panic!("a grant") };
        assert_eq!(change.apply(Some(&snapshot.record)).unwrap().waiters, [entry("b", 3)]);
    }

    #[test]
    fn an_illegible_entry_leaves_before_anything_is_granted() {
        let snapshot = held(true, vec![Entry::from_text("scribble"), entry("a", 2)]);
        assert_eq!(after(&snapshot, None), None);
    }

    #[test]
    fn without_a_queue_a_lock_goes_and_an_election_is_freed() {
        assert_eq!(after(&held(true, vec![]), None).as_deref(), Some(""));
        let Step::Apply(Change::Free { term, .. }) = step(&held(false, vec![]), None, Beat(2), Wall::default()) else {
            panic!("freed")
        };
        assert_eq!(term, Term(1));
    }

    #[test]
    fn a_term_that_was_not_shown_is_left_alone() {
        let snapshot = held(true, vec![entry("a", 2)]);
        let Step::Apply(change) = step(&snapshot, None, Beat(2), Wall::default()) else { panic!("a grant") };
        let other = Record { term: Term(5), ..snapshot.record };
        assert!(change.apply(Some(&other)).is_err(), "the server decides, whatever happened since the look");
    }
}
