#![allow(clippy::disallowed_methods, reason = "the clock of these tests is tokio's, and it is paused")]

use futures::FutureExt;

use super::*;
use crate::clock::TokioClock;

fn gate() -> Gate {
    Gate::new(crate::clock::os_random())
}

fn at(nanos: u64) -> Moment {
    Moment::from_nanos(nanos)
}

/// Waits at the gate; the permit, if it is there at once.
fn ask(gate: &Gate, purpose: Purpose) -> Option<Permit> {
    gate.enter(purpose, gate.arrive()).now_or_never()
}

fn fill(gate: &Gate, purpose: Purpose) -> Vec<Permit> {
    std::iter::from_fn(|| ask(gate, purpose)).collect()
}

/// A call that waits, polled once.
macro_rules! wait {
    ($gate:expr, $purpose:expr) => {{
        let (gate, purpose): (Gate, Purpose) = ($gate.clone(), $purpose);
        let arrival = gate.arrive();
        let mut waiting = Box::pin(async move { gate.enter(purpose, arrival).await });
        assert!(waiting.as_mut().now_or_never().is_none());
        waiting
    }};
}

#[tokio::test]
async fn calls_that_keep_a_hold_have_permits_of_their_own() {
    let gate = gate();
    let others = fill(&gate, Purpose::Other);
    assert!(!others.is_empty() && ask(&gate, Purpose::GiveBack).is_none());
    let beats = fill(&gate, Purpose::Keep(at(5)));
    assert_eq!(beats.len(), BEATS_AT_ONCE);
    drop(others);
    assert!(ask(&gate, Purpose::Other).is_some(), "nor can those keep others out");
}

#[tokio::test]
async fn the_nearest_deadline_goes_first() {
    let gate = gate();
    let mut beats = fill(&gate, Purpose::Keep(at(1)));
    let mut late = wait!(gate, Purpose::Keep(at(9)));
    let mut soon = wait!(gate, Purpose::Keep(at(3)));
    beats.pop();
    assert!(late.as_mut().now_or_never().is_none());
    let soon = soon.as_mut().now_or_never().expect("its turn");
    drop(soon);
    assert!(late.as_mut().now_or_never().is_some());
}

#[tokio::test]
async fn who_gives_back_goes_first_then_first_come_first() {
    let gate = gate();
    let mut running = fill(&gate, Purpose::Other);
    let mut first = wait!(gate, Purpose::Other);
    let mut second = wait!(gate, Purpose::Other);
    let mut release = wait!(gate, Purpose::GiveBack);
    running.pop();
    assert!(first.as_mut().now_or_never().is_none());
    drop(release.as_mut().now_or_never().expect("its turn"));
    assert!(second.as_mut().now_or_never().is_none());
    drop(first.as_mut().now_or_never().expect("its turn"));
    assert!(second.as_mut().now_or_never().is_some());
}

#[tokio::test]
async fn who_comes_again_unsent_has_the_place_of_its_first_arrival() {
    let gate = gate();
    let mut running = fill(&gate, Purpose::Other);
    let arrival = gate.arrive();
    let mut younger = wait!(gate, Purpose::Other);
    let mut again = Box::pin(gate.enter(Purpose::Other, arrival));
    assert!(again.as_mut().now_or_never().is_none());
    running.pop();
    assert!(younger.as_mut().now_or_never().is_none());
    assert!(again.as_mut().now_or_never().is_some());
}

#[tokio::test]
async fn a_caller_that_gave_up_keeps_neither_permit_nor_place() {
    let gate = gate();
    let mut running = fill(&gate, Purpose::Other);
    let gone = wait!(gate, Purpose::Other);
    let told_and_gone = wait!(gate, Purpose::Other);
    drop(gone);
    assert_eq!(gate.waiting(), 1, "what has gone takes no room");
    running.pop();
    assert_eq!(gate.waiting(), 0);
    assert!(ask(&gate, Purpose::Other).is_none(), "the turn is given, if not taken yet");
    drop(told_and_gone);
    assert!(ask(&gate, Purpose::Other).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_beat_gives_way_to_a_more_urgent_one_only() {
    let (gate, clock) = (gate(), TokioClock::default());
    let beats = fill(&gate, Purpose::Keep(at(100)));
    let mut less_urgent = wait!(gate, Purpose::Keep(at(200)));
    let stuck = |seconds| tokio::time::timeout(Duration::from_secs(seconds), beats[0].displaced(&clock));
    assert!(stuck(60).await.is_err());
    let mut urgent = wait!(gate, Purpose::Keep(at(50)));
    stuck(2).await.expect("it gives way");
    assert!(urgent.as_mut().now_or_never().is_some());
    let others = tokio::time::timeout(Duration::from_secs(60), beats[1].displaced(&clock)).await;
    assert!(others.is_err(), "one was enough");
    drop(beats);
    assert!(less_urgent.as_mut().now_or_never().is_some());
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_asked_less_at_once() {
    let gate = gate();
    let permits = fill(&gate, Purpose::Other);
    let before = permits.len();
    for permit in &permits {
        permit.congested(at(1), at(2));
    }
    drop(permits);
    let permits = fill(&gate, Purpose::Other);
    assert_eq!(permits.len(), before / 2);
    assert_eq!(fill(&gate, Purpose::Keep(at(5))).len(), BEATS_AT_ONCE, "what is held is kept all the same");
    drop(permits);
}

#[tokio::test]
async fn those_who_join_queues_are_shuffled_but_none_is_overtaken_for_ever() {
    let gate = gate();
    let mut running = fill(&gate, Purpose::Other);
    let mut joining: Vec<_> = (0..100).map(|number| (number, wait!(gate, Purpose::Join))).collect();
    (0..200).for_each(|_| _ = gate.arrive());
    let mut late = wait!(gate, Purpose::Other);
    let mut order = Vec::new();
    while !joining.is_empty() {
        assert!(late.as_mut().now_or_never().is_none(), "it came later than any may be overtaken");
        running.pop();
        let mut turns = joining.iter_mut().enumerate();
        let turn = turns.find_map(|(place, (_, waiting))| Some((place, waiting.as_mut().now_or_never()?)));
        let (place, permit) = turn.expect("somebody's turn");
        order.push(joining.remove(place).0);
        running.push(permit);
    }
    assert!(!order.is_sorted(), "{order:?}");
}
