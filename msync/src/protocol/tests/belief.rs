//! What is believed, and what is too old for that (design 4.6).

use super::*;

#[test]
fn bug_33_an_older_version_is_ignored() {
    let mut bench = Bench::held(TTL);
    let old = bench.stored.clone().unwrap();
    bench.want(want(1));
    bench.settle();
    bench.grant(0xaa);
    bench.seen();
    assert!(bench.has(1));
    bench.step(Event::Seen(old));
    assert!(bench.has(1));
}

#[test]
fn bug_14_a_stale_event_never_grants() {
    let mut bench = Bench::waiting(want(1));
    bench.pass(500);
    let stale = bench.grant(0xaa);
    let seen = stale.record.pair();
    bench.sleep(2 * TTL);
    bench.rival_claims(3, seen);
    bench.seen();
    bench.step(Event::Seen(stale));
    assert!(!bench.has(1));
}

#[test]
fn a_late_get_reply_is_not_believed() {
    let mut bench = Bench::waiting(want(1));
    bench.step(Event::Disowned(bench.version));
    bench.step(Event::Unlisted);
    let mut keeper = Bench::waiting(want(1));
    // A refused claim makes it read; before the answer arrives, an event tells of a younger state.
    keeper.holder_renews();
    keeper.sleep(TTL);
    keeper.step(Event::Tick);
    keeper.serve();
    assert_eq!(keeper.call, Some(Call::Read));
    let late = keeper.land();
    keeper.grant(0xaa);
    keeper.seen();
    keeper.reply(late);
    let view = keeper.keeper.view().record().unwrap();
    assert_eq!(view.beat, Beat(0xaa));
}

#[test]
fn a_read_sent_later_is_believed_whatever_its_version() {
    let mut bench = Bench::waiting(want(1));
    // An etcd restore: versions go back, the record is another one.
    bench.version = 1;
    bench.stored = None;
    bench.other(&Change::Create { claim: rival(8, TTL), beat: Beat(8), under: Term::NONE, wall: Wall::from_millis(0) });
    bench.pass(TTL + 1);
    assert_eq!(bench.keeper.view().record().unwrap().term, Term(8));
}

#[test]
fn a_reply_older_than_an_event_does_not_roll_back() {
    let mut bench = Bench::holding();
    bench.sleep(3_400);
    bench.step(Event::Tick);
    let answer = bench.land();
    bench.rival_joins(3);
    bench.reply(answer);
    assert_eq!(bench.keeper.view().record().unwrap().waiters.len(), 1);
}

#[test]
fn a_disowning_is_a_reason_to_read_and_no_loss() {
    let mut bench = Bench::holding();
    bench.step(Event::Disowned(bench.version + 5));
    assert!(bench.has(1));
    assert_eq!(bench.call, Some(Call::Read));
    bench.settle();
    assert!(bench.has(1));
}

#[test]
fn an_absence_from_a_list_is_a_reason_to_read_and_no_loss() {
    let mut bench = Bench::holding();
    bench.step(Event::Unlisted);
    assert!(bench.has(1));
    assert_eq!(bench.call, Some(Call::Read));
}

#[test]
fn an_old_disowning_is_ignored() {
    let mut bench = Bench::holding();
    bench.step(Event::Disowned(bench.version - 1));
    assert_eq!(bench.call, None);
}

#[test]
fn the_acknowledgement_of_a_deletion_does_not_hide_what_was_seen_meanwhile() {
    let mut bench = Bench::holding();
    bench.release(1);
    let answer = bench.land();
    let claim = Claim { engine: me(), ..rival(9, TTL) };
    bench.other(&Change::Create { claim, beat: Beat(9), under: Term::NONE, wall: Wall::from_millis(0) });
    bench.seen();
    bench.reply(answer);
    assert_eq!(bench.keeper.view().record().map(|record| record.term), Some(Term(9)));
    assert!(bench.call.is_some(), "the stray is given back");
}

#[test]
fn a_pair_that_was_free_between_is_another_pair() {
    assert_ne!(Pair { term: Term(1), beat: Beat(1) }, Pair::FREE);
    let mut bench = Bench::waiting(want(1));
    bench.pass(6_000);
    let entry = bench.record().waiters[0].clone();
    bench.other(&Change::Leave { index: 0, entry });
    let wall = bench.wall();
    bench.other(&Change::Free { term: Term(1), wall });
    bench.rival_claims(2, Pair::FREE);
    bench.seen();
    bench.settle();
    bench.pass(TTL - 1);
    assert!(!bench.has(1));
}

#[test]
fn an_absence_from_a_list_says_nothing_of_another_engines_record() {
    let mut bench = Bench::waiting(want(1));
    bench.step(Event::Unlisted);
    assert_eq!(bench.keeper.view().record(), Some(bench.record()));
}
