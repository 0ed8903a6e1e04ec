//! What a hold tells and does at its end, and while others wait for it.

use super::*;
use crate::protocol::{Attempt, Hold};

#[test]
fn who_asks_before_the_keeper_is_woken_is_told_why_it_ended() {
    let mut bench = Bench::new();
    bench.want(Want { max_hold: Some(ms(1_000)), ..want(1) });
    bench.settle();
    bench.sleep(1_000);
    assert_eq!(bench.loss(1), Some(LossReason::MaxHold));

    let mut bench = Bench::new();
    bench.want(Want { max_hold: Some(ms(20_000)), ..want(1) });
    bench.settle();
    bench.sleep(9_000);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline));
}

#[test]
fn the_confirmation_of_an_attempt_settles_those_before_it_and_not_those_after() {
    let mut bench = Bench::holding();
    let (record, mut hold) = (bench.record().clone(), bench.keeper.hold().unwrap().clone());
    for (beat, sent) in [(7, 101_000), (8, 102_000), (9, 103_000)] {
        let attempt = Attempt::new(Bench::at(sent), ms(TTL), ms(1_000));
        hold.attempt(Beat(beat), attempt.of(if beat == 9 { Beat(8) } else { record.beat }, Term::NONE), &[]);
    }
    let snapshot = bench.store(Record { beat: Beat(8), ..record });
    hold.confirm(&snapshot, Duration::ZERO, Bench::at(103_500), &[]);
    assert_eq!(hold.attempts.keys().collect::<Vec<_>>(), [&Beat(9)]);
    assert_eq!(hold.deadline, Bench::at(111_000));
}

/// The renewal that is sent again is refused, and a read shows why; then the user ends.
fn release_after_a_refused_renewal(bench: &mut Bench) {
    bench.sleep(200);
    bench.step(Event::Tick);
    bench.reply(Outcome::Refused(Refused::Mismatch));
    bench.serve();
    bench.release(1);
}

#[test]
fn a_release_does_not_look_first_for_a_renewal_that_another_beat_has_refuted() {
    let mut bench = Bench::holding();
    bench.step(Event::Prolong(Ticket(1)));
    bench.land();
    bench.lose();
    release_after_a_refused_renewal(&mut bench);
    assert!(matches!(bench.call, Some(Call::Delete(_))), "{:?}", bench.call);
}

#[test]
fn after_a_ttl_a_waiter_of_another_engine_goes_before_those_here() {
    for (held, goes_local) in [(TTL - 1, true), (TTL, false)] {
        let mut bench = Bench::holding();
        bench.want(want(2));
        bench.rival_joins(3);
        bench.pass(held);
        bench.release(1);
        bench.settle();
        assert_eq!(bench.has(2), goes_local, "after {held} ms");
    }
}

#[test]
fn a_hold_that_nobody_had_yet_yields_to_nobody() {
    let bench = Bench::new();
    let hold = Hold::new(Term(1), &want(1), 1, Bench::at(200_000), Bench::at(bench.now));
    assert!(!hold.must_yield(Bench::at(bench.now + 2 * TTL)));
}

#[test]
fn the_user_of_a_lost_hold_is_released_at_once() {
    let mut bench = Bench::holding();
    bench.sleep(9_000);
    bench.release(1);
    assert!(bench.told(&Notice::Released(Ticket(1))));
}

#[test]
fn a_release_is_tried_for_a_ttl_before_it_is_given_up() {
    let mut bench = Bench::holding();
    bench.release(1);
    while !bench.told(&Notice::Abandoned(Ticket(1))) {
        assert!(bench.call.is_some());
        bench.reply(Outcome::Busy(None));
        while bench.call.is_none() && bench.last.wake.is_some() {
            bench.wake();
        }
    }
    assert!(bench.now >= 100_000 + TTL, "{}", bench.now);
}

/// Fails every call until a release is given up, and returns how long that took.
fn give_up(bench: &mut Bench, ticket: u64) -> u64 {
    let since = bench.now;
    for _ in 0..1_000 {
        if bench.told(&Notice::Abandoned(Ticket(ticket))) {
            return bench.now - since;
        }
        if bench.call.is_some() {
            bench.reply(Outcome::Unknown);
        } else {
            bench.wake();
        }
    }
    panic!("tried without end: {:?}", bench.last);
}

#[test]
fn a_release_is_tried_for_the_ttl_of_the_record_and_not_of_the_last_user() {
    let mut bench = Bench::holding();
    bench.want(Want { timing: timing(1_000), ..want(2) });
    bench.release(1);
    assert!(bench.has(2) && matches!(bench.change(), Change::Renew { ttl, .. } if *ttl == ms(1_000)));
    bench.release(2);
    let tried = give_up(&mut bench, 2);
    assert!(tried >= TTL, "{tried} ms");
}

#[test]
fn the_longest_ttl_of_a_hold_counts_what_the_record_shows_and_what_a_renewal_may_have_left_there() {
    let mut bench = Bench::new();
    bench.want(Want { timing: timing(1_000), ..want(1) });
    bench.settle();
    let (record, mut hold) = (bench.record().clone(), bench.keeper.hold().unwrap().clone());
    let shows = |ttl, term| Record { ttl: ms(ttl), term, ..record.clone() };
    assert_eq!(hold.longest_ttl(Some(&record)), ms(1_000));
    assert_eq!(hold.longest_ttl(Some(&shows(TTL, record.term))), ms(TTL));
    assert_eq!(hold.longest_ttl(Some(&shows(TTL, Term(99)))), ms(1_000), "another's");
    hold.attempt(Beat(7), Attempt::new(Bench::at(101_000), ms(TTL), ms(1_000)), &[]);
    assert_eq!(hold.longest_ttl(None), ms(TTL));
}

/// A frozen process finds at its thaw that the one call under way has failed for longer than a ttl.
#[test]
fn what_landed_unseen_is_not_given_up_after_one_call_that_took_long() {
    let mut bench = Bench::new();
    bench.want(want(1));
    let create = bench.call.clone().unwrap();
    bench.step(Event::Cancel(Ticket(1)));
    bench.sleep(6 * TTL);
    bench.deliver(&create);
    bench.seen();
    bench.lose();
    bench.pass(TTL);
    assert!(bench.stored.is_none(), "{:?}", bench.stored);
}

#[test]
fn a_release_looks_first_if_a_renewal_may_still_land() {
    let mut bench = Bench::holding();
    bench.step(Event::Prolong(Ticket(1)));
    bench.lose();
    release_after_a_refused_renewal(&mut bench);
    bench.serve();
    assert_eq!(bench.call, Some(Call::Read));
    bench.settle();
    assert_eq!(bench.stored, None);
}

#[test]
fn a_hold_too_short_for_who_waits_here_is_renewed_and_not_given_back() {
    for (held, rival) in [(0, false), (0, true), (TTL, false)] {
        let mut bench = Bench::holding();
        bench.want(want(2));
        bench.pass(held);
        if rival {
            bench.rival_joins(3);
        }
        bench.now = bench.until() - 1_500;
        bench.release(1);
        assert!(matches!(bench.change(), Change::Renew { .. }), "held for {held} ms, a rival: {rival}");
        bench.settle();
        assert!(bench.has(2));
    }
}

#[test]
fn a_wished_successor_goes_before_those_here_if_it_waits() {
    for (wished, goes_local) in [("rival", false), ("nobody", true)] {
        let mut bench = Bench::holding();
        bench.want(want(2));
        bench.rival_joins(3);
        bench.step(Event::Release(Ticket(1), Some(wished.to_owned())));
        bench.settle();
        assert_eq!((bench.has(2), bench.record().term == Term(3)), (goes_local, !goes_local), "{wished}");
        assert_eq!(bench.told(&Notice::HandedOver(Ticket(1))), !goes_local, "{wished}");
        assert_eq!(bench.told(&Notice::Released(Ticket(1))), goes_local, "{wished}");
    }
}

#[test]
fn a_grant_to_nobody_is_freed_or_deleted_as_its_claim_was() {
    for (instant, renewals, freed) in [(false, 0, true), (true, 0, false), (false, 1, false)] {
        let mut bench = Bench::held(TTL);
        let record = bench.record().clone();
        bench.store(Record { engine: me(), term: Term(9), instant, renewals, ..record });
        bench.seen();
        bench.settle();
        assert_eq!(bench.stored.is_some(), freed, "instant: {instant}, renewals: {renewals}");
    }
}

#[test]
fn a_release_is_acknowledged_only_when_the_record_is_known() {
    let mut bench = Bench::holding();
    bench.step(Event::Unlisted);
    assert_eq!(bench.call, Some(Call::Read));
    bench.release(1);
    assert!(!bench.told(&Notice::Released(Ticket(1))));
    bench.settle();
    assert!(bench.told(&Notice::Released(Ticket(1))) && bench.stored.is_none());
}

#[test]
fn a_grant_takes_every_entry_of_its_term() {
    let mut bench = Bench::holding();
    bench.rival_joins(3);
    bench.rival_joins(3);
    bench.rival_joins(4);
    bench.release(1);
    let Change::Grant { index, duplicates, .. } = bench.change() else { panic!("a grant") };
    assert_eq!((*index, duplicates.iter().map(|(index, _)| *index).collect::<Vec<_>>()), (0, vec![1]));
    bench.settle();
    assert_eq!(bench.record().waiters.iter().filter_map(Entry::term).collect::<Vec<_>>(), [Term(4)]);
}
