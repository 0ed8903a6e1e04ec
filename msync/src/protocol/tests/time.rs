//! Deadlines and claims (design 4.2).

use super::*;

#[test]
fn the_deadline_is_anchored_before_the_send() {
    let mut bench = Bench::new();
    bench.want(want(1));
    let answer = bench.land();
    bench.sleep(1_000);
    bench.reply(answer);
    assert!(bench.has(1));
    assert_eq!(bench.until(), 100_000 + TTL - 1_000, "from the send at 100,000, not from the reply");
}

#[test]
fn bug_15_a_slow_successful_renewal_does_not_extend_past_its_send() {
    let mut bench = Bench::holding();
    bench.sleep(3_334);
    bench.step(Event::Tick);
    let sent = bench.now;
    let answer = bench.land();
    bench.sleep(1_500);
    bench.reply(answer);
    assert_eq!(bench.until(), sent + TTL - 1_000);
}

#[test]
fn locks_acquired_together_are_not_renewed_together() {
    let first_renewal = |seed: u64| {
        let mut bench = Bench { bits: seed, ..Bench::new() };
        bench.want(want(1));
        bench.settle();
        bench.last.wake.unwrap().since(Bench::at(100_000)).as_millis()
    };
    let renewals: Vec<_> = (0..1000).map(first_renewal).collect();
    let in_tenth = |n: u128| renewals.iter().filter(|at| **at * 10 / 3_333 == n).count();
    assert!(renewals.iter().all(|at| (833..=3_333).contains(at)), "a short body is over before its first renewal");
    for tenth in 3..10 {
        assert!((100..=160).contains(&in_tenth(tenth)), "{} in {tenth}", in_tenth(tenth));
    }
}

#[test]
fn an_unconfirmed_attempt_moves_nothing() {
    let mut bench = Bench::holding();
    let until = bench.until();
    bench.sleep(3_400);
    bench.step(Event::Tick);
    assert!(matches!(bench.change(), Change::Renew { .. }));
    bench.land();
    bench.lose();
    assert_eq!(bench.until(), until, "the server applied it, but nobody here has seen that");
}

#[test]
fn an_attempt_whose_reply_was_lost_is_confirmed_by_an_event() {
    let mut bench = Bench::holding();
    bench.sleep(3_400);
    bench.step(Event::Tick);
    let sent = bench.now;
    bench.land();
    bench.sleep(1_700);
    bench.lose();
    bench.seen();
    assert_eq!(bench.until(), sent + TTL - 1_000);
}

#[test]
fn every_attempt_has_a_beat_of_its_own() {
    let mut bench = Bench::holding();
    let mut beats = Vec::new();
    bench.sleep(3_400);
    bench.step(Event::Tick);
    for _ in 0..4 {
        let Change::Renew { beat, .. } = *bench.change() else { panic!("a renewal") };
        beats.push(beat);
        bench.sleep(100);
        bench.lose();
        bench.sleep(1_000);
        bench.step(Event::Tick);
    }
    beats.dedup();
    assert_eq!(beats.len(), 4);
}

#[test]
fn confirmed_attempts_never_move_the_deadline_back() {
    let mut bench = Bench::holding();
    bench.pass(3_400);
    let until = bench.until();
    let mut old = bench.stored.clone().unwrap();
    for _ in 0..3 {
        old.version.number += 1;
        bench.step(Event::Seen(old.clone()));
        assert_eq!(bench.until(), until);
    }
}

#[test]
fn a_renewal_that_shortens_the_ttl_shortens_the_deadline_at_once() {
    let mut bench = Bench::holding();
    bench.want(Want { timing: timing(2_000), ..want(2) });
    bench.sleep(10);
    bench.release(1);
    assert!(bench.has(2));
    let Change::Renew { ttl, .. } = *bench.change() else { panic!("a renewal") };
    assert_eq!(ttl, ms(2_000));
    bench.lose();
    assert_eq!(bench.until(), bench.now + 2_000 - 200, "others may see the shorter ttl before we do");
}

#[test]
fn a_challenger_claims_after_the_records_ttl_and_not_before() {
    let mut bench = Bench::waiting(want(1));
    let seen = bench.now;
    bench.pass(TTL - 1);
    assert!(!bench.has(1));
    bench.pass(1);
    assert!(bench.has(1));
    assert_eq!(bench.now, seen + TTL);
}

#[test]
fn bug_9_a_challenger_waits_the_records_ttl_and_not_its_own() {
    let mut bench = Bench::held(20_000);
    bench.want(want(1));
    bench.settle();
    bench.pass(19_999);
    assert!(!bench.has(1));
    bench.pass(1);
    assert!(bench.has(1));
}

#[test]
fn a_new_beat_starts_the_observation_anew() {
    let mut bench = Bench::waiting(want(1));
    bench.pass(6_000);
    bench.holder_renews();
    bench.seen();
    bench.pass(TTL - 1);
    assert!(!bench.has(1));
    bench.pass(1);
    assert!(bench.has(1));
}

#[test]
fn an_unseen_beat_refuses_the_claim() {
    let mut bench = Bench::waiting(want(1));
    bench.holder_renews();
    bench.pass(TTL + 100);
    assert!(!bench.has(1));
    assert_eq!(bench.record().term, Term(1));
}

#[test]
fn an_illegible_ttl_costs_patience_and_never_a_panic() {
    for ttl in [0, 1, 999, u64::MAX / 2_000_000] {
        let mut bench = Bench::held(ttl);
        bench.want(want(1));
        bench.settle();
        bench.pass(299_999);
        assert!(!bench.has(1), "{ttl}");
        bench.pass(1);
        assert!(bench.has(1), "{ttl}");
    }
}

/// The keeper waits behind another waiter (2, 2 s after it), to whom the lock is granted.
fn behind_a_granted(instant: bool, after: u64) -> Bench {
    let mut bench = Bench::held(TTL);
    let claim = Claim { instant, ..rival(2, TTL) };
    bench.other(&Change::Enqueue { claim, wall: Wall::default() });
    bench.want(want(1));
    bench.settle();
    bench.pass(after);
    bench.grant(0xaa);
    bench.seen();
    bench
}

#[test]
fn a_grant_that_is_not_accepted_may_be_claimed_after_the_accept_timeout() {
    let mut bench = behind_a_granted(false, 500);
    bench.pass(1_999);
    assert!(!bench.has(1));
    bench.pass(1);
    assert!(bench.has(1));
}

#[test]
fn an_instant_grant_may_be_claimed_a_ttl_after_its_entry_was_seen() {
    let mut bench = behind_a_granted(true, 500);
    bench.pass(TTL - 501);
    assert!(!bench.has(1));
    bench.pass(1);
    assert!(bench.has(1));
}

#[test]
fn an_instant_grant_is_not_claimed_before_the_accept_timeout() {
    let mut bench = behind_a_granted(true, TTL - 500);
    bench.pass(1_999);
    assert!(!bench.has(1));
    bench.pass(1);
    assert!(bench.has(1));
}

#[test]
fn an_instant_grant_whose_entry_was_not_seen_costs_a_full_ttl() {
    let mut bench = Bench::held(TTL);
    bench.other(&Change::Enqueue { claim: rival(2, TTL), wall: Wall::default() });
    bench.grant(0xaa);
    bench.want(want(1));
    bench.settle();
    bench.pass(TTL - 1);
    assert!(!bench.has(1));
    bench.pass(1);
    assert!(bench.has(1));
}

#[test]
fn bug_32_the_first_look_after_a_pause_is_lost() {
    let mut bench = Bench::holding();
    bench.sleep(TTL - 1_000 - 1);
    assert_eq!(bench.loss(1), None);
    bench.sleep(1);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline), "without any step");
}

#[test]
fn bug_30_wall_clock_jumps_change_nothing() {
    let mut bench = Bench::waiting(want(1));
    bench.wall += 3_600_000;
    bench.pass(TTL - 1);
    assert!(!bench.has(1));
    bench.wall -= 7_200_000;
    bench.pass(1);
    assert!(bench.has(1));
    bench.wall += 7_200_000;
    bench.pass(TTL);
    assert!(bench.has(1));
}

#[test]
fn an_instant_grant_is_anchored_before_the_first_of_two_enqueues() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve();
    let first = bench.call.clone().unwrap();
    bench.sleep(2_000);
    bench.lose();
    bench.sleep(1_700);
    bench.step(Event::Tick);
    bench.serve();
    assert!(matches!(bench.change(), Change::Enqueue { .. }), "the read did not show it");
    bench.deliver(&first);
    bench.grant(0xaa);
    bench.seen();
    assert_eq!(bench.until(), 100_000 + TTL - 1_000, "others may have aged the entry of the first");
}

#[test]
fn a_term_ages_as_an_entry_and_not_as_a_holder() {
    let mut bench = Bench::new();
    bench.other(&Change::Create { claim: rival(2, TTL), beat: Beat(1), under: Term::NONE, wall: Wall::from_millis(0) });
    bench.want(want(1));
    bench.settle();
    bench.pass(6_000);
    // The same term comes back by a grant, its entry unseen.
    bench.rival_claims(3, bench.record().pair());
    bench.other(&Change::Enqueue { claim: rival(2, TTL), wall: Wall::default() });
    let (term, entry) = (Term(3), rival(2, TTL).entry(Wall::default()));
    let wall = Wall::from_millis(0);
    bench.other(&Change::Grant {
        term,
        beat: Beat(4),
        index: 1,
        entry,
        duplicates: Vec::new(),
        next: EngineId::default(),
        wall,
    });
    bench.seen();
    bench.pass(TTL - 1);
    assert!(!bench.has(1));
    bench.pass(1);
    assert!(bench.has(1));
}
