//! Adoption: what an earlier start of the same engine held is claimed at once, unless that start lives.

use super::*;
use crate::record::Role;

fn incarnation(bits: u64) -> EngineId {
    EngineId::of_pod("me", Role::Sidecar, 1, bits)
}

fn held_by(engine: EngineId) -> Bench {
    let mut bench = Bench { keeper: Keeper::new(incarnation(2)), ..Bench::new() };
    let claim = Claim { engine, ..rival(1, TTL) };
    bench.other(&Change::Create { claim, beat: Beat(1), under: Term::NONE, wall: bench.wall() });
    bench
}

fn adopter(ticket: u64) -> Want {
    Want { adopt: true, patience: Patience::Poll { create_only: false }, ..want(ticket) }
}

#[test]
fn what_an_earlier_start_held_is_claimed_at_once() {
    let mut bench = held_by(incarnation(1));
    bench.want(adopter(1));
    bench.settle();
    assert!(bench.has(1));
}

#[test]
fn s2_another_role_of_the_pod_is_not_adopted() {
    let mut bench = held_by(EngineId::of_pod("me", Role::Library, 1, 1));
    bench.want(adopter(1));
    bench.settle();
    assert!(bench.told(&Notice::Busy(Ticket(1))));
}

/// Its beat has moved since this engine first saw it.
#[test]
fn s2_kin_that_was_seen_to_live_is_not_adopted() {
    for waits in [false, true] {
        let mut bench = held_by(incarnation(1));
        bench.seen();
        bench.holder_renews();
        bench.seen();
        bench.want(if waits { Want { adopt: true, ..want(1) } } else { adopter(1) });
        bench.settle();
        assert!(!bench.has(1));
    }
}

/// Two of one pod that both live take a lock from each other once, and not for ever.
#[test]
fn s2_kin_that_takes_what_this_engine_had_is_alive() {
    let mut bench = held_by(incarnation(1));
    bench.want(adopter(1));
    bench.settle();
    let (seen, wall) = (bench.record().pair(), bench.wall());
    let claim = Claim { engine: incarnation(1), ..rival(9, TTL) };
    bench.other(&Change::Claim { claim, beat: Beat(9), seen, removes: Vec::new(), under: Term::NONE, wall });
    bench.seen();
    assert_eq!(bench.loss(1), Some(LossReason::TakenOver));
    bench.release(1);
    bench.want(adopter(2));
    bench.settle();
    assert!(bench.told(&Notice::Busy(Ticket(2))));
}

/// A grant to it is the write of another, who could not know.
#[test]
fn kin_that_was_granted_the_lock_while_it_was_dead_is_adopted() {
    let mut bench = Bench { keeper: Keeper::new(incarnation(2)), ..Bench::held(TTL) };
    bench.other(&Change::Enqueue { claim: Claim { engine: incarnation(1), ..rival(9, TTL) }, wall: Wall::default() });
    bench.seen();
    bench.grant(0xaa);
    bench.seen();
    bench.want(adopter(1));
    bench.settle();
    assert!(bench.has(1));
}

#[test]
fn s8_a_reservation_of_an_earlier_start_is_not_adopted() {
    let mut bench = held_by(incarnation(1));
    let (record, until) = (bench.record().clone(), bench.wall() + ms(60_000));
    let (term, previous, engine) = (record.term, record.beat, record.engine);
    bench.other(&Change::Reserve { term, previous, beat: Beat(2), engine, ttl: ms(61_000), until });
    bench.want(adopter(1));
    bench.settle();
    assert!(bench.told(&Notice::Busy(Ticket(1))));
}
