//! How long it is tried to give something back while calls fail (design 4.4): until others may take over anyway.

use super::*;

/// Every call fails when its time is up, until the pause after one of them ends no sooner than a ttl after the first.
fn fails_for_a_ttl(bench: &mut Bench, outcome: &Outcome) {
    let end = Bench::at(bench.now + TTL);
    loop {
        while bench.call.is_none() {
            if bench.last.wake.expect("it goes on") >= end {
                return;
            }
            bench.wake();
        }
        bench.sleep(1_666);
        bench.reply(outcome.clone());
    }
}

/// A creation that landed after all: that it did is the first that is heard after an outage. It was given up unseen.
#[test]
fn what_has_just_been_shown_is_not_given_up_for_what_failed_before() {
    let mut bench = Bench::holding();
    bench.release(1);
    bench.settle();
    bench.want(want(2));
    let late = bench.call.clone().unwrap();
    bench.step(Event::Cancel(Ticket(2)));
    fails_for_a_ttl(&mut bench, &Outcome::Unknown);
    bench.deliver(&late);
    bench.seen();
    bench.pass(5_000);
    assert_eq!(bench.stored, None, "{:?}", bench.sent);
    assert!(bench.keeper.is_idle());
}

/// The inbox lists anew when it has a connection again: who gave up then would never hear of the lock again.
#[test]
fn what_is_shown_once_more_is_not_given_up_for_what_failed_before() {
    let mut bench = Bench::holding();
    bench.release(1);
    fails_for_a_ttl(&mut bench, &Outcome::Busy(None));
    bench.seen();
    bench.pass(5_000);
    assert_eq!(bench.stored, None, "{:?}", bench.sent);
    assert!(bench.told(&Notice::Released(Ticket(1))) && bench.keeper.is_idle());
}

#[test]
fn what_is_shown_and_cannot_be_given_back_is_given_up_after_another_ttl() {
    for outcome in [Outcome::Busy(None), Outcome::Unknown, Outcome::Denied, Outcome::Fatal] {
        let mut bench = Bench::holding();
        bench.release(1);
        fails_for_a_ttl(&mut bench, &outcome);
        let shown = bench.now;
        bench.seen();
        while !bench.keeper.is_idle() {
            match bench.call {
                Some(_) => bench.reply(outcome.clone()),
                None => drop(bench.wake()),
            }
            assert!(bench.now < shown + 2 * TTL, "{outcome:?}: it goes on for ever");
        }
        assert!(bench.now >= shown + TTL, "{outcome:?}: given up {} ms after it was shown", bench.now - shown);
        assert!(bench.told(&Notice::Abandoned(Ticket(1))), "{outcome:?}");
    }
}

/// An event that was on its way for long shows a state that is over, and says nothing of the store.
#[test]
fn an_older_state_that_is_shown_late_keeps_nobody_trying() {
    let mut bench = Bench::holding();
    let old = bench.stored.clone().unwrap();
    bench.step(Event::Prolong(Ticket(1)));
    bench.settle();
    bench.release(1);
    fails_for_a_ttl(&mut bench, &Outcome::Busy(None));
    bench.step(Event::Seen(old));
    while bench.call.is_none() && !bench.keeper.is_idle() {
        bench.wake();
    }
    assert!(bench.keeper.is_idle(), "{:?}", bench.call);
}
