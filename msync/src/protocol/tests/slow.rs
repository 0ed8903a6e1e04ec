//! Calls that take longer than usual: how long they are given, and what is believed with what is left (design 4.7).

use super::*;
use crate::protocol::trouble::longest_call;

/// Every write takes so long to be answered, if it is given so much; reads are answered at once.
fn writes_take(bench: &mut Bench, millis: u64, until: u64) {
    while bench.now < until {
        match bench.call.clone() {
            Some(Call::Read) => bench.serve(),
            Some(_) if bench.last.timeout <= ms(millis) => {
                let limit = u64::try_from(bench.last.timeout.as_millis()).unwrap();
                bench.now += limit;
                bench.lose();
            }
            Some(_) => {
                let answer = bench.land();
                bench.now += millis;
                bench.reply(answer);
            }
            None if bench.last.wake.is_some() => drop(bench.wake()),
            None => return,
        }
    }
}

#[test]
fn calls_that_take_longer_than_usual_are_given_longer_and_the_lock_is_had_and_kept() {
    for slow in [2_000, 3_000, 4_000] {
        let mut bench = Bench::new();
        bench.want(want(1));
        let until = bench.now + 100_000;
        writes_take(&mut bench, slow, until);
        assert!(bench.has(1), "{slow}: {:?}", bench.notices);
        bench.release(1);
        let until = bench.now + 20_000;
        writes_take(&mut bench, slow, until);
        assert_eq!(bench.stored, None, "{slow}");
    }
}

/// A keeper in the queue of another holder, whose way there took three seconds.
fn slowly_enqueued() -> Bench {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve(); // the creation is refused
    let answer = bench.land();
    bench.sleep(3_000);
    bench.reply(answer);
    bench
}

#[test]
fn a_grant_is_accepted_first_where_calls_are_so_slow_that_its_first_renewal_would_not_fit() {
    let mut bench = slowly_enqueued();
    bench.now = 100_000 + 6_800; // 2,200 are left of the deadline that an instant grant brings
    let granted = bench.grant(99);
    bench.step(Event::Seen(granted));
    assert!(!bench.has(1), "1,666 would be enough otherwise");
    bench.settle();
    assert!(bench.has(1));
}

#[test]
fn a_claim_seen_too_late_for_a_slow_renewal_is_sent_again_first() {
    let mut bench = slowly_enqueued();
    while !matches!(bench.call, Some(Call::Apply(Change::Claim { .. }))) {
        match bench.call {
            Some(_) => bench.serve(),
            None => drop(bench.wake()),
        }
    }
    bench.land();
    bench.sleep(6_800); // 2,200 are left of the deadline that the claim brings
    bench.seen();
    assert!(!bench.has(1), "1,666 would be enough otherwise");
    bench.lose();
    bench.wake();
    bench.settle();
    assert!(bench.has(1));
}

#[test]
fn no_call_is_given_longer_than_a_hold_could_be_renewed_with() {
    for ttl in [1_000, TTL, 15_000, 60_000, 3_600_000] {
        let timing = timing(ttl);
        let longest = longest_call(&timing);
        assert!(2 * longest + timing.safety_margin() <= timing.ttl() && longest <= Duration::from_secs(60), "{ttl}");
        let mut bench = Bench::new();
        bench.want(Want { timing, ..want(1) });
        for _ in 0..10 {
            assert!(bench.last.timeout <= longest, "{:?}", bench.last.timeout);
            bench.now += u64::try_from(bench.last.timeout.as_millis()).unwrap();
            bench.lose();
            bench.wake();
            while bench.call.is_none() {
                bench.wake();
            }
        }
        assert_eq!(bench.last.timeout, longest.max(timing.attempt_timeout()), "{ttl}");
    }
}

#[test]
fn a_renewal_whose_answer_was_lost_leaves_room_for_another() {
    let mut bench = Bench::holding();
    bench.step(Event::Prolong(Ticket(1)));
    let mut tries = 0;
    while bench.loss(1).is_none() {
        if bench.call.is_some() {
            tries += 1;
            bench.now += u64::try_from(bench.last.timeout.as_millis()).unwrap();
            bench.lose();
        } else {
            bench.wake();
        }
    }
    assert!(tries >= 3, "{tries}");
}
