//! What the simulation found, told in short.

use super::*;

#[test]
fn a_waiter_with_a_write_of_unknown_fate_is_woken() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.lose();
    bench.seen();
    bench.pass(2_000);
    assert_eq!(bench.record().waiters.len(), 1);
    assert!(bench.last.wake.is_some(), "it must look after a ttl");
}

#[test]
fn an_acquisition_that_begins_during_a_pause_is_woken() {
    let mut bench = Bench::new();
    bench.want(want(1));
    bench.step(Event::Cancel(Ticket(1)));
    bench.reply(Outcome::Busy(Some(ms(1_274))));
    bench.want(want(2));
    assert_eq!(bench.call, None);
    assert!(bench.last.wake.is_some());
    bench.pass(2_000);
    assert!(bench.has(2));
}

#[test]
fn a_dismissed_try_leaves_no_write_unlooked_after() {
    let mut bench = Bench::new();
    bench.want(attempt(1));
    bench.land();
    bench.lose();
    while !bench.told(&Notice::Failed(Ticket(1))) {
        assert!(bench.now < 200_000, "it goes on for ever");
        bench.sleep(1_666);
        if bench.call.is_some() {
            bench.lose();
        }
        bench.sleep(1_666);
        bench.step(Event::Tick);
    }
    bench.settle();
    bench.pass(5_000);
    assert_eq!(bench.stored, None, "the create had landed");
    assert!(bench.keeper.is_idle());
}

#[test]
fn a_hold_won_for_a_task_of_another_ttl_is_renewed_at_once() {
    let mut bench = Bench::new();
    bench.want(Want { timing: timing(2_000), ..want(1) });
    bench.want(Want { timing: timing(20_000), ..want(2) });
    let answer = bench.land();
    bench.step(Event::Cancel(Ticket(1)));
    bench.reply(answer);
    bench.settle();
    bench.pass(5_000);
    assert!(bench.has(2), "{:?}", bench.notices);
}

#[test]
fn two_deliveries_of_every_write_change_nothing() {
    let mut bench = Bench::holding();
    bench.sleep(3_400);
    bench.step(Event::Tick);
    bench.land();
    let second = bench.land();
    assert_eq!(second, Outcome::Refused(Refused::Mismatch));
    bench.reply(second);
    bench.settle();
    assert_eq!(bench.until(), 103_400 + TTL - 1_000);
}
