//! The ways to the lock (design 4.3).

use super::*;

#[test]
fn an_absent_lock_costs_one_request() {
    let bench = Bench::holding();
    assert_eq!(bench.sent.len(), 1);
    assert!(matches!(bench.sent[0], Call::Apply(Change::Create { .. })));
}

#[test]
fn a_retained_lock_claims_what_is_free() {
    let mut bench = Bench::held(TTL);
    let wall = bench.wall();
    bench.other(&Change::Free { term: Term(1), wall });
    bench.want(campaign(1));
    bench.settle();
    assert!(bench.has(1));
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn a_retained_lock_is_created_when_it_is_absent() {
    let mut bench = Bench::new();
    bench.want(campaign(1));
    bench.settle();
    assert!(bench.has(1));
    assert!(matches!(bench.sent[1], Call::Apply(Change::Create { .. })));
}

#[test]
fn one_enqueue_tells_who_holds() {
    let bench = Bench::waiting(want(1));
    assert_eq!(bench.sent.len(), 2);
    assert!(matches!(bench.sent[1], Call::Apply(Change::Enqueue { .. })));
    assert!(bench.last.watch, "the head of the queue watches the lock itself");
    assert!(bench.last.wake.is_some());
}

#[test]
fn an_enqueue_that_finds_it_free_claims_at_once() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve();
    let wall = bench.wall();
    bench.other(&Change::Free { term: Term(1), wall });
    bench.settle();
    assert!(bench.has(1));
    assert!(bench.record().waiters.is_empty(), "the claim took the entry with it");
}

#[test]
fn an_instant_grant_is_held_at_once_and_anchored_before_the_first_enqueue() {
    let mut bench = Bench::waiting(want(1));
    bench.pass(3_000);
    bench.grant(0xaa);
    let sent = bench.sent.len();
    bench.seen();
    assert!(bench.has(1));
    assert_eq!(bench.until(), 100_000 + TTL - 1_000, "the Enqueue was sent at 100,000");
    assert_eq!(bench.sent.len(), sent, "no write before the body runs");
}

#[test]
fn the_renewal_after_an_instant_grant_follows_in_the_background() {
    let mut bench = Bench::waiting(want(1));
    bench.pass(3_000);
    bench.grant(0xaa);
    bench.seen();
    bench.pass(1_000);
    assert_eq!(bench.record().renewals, 1);
    assert!(bench.until() > 103_000 + TTL - 1_000);
}

#[test]
fn a_grant_after_a_long_wait_is_accepted_first() {
    let mut bench = Bench::waiting(want(1));
    bench.pass(TTL - 1_000 - 1_666 + 1);
    bench.grant(0xaa);
    bench.seen();
    assert!(!bench.has(1));
    let sent = bench.now;
    bench.settle();
    assert!(bench.has(1));
    assert_eq!(bench.until(), sent + TTL - 1_000);
}

#[test]
fn bug_44_a_grant_that_is_not_instant_is_held_after_its_acceptance_only() {
    let mut bench = Bench::waiting(campaign(1));
    bench.pass(500);
    bench.grant(0xaa);
    bench.seen();
    assert!(!bench.has(1));
    assert!(matches!(bench.change(), Change::Renew { previous: Beat(0xaa), .. }));
    bench.settle();
    assert!(bench.has(1));
}

#[test]
fn bug_5_a_reply_after_the_deadline_is_no_acquisition() {
    let mut bench = Bench::new();
    bench.want(want(1));
    let answer = bench.land();
    bench.sleep(TTL);
    bench.reply(answer);
    assert!(!bench.has(1));
    assert!(matches!(bench.change(), Change::Renew { .. }), "it is ours, but must be accepted anew");
    bench.settle();
    assert!(bench.has(1));
}

#[test]
fn bug_4_a_lost_reply_is_recognised_by_its_beat() {
    let mut bench = Bench::new();
    bench.want(want(1));
    bench.land();
    bench.sleep(1_666);
    bench.lose();
    bench.pass(2_000);
    assert!(bench.has(1));
    assert_eq!(bench.until().min(100_000 + TTL - 1_000), 100_000 + TTL - 1_000);
}

#[test]
fn bug_4_the_refusal_of_a_hidden_repetition_is_recognised_by_its_beat() {
    let mut bench = Bench::new();
    bench.want(want(1));
    bench.land();
    let second = bench.land();
    assert_eq!(second, Outcome::Refused(Refused::Exists));
    bench.reply(second);
    bench.settle();
    assert!(bench.has(1));
}

#[test]
fn an_enqueue_of_unknown_outcome_is_repeated_only_after_a_read() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve();
    bench.land();
    bench.seen();
    bench.lose();
    bench.pass(3_000);
    assert_eq!(bench.record().waiters.len(), 1, "{:?}", bench.sent);
}

#[test]
fn who_finds_its_entry_gone_enqueues_again_under_a_new_term() {
    let mut bench = Bench::waiting(want(1));
    let entry = bench.record().waiters[0].clone();
    bench.other(&Change::Leave { index: 0, entry: entry.clone() });
    bench.seen();
    bench.settle();
    let again = bench.record().waiters[0].clone();
    assert_ne!(again.term(), entry.term());
}

#[test]
fn a_term_that_ended_is_never_believed_again() {
    let mut bench = Bench::waiting(want(1));
    let enqueue = bench.sent[1].clone();
    bench.grant(0xaa);
    bench.seen();
    bench.rival_joins(3);
    bench.release(1);
    bench.settle();
    assert_eq!(bench.record().term, Term(3));
    bench.deliver(&enqueue);
    bench.notices.clear();
    bench.want(want(2));
    bench.grant(0xbb);
    bench.seen();
    assert!(!bench.has(2), "the late duplicate was granted, not the term that strives now");
    bench.settle();
    assert!(bench.has(2), "the stray was passed on: {:?}", bench.sent);
}

#[test]
fn a_take_over_removes_the_dead_ahead() {
    let mut bench = Bench::held(TTL);
    bench.other(&Change::Enqueue { claim: rival(2, TTL), wall: Wall::default() });
    bench.want(want(1));
    bench.settle();
    bench.pass(TTL);
    assert!(!bench.has(1), "rank 1 gives rank 0 a head start");
    bench.pass(500);
    assert!(bench.has(1));
    assert!(bench.record().waiters.is_empty());
}

#[test]
fn a_waiter_far_back_looks_before_it_claims() {
    let mut bench = Bench::held(TTL);
    for number in 2..5 {
        bench.other(&Change::Enqueue { claim: rival(number, TTL), wall: Wall::default() });
    }
    bench.want(want(1));
    bench.settle();
    assert!(!bench.last.watch);
    bench.holder_renews();
    bench.pass(TTL + 1_500);
    let claims = bench.sent.iter().filter(|call| matches!(call, Call::Apply(Change::Claim { .. }))).count();
    assert_eq!(claims, 0, "a read showed the new beat");
}

#[test]
fn whoever_finds_the_queue_full_looks_for_room_less_and_less_often() {
    let mut bench = Bench::held(1_000 * TTL);
    for number in 2..66 {
        bench.other(&Change::Enqueue { claim: rival(number, TTL), wall: Wall::default() });
    }
    bench.want(Want { timing: timing(1_000 * TTL), ..want(1) });
    bench.settle();
    let mut looks = Vec::new();
    for _ in 0..20 {
        looks.push(bench.wake());
        assert_eq!(bench.call, Some(Call::Read), "one request a look");
        bench.settle();
    }
    assert!(looks[0] <= 1_000 && looks[19] > 7_000, "{looks:?}");
    assert!(looks.iter().all(|look| *look <= 15_000), "{looks:?}");
}

#[test]
fn whoever_finds_the_queue_full_joins_when_there_is_room() {
    let mut bench = Bench::held(100 * TTL);
    for number in 2..66 {
        bench.other(&Change::Enqueue { claim: rival(number, TTL), wall: Wall::default() });
    }
    bench.want(Want { timing: timing(100 * TTL), ..want(1) });
    bench.settle();
    let entry = bench.record().waiters[0].clone();
    bench.other(&Change::Leave { index: 0, entry });
    bench.pass(1_000);
    assert_eq!(bench.record().waiters.len(), 64, "it has joined");
}

#[test]
fn whoever_finds_the_queue_full_takes_a_lock_that_is_gone() {
    let mut bench = Bench::held(100 * TTL);
    for number in 2..66 {
        bench.other(&Change::Enqueue { claim: rival(number, TTL), wall: Wall::default() });
    }
    bench.want(Want { timing: timing(100 * TTL), ..want(1) });
    bench.settle();
    (bench.stored, bench.version) = (None, bench.version + 1);
    bench.pass(1_000);
    assert!(bench.has(1));
}

#[test]
fn bug_17_a_try_finds_a_dead_record_within_one_ttl() {
    let mut bench = Bench::held(TTL);
    bench.wall += 3_600_000;
    bench.want(attempt(1));
    bench.settle();
    bench.pass(TTL);
    assert!(bench.has(1));
}

#[test]
fn a_try_is_busy_at_once_while_the_holder_promises_life() {
    let mut bench = Bench::held(TTL);
    bench.want(attempt(1));
    bench.settle();
    assert!(bench.told(&Notice::Busy(Ticket(1))));
    assert!(bench.record().waiters.is_empty());
    assert!(bench.keeper.is_idle());
}

#[test]
fn a_try_is_busy_as_soon_as_the_holder_shows_life() {
    let mut bench = Bench::held(TTL);
    bench.wall += 3_600_000;
    bench.want(attempt(1));
    bench.settle();
    bench.pass(1_000);
    bench.holder_renews();
    bench.seen();
    assert!(bench.told(&Notice::Busy(Ticket(1))));
}

#[test]
fn a_try_does_not_wait_behind_others_of_its_process() {
    let mut bench = Bench::holding();
    bench.want(attempt(2));
    assert!(bench.told(&Notice::Busy(Ticket(2))));
}

#[test]
fn a_restarted_pod_claims_its_old_record_at_once() {
    let mut bench = Bench::new();
    bench.keeper = Keeper::new(EngineId::of_pod("side", crate::record::Role::Sidecar, 1, 2));
    let old = Claim { engine: EngineId::of_pod("side", crate::record::Role::Sidecar, 1, 1), ..rival(1, TTL) };
    bench.other(&Change::Create { claim: old, beat: Beat(1), under: Term::NONE, wall: bench.wall() });
    bench.want(Want { adopt: true, ..campaign(1) });
    bench.settle();
    assert!(bench.has(1));
    assert_ne!(bench.record().term, Term(1), "under a new term");
}

#[test]
fn another_pod_of_the_same_name_is_not_adopted() {
    let mut bench = Bench::new();
    bench.keeper = Keeper::new(EngineId::of_pod("side", crate::record::Role::Sidecar, 1, 2));
    let old = Claim { engine: EngineId::of_pod("side", crate::record::Role::Sidecar, 3, 1), ..rival(1, TTL) };
    bench.other(&Change::Create { claim: old, beat: Beat(1), under: Term::NONE, wall: bench.wall() });
    bench.want(Want { adopt: true, ..campaign(1) });
    bench.settle();
    assert!(!bench.has(1));
}

#[test]
fn in_a_crowd_the_first_call_joins_the_queue() {
    let mut bench = Bench::held(TTL);
    bench.keeper.expect_a_crowd(true);
    bench.want(want(1));
    assert!(matches!(bench.change(), Change::Enqueue { .. }));
    bench.settle();
    assert_eq!((bench.sent.len(), bench.record().waiters.len()), (1, 1));
}

#[test]
fn in_a_crowd_a_lock_that_is_absent_after_all_is_made() {
    let mut bench = Bench::new();
    bench.keeper.expect_a_crowd(true);
    bench.want(want(1));
    bench.settle();
    assert!(bench.has(1));
    assert_eq!(bench.sent.len(), 2);
}

#[test]
fn what_is_known_to_be_absent_is_no_guess() {
    let mut bench = Bench::new();
    bench.want(want(1));
    assert!(bench.keeper.guesses());
    bench.serve();
    bench.release(1);
    bench.settle();
    bench.want(want(2));
    assert!(matches!(bench.change(), Change::Create { .. }));
    assert!(!bench.keeper.guesses(), "thought over it would be the same");
}

#[test]
fn who_does_not_want_to_wait_has_nothing_to_think_over() {
    let mut bench = Bench::new();
    bench.want(attempt(1));
    assert!(matches!(bench.change(), Change::Create { .. }) && !bench.keeper.guesses());
}

#[test]
fn in_a_crowd_who_does_not_want_to_wait_does_not_join_the_queue() {
    let mut bench = Bench::held(TTL);
    bench.keeper.expect_a_crowd(true);
    bench.want(attempt(1));
    bench.settle();
    assert!(bench.record().waiters.is_empty());
}
