//! Foreign sessions: what is a proof of their death, and what is none (design 4.10, R7 and R8).

use super::*;
use crate::{
    clock::Now,
    protocol::{Foreign, Glance, Step, Verdict},
};

/// The session of another engine.
const S: Term = Term(0x5555);

/// The record of a foreign session.
fn session(beat: u64, ttl: u64, version: u64, wall: i64) -> Snapshot {
    let wall = Wall::from_millis(wall);
    let claim = Claim { term: S, ..rival(1, ttl) };
    let record = Change::Create { claim, beat: Beat(beat), under: Term::NONE, wall }.apply(None).unwrap();
    Snapshot { version: Version { uid: "s".into(), number: version }, record }
}

fn now(millis: u64) -> Now {
    Now { local: Bench::at(millis), wall: Wall::from_millis(1_000_000_000) }
}

fn foreign() -> Foreign {
    Foreign::new(S, 0)
}

/// A foreign session that a read has shown at 100,000.
fn looked_at(watched: bool) -> Foreign {
    let mut foreign = foreign();
    foreign.serve(true, watched);
    assert_eq!(foreign.step(Glance::Tick, now(100_000)).call, Some(Call::Read));
    let step = foreign.step(Glance::Reply(Outcome::Read(Some(session(1, TTL, 5, 0)))), now(100_000));
    assert_eq!((step.call, step.verdict), (None, Verdict::Unknown));
    foreign
}

fn tick(foreign: &mut Foreign, at: u64) -> Step {
    foreign.step(Glance::Tick, now(at))
}

#[test]
fn r7_a_session_is_dead_by_a_read_sent_later_by_its_deletion_and_by_our_own() {
    let absent = Outcome::Read(None);
    let another = Outcome::Read(Some(Snapshot {
        record: Record { term: Term(1), ..session(1, TTL, 5, 0).record },
        ..session(1, TTL, 5, 0)
    }));
    for outcome in [absent, another] {
        let mut foreign = foreign();
        assert_eq!(tick(&mut foreign, 100_000).call, Some(Call::Read));
        let step = foreign.step(Glance::Reply(outcome), now(100_001));
        assert_eq!(step.verdict, Verdict::Dead);
    }
    let mut foreign = looked_at(true);
    assert_eq!(foreign.step(Glance::Deleted(9), now(100_500)).verdict, Verdict::Dead);
    assert_eq!(foreign.step(Glance::Seen(session(2, TTL, 11, 0)), now(100_600)).verdict, Verdict::Dead, "for ever");
    let mut foreign = looked_at(true);
    assert!(matches!(tick(&mut foreign, 100_000 + TTL).call, Some(Call::Delete(_))));
    assert_eq!(foreign.step(Glance::Reply(Outcome::Deleted), now(110_001)).verdict, Verdict::Dead);
}

#[test]
fn r7_that_a_watch_does_not_list_it_is_a_reason_to_read_and_no_proof() {
    let mut foreign = foreign();
    assert_eq!(foreign.step(Glance::Missing, now(100_000)).call, Some(Call::Read));
    let step = foreign.step(Glance::Reply(Outcome::Read(Some(session(1, TTL, 5, 0)))), now(100_001));
    assert_eq!(step.verdict, Verdict::Unknown);
    let step = foreign.step(Glance::Missing, now(100_002));
    assert_eq!((step.call, step.verdict), (Some(Call::Read), Verdict::Unknown));
}

#[test]
fn r8_it_is_killed_when_its_beat_has_stood_still_for_its_own_ttl_and_a_random_part() {
    let mut foreign = looked_at(true);
    foreign.step(Glance::Seen(session(2, TTL, 6, 0)), now(105_000));
    assert_eq!(tick(&mut foreign, 114_999).call, None);
    let step = tick(&mut foreign, 115_000);
    assert_eq!((step.call, step.verdict), (Some(Call::Delete(Version { uid: "s".into(), number: 6 })), Verdict::Due));
    let mut late = Foreign::new(S, 999);
    late.serve(true, true);
    tick(&mut late, 100_000);
    late.step(Glance::Reply(Outcome::Read(Some(session(1, 20_000, 5, 0)))), now(100_000));
    assert_eq!(tick(&mut late, 120_599).call, None, "3 % of 20 s");
    assert!(tick(&mut late, 120_600).call.is_some());
}

#[test]
fn r8_that_it_stood_still_is_not_its_death_and_a_refusal_means_to_read() {
    let mut foreign = looked_at(true);
    let step = tick(&mut foreign, 100_000 + TTL);
    assert_eq!(step.verdict, Verdict::Due);
    let step = foreign.step(Glance::Reply(Outcome::Refused(Refused::Mismatch)), now(110_001));
    assert_eq!((step.call, step.verdict), (Some(Call::Read), Verdict::Unknown));
    let step = foreign.step(Glance::Reply(Outcome::Read(Some(session(2, TTL, 6, 0)))), now(110_002));
    assert_eq!((step.call, step.verdict), (None, Verdict::Alive));
}

#[test]
fn r8_who_does_not_watch_reads_first() {
    let mut foreign = looked_at(false);
    assert_eq!(tick(&mut foreign, 100_000 + TTL).call, Some(Call::Read));
    let step = foreign.step(Glance::Reply(Outcome::Read(Some(session(1, TTL, 5, 0)))), now(110_001));
    assert!(matches!(step.call, Some(Call::Delete(_))));
}

#[test]
fn r8_where_it_may_not_be_killed_a_read_sent_after_its_time_shows_its_death() {
    for (beat, verdict) in [(1, Verdict::Dead), (2, Verdict::Alive)] {
        let mut foreign = looked_at(true);
        tick(&mut foreign, 100_000 + TTL);
        let step = foreign.step(Glance::Reply(Outcome::Denied), now(110_001));
        assert_eq!((step.call, step.verdict), (Some(Call::Read), Verdict::Due));
        let found = session(beat, TTL, 4 + beat, 0);
        assert_eq!(foreign.step(Glance::Reply(Outcome::Read(Some(found))), now(110_002)).verdict, verdict);
    }
}

#[test]
fn r8_what_may_not_be_killed_is_not_dead_before_its_time() {
    let mut foreign = looked_at(true);
    tick(&mut foreign, 100_000 + TTL);
    foreign.step(Glance::Reply(Outcome::Denied), now(110_001));
    foreign.step(Glance::Reply(Outcome::Read(Some(session(2, TTL, 6, 0)))), now(110_002));
    assert_eq!(foreign.step(Glance::Missing, now(110_003)).call, Some(Call::Read));
    let step = foreign.step(Glance::Reply(Outcome::Read(Some(session(2, TTL, 6, 0)))), now(110_004));
    assert_eq!(step.verdict, Verdict::Alive);
}

#[test]
fn r7_a_session_that_nobody_asks_for_costs_no_call() {
    let mut foreign = looked_at(true);
    foreign.serve(false, false);
    let step = tick(&mut foreign, 100_000 + 3 * TTL);
    assert_eq!((step.call, step.wake), (None, None));
    foreign.serve(true, false);
    assert_eq!(tick(&mut foreign, 100_000 + 3 * TTL).call, Some(Call::Read));
}

#[test]
fn looks_that_fail_are_repeated_ever_later_and_not_by_all_at_once() {
    let pauses = |random| {
        let mut foreign = Foreign::new(S, random);
        foreign.serve(true, true);
        let (mut at, mut pauses) = (100_000, Vec::new());
        for _ in 0..10 {
            assert_eq!(tick(&mut foreign, at).call, Some(Call::Read));
            let step = foreign.step(Glance::Reply(Outcome::Unknown), now(at));
            let pause = step.wake.unwrap().since(Bench::at(at)).as_millis();
            at += u64::try_from(pause).unwrap() + 1;
            pauses.push(pause);
        }
        pauses
    };
    let (early, late) = (pauses(0), pauses(999));
    assert_eq!((early[0], *early.last().unwrap()), (100, 2_500));
    assert!(early.windows(2).chain(late.windows(2)).all(|pair| pair[0] <= pair[1]), "{early:?} {late:?}");
    for (early, late) in early.iter().zip(&late) {
        assert!(early * 19 / 10 < *late && *late <= early * 2, "{early} and {late}");
    }
}

#[test]
fn a_look_is_repeated_when_the_server_asks_for_it_within_a_minute() {
    for (asked, pause) in [(20, 20), (3_600, 60)] {
        let mut foreign = foreign();
        foreign.serve(true, true);
        tick(&mut foreign, 100_000);
        let busy = Outcome::Busy(Some(Duration::from_secs(asked)));
        let wake = foreign.step(Glance::Reply(busy), now(100_000)).wake.unwrap();
        assert_eq!(wake, Bench::at(100_000 + pause * 1_000));
    }
}
