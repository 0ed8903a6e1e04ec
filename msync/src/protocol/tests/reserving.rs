//! What `at_least` keeps beyond its process: a reservation, which nobody believes in (promise S8).

use super::*;
use crate::record::WALL_SKEW;

const HOUR: u64 = 3_600_000;
const SKEW: u64 = 2_000;

/// A bench whose lock an engine that is gone has reserved until so many milliseconds from now, by the wall clock.
fn reserved(left: u64) -> Bench {
    let mut bench = Bench::held(TTL);
    let (record, until) = (bench.record().clone(), bench.wall() + ms(left));
    let (term, previous, engine) = (record.term, record.beat, record.engine);
    bench.other(&Change::Reserve { term, previous, beat: Beat(2), engine, ttl: ms(HOUR), until });
    bench
}

impl Bench {
    /// Both clocks go on.
    fn go(&mut self, millis: u64) {
        for _ in 0..millis / 100 {
            self.wall += 100;
            self.pass(100);
        }
    }
}

#[test]
fn s8_a_shutdown_leaves_a_reservation_until_the_date_that_at_least_ends() {
    let mut bench = Bench::new();
    bench.want(Want { at_least: ms(25_000), ..want(1) });
    bench.settle();
    bench.release(1);
    bench.go(5_000);
    bench.step(Event::ShutDown);
    bench.settle();
    assert!(bench.record().is_reserved() && bench.record().engine.owner() == "me");
    assert_eq!(bench.record().expiry, Some(bench.wall() + ms(20_000)));
    assert_eq!(bench.record().ttl, ms(20_407), "what remains x 1.0203, for who goes by it");
    assert!(bench.keeper.is_idle(), "and nothing else is done");
}

#[test]
fn s8_a_reservation_may_last_for_a_year() {
    for least in [ms(366 * 24 * HOUR), Duration::MAX] {
        let mut bench = Bench::new();
        bench.want(Want { at_least: least, ..want(1) });
        bench.settle();
        bench.release(1);
        bench.step(Event::ShutDown);
        bench.settle();
        let until = bench.record().expiry.expect("a date");
        assert!(until >= bench.wall() + ms(366 * 24 * HOUR) && until <= Wall::LATEST, "{until}");
        let mut waiter = Bench { stored: bench.stored.clone(), version: bench.version, bits: 500, ..Bench::new() };
        waiter.want(want(1));
        waiter.settle();
        for _ in 0..48 {
            waiter.pass(HOUR);
        }
        assert!(!waiter.has(1), "its ttl of a day is not its end");
    }
}

#[test]
fn a_reservation_that_is_over_is_claimed_at_once() {
    for ask in [want(1), attempt(1), campaign(1), Want { patience: Patience::Poll { create_only: false }, ..want(1) }] {
        let mut bench = reserved(1_000);
        bench.wall += 1_000 + i64::try_from(WALL_SKEW.as_millis()).unwrap();
        bench.want(ask.clone());
        bench.settle();
        assert!(bench.has(1), "{ask:?}");
    }
}

#[test]
fn s8_a_reservation_is_not_claimed_before_its_date_and_the_skew_of_clocks() {
    let mut bench = reserved(1_000);
    bench.wall += 999 + i64::try_from(SKEW).unwrap();
    bench.want(attempt(1));
    bench.settle();
    assert!(bench.told(&Notice::Busy(Ticket(1))), "and nobody who tries waits for it");
}

#[test]
fn a_waiter_has_a_reservation_when_its_date_has_come() {
    let mut bench = reserved(100_000);
    bench.want(want(1));
    bench.settle();
    bench.go(100_000 + SKEW - 100);
    assert!(!bench.has(1));
    bench.go(100);
    assert!(bench.has(1));
}

/// Neighbours in the queue are a step apart, not three per cent of the rest.
#[test]
fn the_second_in_the_queue_of_a_reservation_waits_a_step_longer() {
    let mut bench = reserved(100_000);
    bench.other(&Change::Enqueue { claim: rival(5, TTL), wall: Wall::default() });
    bench.want(want(1));
    bench.settle();
    bench.go(100_000 + SKEW + 200);
    assert!(!bench.has(1));
    bench.go(300);
    assert!(bench.has(1));
}

/// Then what was always true is: who has seen no change for its ttl may claim.
#[test]
fn a_reservation_without_a_legible_date_ends_with_its_ttl() {
    let mut bench = reserved(1_000);
    let record = Record { expiry: None, ttl: ms(20_000), ..bench.record().clone() };
    bench.store(record);
    bench.want(want(1));
    bench.settle();
    bench.pass(19_900);
    assert!(!bench.has(1));
    bench.pass(100);
    assert!(bench.has(1));
}

/// The writer's wall clock was wrong by a day.
#[test]
fn a_reservation_with_an_absurd_date_ends_with_its_ttl() {
    let mut bench = reserved(24 * HOUR);
    let record = Record { ttl: ms(20_000), ..bench.record().clone() };
    bench.store(record);
    bench.want(want(1));
    bench.settle();
    bench.pass(20_000);
    assert!(bench.has(1));
}

#[test]
fn a_reservation_whose_answer_is_lost_is_found_by_a_read() {
    let mut bench = Bench::new();
    bench.want(Want { at_least: ms(25_000), ..want(1) });
    bench.settle();
    bench.release(1);
    bench.step(Event::ShutDown);
    bench.land();
    bench.step(Event::Disowned(bench.version));
    bench.lose();
    bench.pass(2_000);
    assert!(bench.keeper.is_idle() && bench.record().is_reserved());
}

/// A hold that lives is no reservation, whatever its date says.
#[test]
fn the_wall_clock_ends_no_hold() {
    let mut bench = Bench::held(TTL);
    bench.wall += i64::try_from(24 * HOUR).unwrap();
    bench.want(want(1));
    bench.settle();
    bench.pass(TTL - 100);
    assert!(!bench.has(1));
}
