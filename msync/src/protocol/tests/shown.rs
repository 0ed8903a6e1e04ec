//! What a keeper shows of itself to its driver.

use super::*;

#[test]
fn a_new_keeper_is_idle() {
    let bench = Bench::new();
    assert!(bench.keeper.is_idle());
    assert_eq!((bench.keeper.waiting(), bench.keeper.hold(), bench.keeper.urgency()), (0, None, None));
}

#[test]
fn a_keeper_that_holds_is_not_idle_and_shows_its_hold() {
    let bench = Bench::holding();
    assert!(bench.call.is_none() && !bench.keeper.is_idle());
    assert_eq!(bench.keeper.hold().map(|hold| hold.term), Some(bench.record().term));
    assert_eq!(bench.keeper.urgency(), Some(Bench::at(bench.until())));
}

#[test]
fn a_keeper_that_waits_for_the_end_of_a_pause_is_not_idle() {
    let mut bench = Bench::new();
    bench.want(want(1));
    bench.step(Event::Cancel(Ticket(1)));
    bench.reply(Outcome::Busy(None));
    assert!(bench.keeper.is_idle());
    bench.want(want(2));
    assert!(bench.call.is_none() && !bench.keeper.is_idle());
    bench.want(want(3));
    assert_eq!(bench.keeper.waiting(), 2);
}

#[test]
fn a_keeper_that_gives_back_is_not_idle() {
    let mut bench = Bench::holding();
    bench.release(1);
    assert!(bench.keeper.hold().is_none() && !bench.keeper.is_idle());
    bench.reply(Outcome::Busy(None));
    assert!(bench.call.is_none() && !bench.keeper.is_idle());
    bench.pass(1_000);
    assert!(bench.keeper.is_idle());
}
