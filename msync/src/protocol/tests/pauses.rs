//! How long a keeper waits before the next call, after failures and without, and when it gives up (design 4.6).

use super::*;

#[test]
fn pauses_double_with_every_failure_up_to_two_seconds_or_the_time_out_of_a_call() {
    let mut bench = Bench::new();
    bench.want(want(1));
    for most in [100, 200, 400, 800, 1_600, 2_000, 2_000] {
        bench.reply(Outcome::Busy(None));
        assert_eq!(bench.call, None);
        let pause = bench.wake();
        assert!((most / 2..=most).contains(&pause), "{pause} of {most}");
        assert!(bench.call.is_some());
    }
}

#[test]
fn an_answer_ends_the_pauses() {
    let mut bench = Bench::new();
    bench.want(want(1));
    for _ in 0..5 {
        bench.reply(Outcome::Busy(None));
        bench.wake();
    }
    bench.settle();
    assert!(bench.has(1));
    bench.pass(3_400);
    bench.step(Event::Prolong(Ticket(1)));
    bench.reply(Outcome::Busy(None));
    assert!(bench.wake() <= 100);
}

#[test]
fn the_store_says_how_long_to_wait() {
    let mut bench = Bench::new();
    bench.want(want(1));
    bench.reply(Outcome::Busy(Some(ms(5_000))));
    assert_eq!(bench.wake(), 5_000);
}

#[test]
fn no_pause_takes_more_than_a_third_of_what_a_hold_has_left() {
    let mut bench = Bench::holding();
    bench.step(Event::Prolong(Ticket(1)));
    bench.reply(Outcome::Busy(Some(ms(5_000))));
    assert_eq!(bench.wake(), 3_000, "9,000 are left");
    bench.reply(Outcome::Busy(Some(ms(5_000))));
    assert_eq!(bench.wake(), 2_000, "6,000 are left");
    bench.sleep(3_980);
    bench.reply(Outcome::Busy(Some(ms(5_000))));
    assert_eq!(bench.wake(), 20, "the deadline: 20 are left, but a pause there must be");
    assert_eq!(bench.call, None);
}

#[test]
fn refusals_in_a_row_are_followed_by_pauses_from_the_fourth_on() {
    let mut bench = Bench::holding();
    bench.step(Event::Prolong(Ticket(1)));
    let refuse = |bench: &mut Bench| {
        assert!(matches!(bench.change(), Change::Renew { .. }));
        bench.reply(Outcome::Refused(Refused::Mismatch));
    };
    for _ in 0..3 {
        refuse(&mut bench);
        assert_eq!(bench.call, Some(Call::Read), "at once");
        bench.serve();
    }
    for most in [100, 200, 400, 800] {
        refuse(&mut bench);
        assert_eq!(bench.call, None);
        let pause = bench.wake();
        assert!((most / 2..=most).contains(&pause), "{pause} of {most}");
        bench.serve();
    }
    bench.settle();
    bench.step(Event::Prolong(Ticket(1)));
    refuse(&mut bench);
    assert!(bench.call.is_some(), "a write that was applied ends the row");
}

#[test]
fn after_a_write_of_unknown_fate_the_record_is_read() {
    let mut bench = Bench::waiting(want(1));
    bench.sleep(TTL);
    bench.step(Event::Tick);
    assert!(matches!(bench.change(), Change::Claim { .. }));
    bench.lose();
    assert_eq!(bench.keeper.view().record(), None);
    bench.wake();
    assert_eq!(bench.call, Some(Call::Read));
}

#[test]
fn what_was_seen_during_a_write_of_unknown_fate_stays_known() {
    let mut bench = Bench::waiting(want(1));
    bench.sleep(TTL);
    bench.step(Event::Tick);
    assert!(matches!(bench.change(), Change::Claim { .. }));
    bench.rival_joins(3);
    bench.lose();
    assert_eq!(bench.keeper.view().record(), Some(bench.record()));
}

#[test]
fn a_store_that_refuses_for_good_fails_who_waits() {
    let mut bench = Bench::new();
    bench.want(want(1));
    bench.want(want(2));
    bench.reply(Outcome::Fatal);
    assert!(bench.told(&Notice::Failed(Ticket(1))) && bench.told(&Notice::Failed(Ticket(2))));
    assert!(bench.keeper.is_idle());
}

#[test]
fn a_store_that_refuses_for_good_ends_no_hold() {
    let mut bench = Bench::holding();
    bench.want(want(2));
    bench.step(Event::Prolong(Ticket(1)));
    bench.reply(Outcome::Fatal);
    assert!(bench.has(1) && !bench.told(&Notice::Failed(Ticket(2))));
    bench.wake();
    bench.settle();
    assert_eq!(bench.until(), bench.now + TTL - 1_000);
}

#[test]
fn a_free_lock_is_claimed_again_as_soon_as_the_pause_is_over() {
    let mut bench = Bench::held(TTL);
    bench.other(&Change::Free { term: Term(1), wall: bench.wall() });
    bench.want(want(1));
    bench.serve();
    bench.serve();
    assert!(matches!(bench.change(), Change::Claim { .. }));
    bench.reply(Outcome::Busy(None));
    assert!(bench.wake() <= 100);
    assert!(matches!(bench.change(), Change::Claim { .. }));
}

/// Whatever wakes its keeper otherwise: that may be the word to people, which comes ever more rarely.
#[test]
fn who_comes_during_a_pause_is_served_when_that_is_over() {
    for failures in [1, 3] {
        let mut bench = Bench::new();
        bench.want(want(1));
        for _ in 1..failures {
            bench.lose();
            while bench.call.is_none() {
                bench.wake();
            }
        }
        bench.lose();
        bench.step(Event::Cancel(Ticket(1)));
        bench.want(want(2));
        let mut waited = 0;
        while bench.call.is_none() {
            waited += bench.wake();
        }
        assert!(waited <= 400, "{waited} ms after {failures} failures");
    }
}

#[test]
fn a_try_is_told_of_a_store_that_does_not_answer_after_a_third_of_the_ttl() {
    let mut bench = Bench::new();
    bench.want(attempt(1));
    while !bench.told(&Notice::Failed(Ticket(1))) {
        bench.reply(Outcome::Busy(None));
        bench.wake();
    }
    assert!((103_333..=103_333 + 1_666).contains(&bench.now), "{}", bench.now);
}

#[test]
fn pauses_are_random_and_within_their_half() {
    let pause = |bits: u64| {
        let mut bench = Bench { bits, ..Bench::new() };
        bench.want(want(1));
        bench.reply(Outcome::Busy(None));
        bench.wake()
    };
    let pauses: std::collections::BTreeSet<_> = (0..64).map(|n| pause(n << 56)).collect();
    assert!(pauses.len() > 20 && pauses.iter().all(|pause| (50..=100).contains(pause)), "{pauses:?}");
}

#[test]
fn a_call_that_was_never_sent_is_decided_anew_at_once_and_leaves_nothing_to_look_after() {
    let mut bench = Bench::new();
    bench.want(want(1));
    let first = bench.call.clone();
    bench.sleep(1_666);
    bench.reply(Outcome::Unsent);
    assert!(matches!(bench.change(), Change::Create { .. }), "no look, no pause");
    assert_ne!(bench.call, first, "with a beat and an anchor of its own");
    bench.reply(Outcome::Unsent);
    bench.step(Event::Cancel(Ticket(1)));
    bench.reply(Outcome::Unsent);
    assert!(bench.call.is_none() && bench.keeper.is_idle());
}

#[test]
fn an_enqueue_that_was_never_sent_anchors_nothing() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve();
    for _ in 0..10 {
        assert!(matches!(bench.change(), Change::Enqueue { .. }));
        bench.sleep(5_000);
        bench.reply(Outcome::Unsent);
    }
    bench.serve();
    bench.grant(9);
    bench.seen();
    assert!(bench.has(1), "the anchor is that of the one that was sent");
    assert_eq!(bench.until(), bench.now + 9_000);
}

#[test]
fn a_repeated_enqueue_that_was_never_sent_leaves_the_anchor_of_the_first() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve();
    let (sent, landed) = (bench.now, bench.land());
    assert!(matches!(landed, Outcome::Applied(_)));
    bench.reply(Outcome::Busy(None));
    bench.wake();
    bench.sleep(1_000);
    bench.reply(Outcome::Unsent);
    bench.grant(9);
    bench.seen();
    assert!(bench.has(1));
    assert_eq!(bench.until(), sent + 9_000);
}

#[test]
fn a_renewal_that_was_never_sent_moves_no_deadline() {
    let mut bench = Bench::holding();
    let until = bench.until();
    bench.step(Event::Prolong(Ticket(1)));
    bench.sleep(1_000);
    bench.reply(Outcome::Unsent);
    assert!(matches!(bench.change(), Change::Renew { .. }));
    assert_eq!(bench.until(), until);
    bench.serve();
    assert_eq!(bench.until(), bench.now + 9_000, "anchored when it was decided anew");
}

#[test]
fn no_call_may_take_longer_than_ten_seconds() {
    let long = Want { timing: timing(24 * 3_600_000), ..want(1) };
    let mut bench = Bench::new();
    bench.want(long.clone());
    assert_eq!(bench.last.timeout, ms(10_000));
    let mut bench = Bench::held(TTL);
    bench.want(long);
    bench.serve();
    assert!(matches!(bench.change(), Change::Enqueue { .. }));
    assert_eq!(bench.last.timeout, ms(10_000));
}
