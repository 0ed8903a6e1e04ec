use std::time::Duration;

use crate::{
    Timing,
    clock::{Moment, Now, Wall},
    protocol::{Action, Call, Event, Keeper, Notice, Outcome, Patience, Ticket, View, Want},
    record::{Beat, Change, Claim, EngineId, Entry, Role, Term},
    store::{Snapshot, Version},
};

const TTL: Duration = Duration::from_secs(31);

fn now(seconds: u64) -> Now {
    Now { local: Moment::default() + Duration::from_secs(3600 + seconds), wall: Wall::from_millis(0) }
}

fn want(create_only: bool) -> Want {
    let plain = Want::new(Ticket(1), Timing::with_ttl(TTL).unwrap());
    Want { retained: true, adopt: true, patience: Patience::Poll { create_only }, ..plain }
}

fn of_pod(owner: &str, bits: u64) -> EngineId {
    EngineId::of_pod(owner, Role::Sidecar, 1, bits)
}

fn held_by(engine: EngineId, version: u64) -> Snapshot {
    let claim = Claim { engine, term: Term(77), ttl: TTL, instant: true };
    let create = Change::Create { claim, beat: Beat(88), under: Term::NONE, wall: Wall::from_millis(0) };
    Snapshot { version: Version { uid: "u".into(), number: version }, record: create.apply(None).unwrap() }
}

fn free(version: u64) -> Snapshot {
    let mut snapshot = held_by(of_pod("b", 2), version);
    snapshot.record =
        Change::Free { term: Term(77), wall: Wall::from_millis(0) }.apply(Some(&snapshot.record)).unwrap();
    snapshot
}

/// A keeper that is asked once and told what its first read finds.
fn polled(keeper: &mut Keeper, create_only: bool, found: Option<Snapshot>, at: u64) -> Action {
    let mut random = (1..).map(|n| n * 1_000_003);
    let mut random = move || random.next().unwrap();
    let action = keeper.step(Event::Want(want(create_only)), now(at), &mut random);
    assert_eq!(action.call, Some(Call::Read), "looks first");
    keeper.step(Event::Reply(Outcome::Read(found)), now(at), &mut random)
}

fn fresh() -> Keeper {
    Keeper::new(of_pod("a", 1))
}

fn is_busy(action: &Action) -> bool {
    action.call.is_none() && action.notices == [Notice::Busy(Ticket(1))]
}

fn claims(action: &Action, removed: usize) -> bool {
    matches!(&action.call, Some(Call::Apply(Change::Claim { removes, .. })) if removes.len() == removed)
}

#[test]
fn an_absent_lock_is_made() {
    for create_only in [false, true] {
        let action = polled(&mut fresh(), create_only, None, 0);
        assert!(matches!(action.call, Some(Call::Apply(Change::Create { .. }))), "{action:?}");
    }
}

#[test]
fn a_free_lock_is_claimed_but_not_created() {
    assert!(claims(&polled(&mut fresh(), false, Some(free(5)), 0), 0));
    assert!(is_busy(&polled(&mut fresh(), true, Some(free(5)), 0)));
}

#[test]
fn a_holder_seen_for_the_first_time_is_left_alone_at_once() {
    let mut keeper = fresh();
    assert!(is_busy(&polled(&mut keeper, false, Some(held_by(of_pod("b", 2), 5)), 0)));
    assert!(keeper.is_idle());
}

#[test]
fn a_holder_that_earlier_tries_saw_is_taken_over_after_its_ttl() {
    let found = held_by(of_pod("b", 2), 5);
    let mut keeper = fresh();
    for at in [0, 10, 20, 30] {
        assert!(is_busy(&polled(&mut keeper, false, Some(found.clone()), at)), "{at}");
        keeper = Keeper::resuming(of_pod("a", 1), keeper.view().clone());
    }
    assert!(claims(&polled(&mut keeper, false, Some(found), 31), 0));
}

#[test]
fn a_beat_between_two_tries_is_a_sign_of_life() {
    let mut keeper = fresh();
    polled(&mut keeper, false, Some(held_by(of_pod("b", 2), 5)), 0);
    let mut keeper = Keeper::resuming(of_pod("a", 1), keeper.view().clone());
    let mut beaten = held_by(of_pod("b", 2), 6);
    beaten.record.beat = Beat(89);
    assert!(is_busy(&polled(&mut keeper, false, Some(beaten), 40)));
}

#[test]
fn whoever_waits_in_the_queue_of_a_dead_holder_comes_first() {
    let mut found = held_by(of_pod("b", 2), 5);
    found.record.waiters = vec![Entry::from_text("0000000000000009 c.0000000000000001 31000 instant")];
    let mut view = View::default();
    view.believe(&found, now(0).local);
    let keeper = || Keeper::resuming(of_pod("a", 1), view.clone());
    assert!(is_busy(&polled(&mut keeper(), false, Some(found.clone()), 31)));
    assert!(claims(&polled(&mut keeper(), false, Some(found), 33), 1));
}

#[test]
fn an_earlier_start_of_this_pod_is_taken_over_at_once() {
    assert!(claims(&polled(&mut fresh(), false, Some(held_by(of_pod("a", 9), 5)), 0), 0));
    let other_pod = EngineId::of_pod("a", Role::Sidecar, 2, 9);
    assert!(is_busy(&polled(&mut fresh(), false, Some(held_by(other_pod, 5)), 0)));
    assert!(is_busy(&polled(&mut fresh(), true, Some(held_by(of_pod("a", 9), 5)), 0)));
}

#[test]
fn who_loses_the_race_looks_who_won() {
    let mut keeper = fresh();
    polled(&mut keeper, false, None, 0);
    let refused = Event::Reply(Outcome::Refused(crate::record::Refused::Exists));
    let action = keeper.step(refused, now(0), &mut || 5);
    assert_eq!(action.call, Some(Call::Read));
    let action = keeper.step(Event::Reply(Outcome::Read(Some(held_by(of_pod("b", 2), 5)))), now(0), &mut || 6);
    assert!(is_busy(&action), "{action:?}");
}

#[test]
fn a_store_that_does_not_answer_is_told_of_in_time() {
    let mut keeper = fresh();
    let mut action = keeper.step(Event::Want(want(false)), now(0), &mut || 5);
    let mut at = now(0);
    while action.notices.is_empty() {
        let wait = if action.call.is_some() { Duration::from_secs(3) } else { action.wake.unwrap().since(at.local) };
        at.local = at.local + wait;
        let event = if action.call.is_some() { Event::Reply(Outcome::Unknown) } else { Event::Tick };
        action = keeper.step(event, at, &mut || 5);
    }
    assert_eq!(action.notices, [Notice::Failed(Ticket(1))]);
    assert!(at.local.since(now(0).local) < Duration::from_secs(15), "ttl / 3, and the call under way");
}

#[test]
fn a_user_may_have_its_hold_renewed_at_once() {
    let mut keeper = fresh();
    let action = polled(&mut keeper, false, None, 0);
    let Some(Call::Apply(create)) = action.call else { panic!("{action:?}") };
    let made = Snapshot { version: Version { uid: "u".into(), number: 5 }, record: create.apply(None).unwrap() };
    let action = keeper.step(Event::Reply(Outcome::Applied(made)), now(0), &mut || 7);
    assert!(matches!(action.notices[..], [Notice::Acquired(Ticket(1), _)]) && action.call.is_none());
    assert_eq!(keeper.standing().version, 5);
    keeper.step(Event::Collected(Ticket(1), now(0).local), now(0), &mut || 7);
    assert!(keeper.step(Event::Prolong(Ticket(2)), now(1), &mut || 8).call.is_none(), "not the user");
    let action = keeper.step(Event::Prolong(Ticket(1)), now(1), &mut || 9);
    assert!(matches!(action.call, Some(Call::Apply(Change::Renew { .. }))));
}
