//! When who waits looks, claims, joins again, and what it makes of a grant (design 4.3).

use super::*;
use crate::record::MAX_WAITERS;

/// A bench whose keeper waits behind so many others.
fn behind(others: u64) -> Bench {
    let mut bench = Bench::held(TTL);
    for number in 0..others {
        bench.other(&Change::Enqueue { claim: rival(number + 2, TTL), wall: Wall::default() });
    }
    bench.want(want(1));
    bench.settle();
    bench
}

#[test]
fn the_second_of_the_queue_claims_a_step_later_and_does_not_look_before() {
    let mut bench = behind(1);
    let (seen, reads) = (bench.now, bench.sent.iter().filter(|call| **call == Call::Read).count());
    bench.pass(TTL + 10);
    assert_eq!(bench.sent.iter().filter(|call| **call == Call::Read).count(), reads);
    bench.wake();
    assert!(matches!(bench.change(), Change::Claim { .. }));
    assert_eq!(bench.now, seen + TTL + 300 + 15, "3 % of the ttl, and 98 thousandths of half of that at random");
}

#[test]
fn the_third_claims_after_one_more_look() {
    let mut bench = behind(2);
    bench.sleep(TTL);
    bench.step(Event::Tick);
    assert_eq!(bench.call, Some(Call::Read));
    bench.serve();
    bench.wake();
    assert!(matches!(bench.change(), Change::Claim { .. }));
}

#[test]
fn an_entry_that_was_removed_is_not_repeated_under_its_term() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve();
    let Change::Enqueue { claim, .. } = bench.change().clone() else { panic!("an entry") };
    let joined = bench.land();
    let record = bench.record().clone();
    bench.store(Record { waiters: Vec::new(), ..record });
    bench.seen();
    bench.reply(joined);
    let Change::Enqueue { claim: again, .. } = bench.change() else { panic!("an entry") };
    assert_ne!(again.term, claim.term);
}

#[test]
fn an_entry_of_unknown_fate_is_repeated_only_after_a_look() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve();
    assert!(matches!(bench.change(), Change::Enqueue { .. }));
    bench.rival_joins(3);
    bench.lose();
    assert!(bench.keeper.view().record().is_some());
    bench.wake();
    assert_eq!(bench.call, Some(Call::Read));
    bench.serve();
    assert!(matches!(bench.change(), Change::Enqueue { .. }));
}

#[test]
fn who_is_seen_in_the_queue_needs_no_look_after_a_claim_of_unknown_fate() {
    let mut bench = Bench::waiting(want(1));
    bench.sleep(TTL);
    bench.step(Event::Tick);
    bench.rival_joins(3);
    bench.lose();
    bench.wake();
    assert!(matches!(bench.change(), Change::Claim { .. }));
}

#[test]
fn who_inherits_a_contest_has_a_ttl_of_its_own() {
    let mut bench = Bench::waiting(want(1));
    bench.want(Want { timing: timing(2_000), ..want(2) });
    bench.step(Event::Cancel(Ticket(1)));
    bench.grant(5);
    bench.seen();
    bench.settle();
    assert!(bench.has(2));
    assert_eq!(bench.record().ttl, ms(2_000));
}

#[test]
fn a_grant_that_is_not_instant_in_the_record_must_be_accepted() {
    let mut bench = Bench::waiting(want(1));
    let granted = bench.grant(5);
    bench.store(Record { instant: false, ..granted.record });
    bench.seen();
    assert!(!bench.has(1) && matches!(bench.change(), Change::Renew { .. }));
    bench.serve();
    assert!(bench.has(1));
}

/// A bench whose keeper has just handed the lock to another engine, which may have to accept it.
fn handed_on(to_be_accepted: bool) -> Bench {
    let mut bench = Bench::holding();
    let claim = Claim { instant: !to_be_accepted, ..rival(2, TTL) };
    let seen = bench.other(&Change::Enqueue { claim, wall: Wall::default() });
    bench.step(Event::Seen(seen));
    bench.release(1);
    bench.settle();
    assert_eq!((bench.record().term, bench.record().renewals), (Term(2), 0));
    bench
}

/// Nobody wanted the lock for a moment, as between a resignation and the next campaign: a new keeper knows what the last did.
fn retire(bench: &mut Bench) {
    assert!(bench.keeper.is_idle());
    bench.keeper = Keeper::resuming(me(), bench.keeper.view().clone());
}

/// The server would try both writes at the object, one after the other: the new leader would wait for our place in the queue.
#[test]
fn whoever_resigns_and_campaigns_again_makes_way_for_the_acceptance() {
    for resumes in [false, true] {
        for ask in [want(2), campaign(2)] {
            let mut bench = handed_on(true);
            if resumes {
                retire(&mut bench);
            }
            bench.want(ask);
            assert_eq!(bench.call, None);
            assert_eq!(bench.wake(), 50, "whether it was accepted or not");
            assert!(
                matches!(bench.change(), Change::Enqueue { .. }),
                "it knows that another leads, and claims nothing"
            );
            bench.settle();
            assert_eq!(bench.record().waiters.len(), 1);
        }
    }
}

#[test]
fn whoever_made_way_and_finds_nobody_leads_at_once() {
    let mut bench = handed_on(true);
    retire(&mut bench);
    bench.want(campaign(2));
    bench.wake();
    (bench.stored, bench.version) = (None, bench.version + 1);
    bench.settle();
    assert!(bench.has(2));
}

#[test]
fn nobody_makes_way_for_what_needs_no_acceptance_or_was_accepted() {
    let mut bench = handed_on(false);
    bench.want(want(2));
    assert!(matches!(bench.change(), Change::Enqueue { .. }));

    let mut bench = handed_on(true);
    bench.want(want(2));
    bench.holder_renews();
    bench.seen();
    assert!(matches!(bench.change(), Change::Enqueue { .. }));
}

#[test]
fn nobody_makes_way_for_longer_because_others_join() {
    let mut bench = handed_on(true);
    bench.want(want(2));
    for number in 3..6 {
        bench.sleep(20);
        bench.rival_joins(number);
    }
    assert!(matches!(bench.change(), Change::Enqueue { .. }));
}

#[test]
fn a_grant_that_was_seen_long_ago_says_nothing_of_who_leads() {
    for (passed, knows) in [(60, true), (1_900, true), (2_100, false)] {
        let mut bench = handed_on(true);
        retire(&mut bench);
        bench.sleep(passed);
        bench.want(campaign(2));
        assert_eq!(matches!(bench.change(), Change::Enqueue { .. }), knows, "{passed}");
        assert_eq!(matches!(bench.change(), Change::Claim { .. }), !knows, "{passed}");
    }
}

/// Who only tries wants an answer now. Whoever polls reads first, whatever is known.
#[test]
fn whoever_does_not_wait_makes_no_way() {
    let mut bench = handed_on(true);
    retire(&mut bench);
    bench.want(attempt(2));
    assert!(bench.call.is_some());
}

/// More than a call's time remains, but less than half of what a fresh hold has: a body relies on some.
#[test]
fn a_grant_that_leaves_less_than_half_of_the_time_is_accepted_first() {
    for (waited, accepted) in [(4_400, false), (4_600, true)] {
        let mut bench = Bench::waiting(want(1));
        for _ in 2..=6 {
            bench.pass(waited / 5);
            bench.holder_renews();
            bench.seen();
        }
        bench.grant(0xaa);
        bench.seen();
        assert_eq!(bench.has(1), !accepted, "{waited}");
        bench.settle();
        assert!(bench.has(1) && bench.keeper.standing().until.since(Bench::at(bench.now)) >= ms(4_500), "{waited}");
    }
}

#[test]
fn the_answer_of_a_read_that_was_overtaken_is_not_believed_if_older() {
    let mut bench = behind(2);
    bench.sleep(TTL);
    bench.step(Event::Tick);
    assert_eq!(bench.call, Some(Call::Read));
    let old = bench.land();
    bench.rival_joins(9);
    bench.reply(old);
    assert_eq!(bench.keeper.view().record(), Some(bench.record()));
}

#[test]
fn a_stray_that_could_not_be_given_back_is_tried_again() {
    let mut bench = Bench::held(TTL);
    let record = bench.record().clone();
    bench.store(Record { engine: me(), term: Term(9), renewals: 0, ..record });
    bench.seen();
    bench.reply(Outcome::Busy(None));
    bench.wake();
    bench.settle();
    assert_eq!(bench.stored, None);
}

#[test]
fn a_call_has_a_sixth_of_the_ttl_and_an_entry_half() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    assert_eq!((bench.call.is_some(), bench.last.timeout), (true, ms(1_666)));
    bench.serve();
    assert!(matches!(bench.change(), Change::Enqueue { .. }));
    assert_eq!(bench.last.timeout, ms(5_000));
}

#[test]
fn news_of_the_version_that_is_known_is_no_news() {
    let mut bench = Bench::holding();
    let version = bench.version;
    bench.step(Event::Deleted(version));
    bench.step(Event::Disowned(version));
    assert!(bench.has(1) && bench.keeper.view().record().is_some());
    assert_eq!(bench.call, None);
}

#[test]
fn an_entry_that_was_seen_needs_no_look_though_its_answer_was_lost() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve();
    bench.land();
    bench.seen();
    bench.lose();
    while bench.call.is_none() {
        bench.wake();
        assert_eq!(bench.last.report, None, "all is well");
    }
    assert!(matches!(bench.change(), Change::Claim { .. }), "the next thing it does, a ttl later");
}

#[test]
fn who_sees_another_while_its_creation_gets_lost_joins_without_a_look() {
    let mut bench = Bench::new();
    bench.want(want(1));
    bench.other(&Change::Create { claim: rival(1, TTL), beat: Beat(1), under: Term::NONE, wall: bench.wall() });
    bench.seen();
    bench.lose();
    bench.wake();
    assert!(matches!(bench.change(), Change::Enqueue { .. }));
}

#[test]
fn a_grant_seen_twice_is_accepted_once() {
    let mut bench = Bench::waiting(campaign(1));
    bench.grant(5);
    bench.seen();
    assert!(matches!(bench.change(), Change::Renew { .. }));
    bench.rival_joins(3);
    bench.serve();
    assert!(bench.has(1));
}

/// Whoever joins before it is named by it, not by the next renewal only.
#[test]
fn an_acceptance_says_who_is_next() {
    for joins in [true, false] {
        let mut bench = Bench::waiting(campaign(1));
        bench.grant(5);
        if joins {
            bench.rival_joins(3);
        }
        bench.seen();
        assert!(matches!(bench.change(), Change::Renew { .. }));
        bench.serve();
        assert!(bench.has(1));
        assert_eq!(bench.record().next_owner.as_deref(), joins.then_some("rival"));
    }
}

#[test]
fn a_poll_that_finds_its_own_claim_too_old_confirms_it() {
    let mut bench = Bench::new();
    bench.want(Want { patience: Patience::Poll { create_only: false }, ..want(1) });
    bench.serve();
    assert!(matches!(bench.change(), Change::Create { .. }));
    bench.land();
    bench.lose();
    bench.wake();
    assert_eq!(bench.call, Some(Call::Read));
    bench.sleep(8_000);
    bench.serve();
    assert!(matches!(bench.change(), Change::Renew { .. }));
    bench.serve();
    assert!(bench.has(1));
}

#[test]
fn who_finds_the_queue_full_looks_after_a_ttl_of_its_own_at_the_latest() {
    let mut bench = Bench::held(TTL);
    for number in 0..MAX_WAITERS {
        bench.other(&Change::Enqueue { claim: rival(number as u64 + 2, TTL), wall: Wall::default() });
    }
    bench.want(Want { timing: timing(2_000), ..want(1) });
    bench.settle();
    for _ in 0..5 {
        assert!(bench.wake() <= 2_000);
        assert_eq!(bench.call, Some(Call::Read));
        bench.settle();
    }
}

/// The holder that it sees may be followed by one that lives as shortly as itself.
#[test]
fn who_is_third_in_the_queue_looks_after_its_own_ttl_if_that_is_shorter_than_the_records() {
    let mut bench = Bench::held(1_000 * TTL);
    for number in 2..4 {
        bench.other(&Change::Enqueue { claim: rival(number, TTL), wall: Wall::default() });
    }
    bench.want(want(1));
    bench.settle();
    assert_eq!(bench.wake(), TTL);
    assert_eq!(bench.call, Some(Call::Read));
}

#[test]
fn who_waits_behind_the_first_does_not_set_its_time_outs() {
    let mut bench = Bench::new();
    bench.want(Want { timing: timing(1_000), ..want(1) });
    let alone = bench.last.timeout;
    let mut crowded = Bench::new();
    crowded.want(Want { timing: timing(1_000), ..want(1) });
    crowded.want(Want { timing: timing(3_600_000), ..want(2) });
    crowded.lose();
    crowded.wake();
    assert!(crowded.call.is_some());
    assert_eq!(crowded.last.timeout, alone);
}

#[test]
fn who_is_third_in_the_queue_looks_after_the_records_ttl() {
    let mut bench = behind(2);
    assert_eq!(bench.wake(), TTL);
    assert_eq!(bench.call, Some(Call::Read));
}

#[test]
fn an_entry_that_is_out_of_sight_is_looked_for_when_its_user_goes() {
    let mut bench = Bench::waiting(want(1));
    bench.sleep(TTL);
    bench.step(Event::Tick);
    bench.reply(Outcome::Refused(Refused::Mismatch));
    assert_eq!(bench.call, Some(Call::Read));
    bench.step(Event::Cancel(Ticket(1)));
    bench.lose();
    assert!(!bench.keeper.is_idle(), "the entry is still there");
    bench.wake();
    bench.settle();
    assert!(bench.keeper.is_idle() && bench.record().waiters.is_empty());
}

#[test]
fn an_entry_in_sight_is_taken_out_without_a_look() {
    let mut bench = Bench::waiting(want(1));
    bench.step(Event::Cancel(Ticket(1)));
    assert!(matches!(bench.change(), Change::Leave { .. }));
    bench.serve();
    assert!(bench.keeper.is_idle());
}
