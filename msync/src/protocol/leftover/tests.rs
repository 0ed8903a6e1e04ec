//! Which records may go, on hand-made ones.

use super::*;
use crate::record::{Beat, Claim, EngineId, Term};

const HOUR: Duration = Duration::from_secs(3600);
const TTL: Duration = Duration::from_secs(30);

fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

fn after(time: Duration) -> Now {
    Now { local: Moment::from_nanos(7) + time, wall: Wall::from_millis(1_700_000_000_000) + time }
}

fn waiter() -> Entry {
    Claim { engine: EngineId::new("w", 9), term: Term(9), ttl: TTL, instant: true }.entry(Wall::default())
}

/// A record whose hold ended, by its date, at the start.
fn record(held: bool, waiters: Vec<Entry>) -> Record {
    let (term, beat) = if held { (Term(1), Beat(2)) } else { (Term::NONE, Beat::NONE) };
    Record { term, beat, ttl: TTL, expiry: Some(after(Duration::ZERO).wall), waiters, ..Record::default() }
}

fn seen(version: u64, record: Record) -> Vec<(LockName, Snapshot)> {
    vec![(name("x"), Snapshot { version: Version { uid: "u".into(), number: version }, record })]
}

fn goes(sights: &mut Sights, found: &[(LockName, Snapshot)], time: Duration) -> bool {
    !judge(sights, found, 24 * HOUR, after(time)).unwanted.is_empty()
}

#[test]
fn a_free_record_goes_when_it_is_old() {
    let (mut sights, found) = (Sights::new(), seen(5, record(false, vec![])));
    assert!(!goes(&mut sights, &found, 23 * HOUR));
    assert!(goes(&mut sights, &found, 24 * HOUR));
}

#[test]
fn a_holder_must_have_been_seen_to_do_nothing_for_its_ttl() {
    let (mut sights, found) = (Sights::new(), seen(5, record(true, vec![])));
    assert!(!goes(&mut sights, &found, 25 * HOUR), "however old its date: its clock may be wrong");
    assert!(!goes(&mut sights, &found, 25 * HOUR + TTL / 30 * 29));
    assert!(goes(&mut sights, &found, 25 * HOUR + TTL));
}

#[test]
fn a_reservation_goes_when_its_date_is_old_however_long_its_ttl() {
    let reserved = Record { engine: EngineId::new("w", 1).reserved(), ttl: 24 * HOUR, ..record(true, vec![]) };
    assert!(reserved.is_reserved());
    let found = seen(5, reserved);
    assert!(!goes(&mut Sights::new(), &found, 23 * HOUR));
    assert!(goes(&mut Sights::new(), &found, 24 * HOUR));
    let kept = |time| !judge(&mut Sights::new(), &found, Duration::ZERO, after(time)).unwanted.is_empty();
    assert!(!kept(Duration::ZERO) && !kept(WALL_SKEW), "another clock may say that it is not over");
    assert!(kept(WALL_SKEW + Duration::from_millis(1)));
}

#[test]
fn any_change_is_a_sign_of_life() {
    let mut sights = Sights::new();
    assert!(!goes(&mut sights, &seen(5, record(true, vec![])), 25 * HOUR));
    assert!(!goes(&mut sights, &seen(6, record(true, vec![])), 26 * HOUR));
    assert!(goes(&mut sights, &seen(6, record(true, vec![])), 27 * HOUR));
}

#[test]
fn somebody_who_waits_gets_the_time_to_take_over() {
    let (mut sights, found) = (Sights::new(), seen(5, record(true, vec![waiter()])));
    assert!(!goes(&mut sights, &found, 25 * HOUR));
    assert!(!goes(&mut sights, &found, 25 * HOUR + 2 * TTL));
    assert!(goes(&mut sights, &found, 25 * HOUR + 2 * TTL + STAGGER));
    let found = seen(6, record(false, vec![waiter()]));
    assert!(!goes(&mut sights, &found, 26 * HOUR), "free, and somebody waits");
}

#[test]
fn what_has_no_date_is_left_to_people() {
    let undated = Record { expiry: None, ..record(false, vec![]) };
    assert!(!goes(&mut Sights::new(), &seen(5, undated), 1000 * HOUR));
}

#[test]
fn a_lock_under_a_session_goes_when_that_is_missed_twice_and_stays_while_it_is_there() {
    let lock = Record { under: Term(7), expiry: None, acquired: record(true, vec![]).expiry, ..record(true, vec![]) };
    let alone = seen(5, lock);
    let mut both = seen(6, record(true, vec![]));
    both[0].0 = LockName::session(Term(7));
    both.extend(alone.clone());
    let mut sights = Sights::new();
    let goes_in = |sights: &mut Sights, found: &[(LockName, Snapshot)], time| {
        judge(sights, found, 24 * HOUR, after(time)).unwanted.iter().any(|(gone, _)| *gone == name("x"))
    };
    for hours in 25..28 {
        assert!(!goes_in(&mut sights, &both, hours * HOUR), "its session is there");
    }
    assert!(!goes_in(&mut sights, &alone, 28 * HOUR), "looks once more");
    assert!(goes_in(&mut sights, &alone, 28 * HOUR + TTL));
}

#[test]
fn all_engines_together_look_at_their_sessions_once_in_a_minute_at_the_most() {
    for sessions in [0, 1, 10, 719, 720, 10_000, usize::MAX] {
        let mean = SELDOM.max(SHARE.saturating_mul(u32::try_from(sessions).unwrap_or(u32::MAX)));
        assert!(sessions > 100_000 || mean.as_secs() / 60 >= sessions as u64);
        for random in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let pause = pause(sessions, random);
            assert!(mean / 2 <= pause && pause <= mean * 3 / 2, "{sessions} {random}: {pause:?}");
        }
    }
}
