//! Release, loss, local hand-over, cancellation (design 4.4).

use super::*;

fn count(bench: &Bench, which: fn(&Change) -> bool) -> usize {
    bench.sent.iter().filter(|call| matches!(call, Call::Apply(change) if which(change))).count()
}

fn renewals(bench: &Bench) -> usize {
    count(bench, |change| matches!(change, Change::Renew { .. }))
}

#[test]
fn a_grant_tells_who_is_next_then() {
    let mut bench = Bench::holding();
    for number in [2, 3, 4] {
        bench.rival_joins(number);
    }
    let dead = Entry::from_text("edited by hand");
    let mut record = bench.record().clone();
    record.waiters.insert(1, dead);
    bench.store(record);
    bench.seen();
    bench.release(1);
    let Change::Grant { entry, next, .. } = bench.change() else { panic!("a grant") };
    assert_eq!((entry.claim().unwrap().term, next), (Term(2), &rival(3, TTL).engine));
    bench.settle();
    assert_eq!(bench.record().next, rival(3, TTL).engine);
}

#[test]
fn a_grant_to_the_last_of_the_queue_says_that_nobody_is_next() {
    let mut bench = Bench::holding();
    bench.rival_joins(2);
    bench.release(1);
    let Change::Grant { next, .. } = bench.change() else { panic!("a grant") };
    assert_eq!(*next, EngineId::default());
}

#[test]
fn a_plain_lock_leaves_nothing_behind() {
    let mut bench = Bench::holding();
    bench.release(1);
    assert!(matches!(bench.call, Some(Call::Delete(_))));
    bench.settle();
    assert_eq!(bench.stored, None);
    assert!(bench.told(&Notice::Released(Ticket(1))) && bench.keeper.is_idle());
    assert_eq!(bench.sent.len(), 2);
}

/// The inbox may show our own deletion before it is acknowledged.
#[test]
fn a_release_is_one_request_even_if_its_event_is_first() {
    let mut bench = Bench::holding();
    bench.release(1);
    let outcome = bench.land();
    bench.step(Event::Disowned(bench.version));
    bench.reply(outcome);
    assert!(bench.told(&Notice::Released(Ticket(1))) && bench.keeper.is_idle());
    assert_eq!(bench.sent.len(), 2, "{:?}", bench.sent);
}

#[test]
fn a_retained_lock_is_freed() {
    let mut bench = Bench::new();
    bench.want(campaign(1));
    bench.settle();
    bench.release(1);
    bench.settle();
    assert!(bench.record().is_free());
    assert!(bench.told(&Notice::Released(Ticket(1))));
}

#[test]
fn an_orderly_hand_off_is_one_write() {
    let mut bench = Bench::waiting(want(1));
    bench.pass(500);
    bench.grant(0xaa);
    bench.seen();
    bench.rival_joins(3);
    let sent = bench.sent.len();
    bench.release(1);
    assert!(matches!(bench.change(), Change::Grant { .. }));
    bench.settle();
    assert_eq!(bench.sent.len(), sent + 1, "{:?}", bench.sent);
    assert!(bench.told(&Notice::Released(Ticket(1))));
}

#[test]
fn a_waiter_that_was_not_seen_refuses_the_deletion_and_gets_the_lock() {
    let mut bench = Bench::holding();
    bench.other(&Change::Enqueue { claim: rival(3, TTL), wall: Wall::default() });
    bench.release(1);
    bench.settle();
    assert_eq!(bench.record().term, Term(3));
}

#[test]
fn a_dead_head_is_removed_before_the_grant() {
    let mut bench = Bench::holding();
    let mut record = bench.record().clone();
    record.waiters.push(Entry::from_text("nobody writes this"));
    bench.store(record);
    bench.rival_joins(3);
    bench.release(1);
    bench.settle();
    assert_eq!(bench.record().term, Term(3));
    assert!(bench.record().waiters.is_empty());
}

#[test]
fn bug_7_a_release_leaves_another_holder_alone() {
    let mut bench = Bench::holding();
    bench.sleep(2 * TTL);
    let seen = bench.record().pair();
    bench.rival_claims(3, seen);
    let theirs = bench.stored.clone();
    bench.release(1);
    bench.settle();
    assert_eq!(bench.stored, theirs);
    assert!(bench.keeper.is_idle());
}

#[test]
fn bug_6_a_late_release_does_not_touch_a_newer_hold_of_the_same_engine() {
    let mut bench = Bench::holding();
    bench.release(1);
    let late = bench.call.clone().unwrap();
    bench.serve();
    bench.want(want(2));
    bench.settle();
    assert!(bench.has(2));
    bench.deliver(&late);
    assert!(bench.stored.is_some());
}

#[test]
fn a_lost_term_sends_no_renewal() {
    let mut bench = Bench::holding();
    bench.sleep(TTL);
    bench.step(Event::Tick);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline));
    let before = renewals(&bench);
    bench.pass(3 * TTL);
    assert_eq!(renewals(&bench), before);
}

#[test]
fn s4_lost_is_final_even_if_a_renewal_is_confirmed_late() {
    let mut bench = Bench::holding();
    bench.sleep(3_400);
    bench.step(Event::Tick);
    let answer = bench.land();
    bench.sleep(6_000);
    bench.reply(answer);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline));
    bench.pass(100);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline));
}

#[test]
fn a_lost_term_is_given_back_when_its_guard_is_gone() {
    let mut bench = Bench::holding();
    bench.sleep(TTL);
    bench.release(1);
    bench.settle();
    assert_eq!(bench.stored, None, "best effort, under its own term");
}

#[test]
fn bug_23_a_foreign_term_is_a_loss_at_once() {
    let mut bench = Bench::holding();
    let seen = bench.record().pair();
    bench.rival_claims(3, seen);
    bench.seen();
    assert_eq!(bench.loss(1), Some(LossReason::TakenOver));
}

#[test]
fn bug_35_a_deletion_is_a_loss_at_once_and_acquire_works_again() {
    let mut bench = Bench::holding();
    (bench.stored, bench.version) = (None, bench.version + 1);
    bench.step(Event::Deleted(bench.version));
    assert_eq!(bench.loss(1), Some(LossReason::Deleted));
    bench.want(want(2));
    bench.release(1);
    bench.settle();
    assert!(bench.has(2));
}

#[test]
fn bug_1_a_renewal_in_flight_at_the_release_renews_nothing_afterwards() {
    let mut bench = Bench::holding();
    bench.sleep(3_400);
    bench.step(Event::Tick);
    bench.release(1);
    bench.settle();
    assert_eq!(bench.stored, None);
    let before = renewals(&bench);
    bench.pass(3 * TTL);
    assert_eq!(renewals(&bench), before);
}

#[test]
fn bug_3_a_failed_renewal_does_not_end_renewal() {
    let mut bench = Bench::holding();
    bench.sleep(3_400);
    bench.step(Event::Tick);
    bench.lose();
    bench.pass(20_000);
    assert!(bench.has(1));
    bench.release(1);
    bench.settle();
    bench.want(want(2));
    bench.settle();
    bench.pass(30_000);
    assert!(bench.has(2) && renewals(&bench) > 8);
}

#[test]
fn bug_10_a_call_that_never_answers_is_a_loss_by_the_deadline() {
    let mut bench = Bench::holding();
    bench.sleep(3_400);
    bench.step(Event::Tick);
    assert!(bench.call.is_some());
    assert!(bench.last.wake.is_some_and(|wake| wake <= Bench::at(100_000 + TTL - 1_000)));
    bench.sleep(TTL);
    assert_eq!(bench.loss(1), Some(LossReason::Deadline));
}

#[test]
fn a_cancelled_acquisition_leaves_the_queue() {
    let mut bench = Bench::waiting(want(1));
    bench.step(Event::Cancel(Ticket(1)));
    bench.settle();
    assert!(bench.record().waiters.is_empty());
    assert!(bench.keeper.is_idle());
}

#[test]
fn s6_what_a_cancelled_acquisition_got_is_released() {
    for late in [false, true] {
        let mut bench = Bench::new();
        bench.want(want(1));
        bench.step(Event::Cancel(Ticket(1)));
        let answer = bench.land();
        bench.reply(if late { Outcome::Unknown } else { answer });
        bench.pass(2_000);
        assert_eq!(bench.stored, None);
        assert!(bench.keeper.is_idle());
        assert_eq!(renewals(&bench), 0);
    }
}

#[test]
fn a_grant_that_nobody_wants_is_passed_on() {
    let mut bench = Bench::held(TTL);
    bench.other(&Change::Enqueue { claim: Claim { engine: me(), ..rival(9, TTL) }, wall: Wall::default() });
    bench.other(&Change::Enqueue { claim: rival(3, TTL), wall: Wall::default() });
    bench.grant(0xaa);
    bench.seen();
    bench.settle();
    assert_eq!(bench.record().term, Term(3));
    assert!(bench.keeper.is_idle());
}

#[test]
fn a_stray_whose_deletion_is_refused_is_looked_after() {
    let mut bench = Bench::held(TTL);
    bench.other(&Change::Enqueue { claim: Claim { engine: me(), ..rival(9, TTL) }, wall: Wall::default() });
    bench.grant(0xaa);
    bench.seen();
    bench.other(&Change::Enqueue { claim: rival(3, TTL), wall: Wall::default() });
    bench.settle();
    assert_eq!(bench.record().term, Term(3));
}

#[test]
fn the_next_local_acquisition_needs_no_write() {
    let mut bench = Bench::holding();
    bench.want(want(2));
    assert!(!bench.has(2));
    let (until, sent) = (bench.until(), bench.sent.len());
    bench.release(1);
    assert!(bench.has(2));
    assert_eq!((bench.until(), bench.sent.len()), (until, sent));
    let tokens: Vec<_> = bench
        .notices
        .iter()
        .filter_map(|notice| if let Notice::Acquired(_, token) = notice { Some(*token) } else { None })
        .collect();
    assert_eq!(tokens[1].get(), tokens[0].get() + 1);
}

#[test]
fn another_engine_gets_its_turn_after_sixteen_local_hand_overs() {
    let mut bench = Bench::holding();
    bench.rival_joins(3);
    for ticket in 2..40 {
        bench.want(want(ticket));
    }
    let mut had = 1;
    while bench.record().term != Term(3) {
        assert!(had < 40, "the other engine never has its turn");
        bench.release(had);
        bench.settle();
        had += 1;
    }
    assert_eq!(had, 18, "the first user and sixteen hand-overs");
    assert_eq!(bench.record().waiters.len(), 1, "who waits here joins the queue");
}

#[test]
fn a_lost_guard_blocks_the_next_local_acquisition_until_it_is_gone() {
    let mut bench = Bench::holding();
    bench.want(want(2));
    bench.sleep(TTL);
    bench.step(Event::Tick);
    assert!(bench.call.is_none() && !bench.has(2));
    bench.release(1);
    bench.settle();
    assert!(bench.has(2));
}

#[test]
fn at_least_keeps_the_hold_after_its_user() {
    let mut bench = Bench::new();
    bench.want(Want { at_least: ms(25_000), ..want(1) });
    bench.settle();
    bench.release(1);
    assert!(bench.told(&Notice::Released(Ticket(1))));
    bench.pass(24_999);
    assert!(bench.stored.is_some());
    bench.pass(1);
    bench.settle();
    assert_eq!(bench.stored, None);
}

#[test]
fn max_hold_ends_the_user_and_the_renewals() {
    let mut bench = Bench::new();
    bench.want(Want { max_hold: Some(ms(15_000)), ..want(1) });
    bench.settle();
    bench.pass(14_999);
    assert!(bench.has(1));
    bench.pass(1);
    assert_eq!(bench.loss(1), Some(LossReason::MaxHold));
    let before = renewals(&bench);
    bench.pass(TTL);
    assert_eq!(renewals(&bench), before);
}

#[test]
fn shutdown_ends_bodies_first_and_protects_their_end() {
    let mut bench = Bench::holding();
    bench.want(want(2));
    bench.step(Event::ShutDown);
    assert!(bench.told(&Notice::ShutDown(Ticket(2))));
    assert_eq!(bench.loss(1), Some(LossReason::ShutDown));
    let before = renewals(&bench);
    bench.pass(8_000);
    assert!(renewals(&bench) > before, "the body has not ended yet");
    bench.release(1);
    bench.settle();
    assert_eq!(bench.stored, None);
    assert!(bench.keeper.is_idle());
}

#[test]
fn a_wished_successor_goes_first() {
    let mut bench = Bench::holding();
    bench.rival_joins(3);
    let claim = Claim { engine: EngineId::new("heir", 1), ..rival(4, TTL) };
    let seen = bench.other(&Change::Enqueue { claim, wall: Wall::default() });
    bench.step(Event::Seen(seen));
    bench.step(Event::Release(Ticket(1), Some("heir".to_owned())));
    bench.settle();
    assert_eq!(bench.record().term, Term(4));
    assert!(bench.told(&Notice::HandedOver(Ticket(1))));
}

/// The grant was refused, since the one it was for has just left.
#[test]
fn a_wished_successor_that_leaves_meanwhile_was_not_found() {
    let mut bench = Bench::holding();
    let claim = Claim { engine: EngineId::new("heir", 1), ..rival(4, TTL) };
    let seen = bench.other(&Change::Enqueue { claim, wall: Wall::default() });
    let entry = seen.record.waiters[0].clone();
    bench.step(Event::Seen(seen));
    bench.step(Event::Release(Ticket(1), Some("heir".to_owned())));
    assert!(matches!(bench.change(), Change::Grant { .. }));
    bench.other(&Change::Leave { index: 0, entry });
    bench.settle();
    assert!(bench.told(&Notice::Released(Ticket(1))) && !bench.told(&Notice::HandedOver(Ticket(1))));
}

#[test]
fn a_release_that_cannot_be_made_known_is_abandoned_after_a_ttl() {
    let mut bench = Bench::holding();
    bench.release(1);
    for _ in 0..40 {
        if bench.call.is_some() {
            bench.sleep(1_666);
            bench.lose();
        }
        if let Some(wake) = bench.last.wake {
            bench.now = bench.now.max(wake.as_nanos() / 1_000_000 + 1);
            bench.step(Event::Tick);
        }
    }
    assert!(bench.told(&Notice::Abandoned(Ticket(1))));
    assert!(bench.keeper.is_idle());
}

#[test]
fn the_sequence_of_a_term_ends_in_a_real_write() {
    let mut bench = Bench::holding();
    let mut last = 0;
    for ticket in 2..66_000 {
        bench.want(want(ticket));
        bench.release(ticket - 1);
        bench.settle();
        let Some(Notice::Acquired(_, token)) = bench.notices.last() else { panic!("acquired") };
        assert!(token.get() > last);
        last = token.get();
    }
    assert_eq!(renewals(&bench), 1);
}
