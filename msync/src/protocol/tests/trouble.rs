//! What calls meet: failures of one kind beside successes of another, denials that pass, refusals that do not,
//! and what people are told of it (design 4.7).

use super::*;
use crate::protocol::Report;

/// Lets every write meet one outcome and every read be answered; returns the calls of each second.
pub(super) fn writes_meet(bench: &mut Bench, outcome: &Outcome, millis: u64) -> Vec<usize> {
    let (start, mut calls) = (bench.now, vec![0; usize::try_from(millis / 1000).unwrap() + 1]);
    while bench.now < start + millis {
        match bench.call.clone() {
            Some(call) => {
                calls[usize::try_from((bench.now - start) / 1000).unwrap()] += 1;
                if call == Call::Read {
                    bench.serve();
                } else {
                    bench.reply(outcome.clone());
                }
            }
            None if bench.last.wake.is_some() => drop(bench.wake()),
            None => break,
        }
    }
    calls
}

fn two_a_second_at_the_most(calls: &[usize]) {
    for (second, window) in calls[5..].windows(5).enumerate() {
        assert!(window.iter().sum::<usize>() <= 10, "from second {} on: {calls:?}", second + 5);
    }
}

#[test]
fn writes_that_fail_while_reads_succeed_are_sent_ever_more_rarely() {
    for outcome in [Outcome::Unknown, Outcome::Busy(None)] {
        for ttl in [1_000, TTL, 60_000] {
            let mut bench = Bench::new();
            bench.want(Want { timing: timing(ttl), ..want(1) });
            let calls = writes_meet(&mut bench, &outcome, 60_000);
            two_a_second_at_the_most(&calls);
            assert!(calls[30..].iter().sum::<usize>() >= 3, "it goes on trying: {calls:?}");
        }
    }
}

#[test]
fn a_hold_whose_renewals_fail_sends_two_requests_a_second_at_the_most() {
    let mut bench = Bench::new();
    bench.want(Want { timing: timing(30_000), ..want(1) });
    bench.settle();
    let calls = writes_meet(&mut bench, &Outcome::Unknown, 40_000);
    assert!(bench.loss(1).is_some());
    two_a_second_at_the_most(&calls);
}

#[test]
fn only_a_write_that_was_applied_ends_the_pauses_of_writes() {
    let mut bench = Bench::new();
    bench.want(want(1));
    writes_meet(&mut bench, &Outcome::Unknown, 10_000);
    while bench.call != Some(Call::Read) {
        match bench.call {
            Some(_) => bench.lose(),
            None => drop(bench.wake()),
        }
    }
    bench.serve();
    assert!(matches!(bench.change(), Change::Create { .. }), "at once after the read");
    bench.lose();
    let pause = bench.wake();
    assert!(pause >= 1_000, "{pause}");
    bench.settle();
    bench.step(Event::Prolong(Ticket(1)));
    bench.lose();
    assert!(bench.wake() <= 100);
}

#[test]
fn reads_that_fail_now_and_then_are_no_row_of_failures() {
    let mut bench = Bench::holding();
    for _ in 0..5 {
        bench.step(Event::Unlisted);
        assert_eq!(bench.call, Some(Call::Read));
        bench.lose();
        assert!(bench.wake() <= 100);
        bench.settle();
    }
}

/// A balancer may name an hour, or the end of time.
#[test]
fn a_server_that_wants_to_be_left_alone_is_asked_again_after_a_minute() {
    for (named, waited) in [(7, 7_000), (60, 60_000), (3_600, 60_000), (u64::MAX, 60_000)] {
        let mut bench = Bench::new();
        bench.want(want(1));
        bench.reply(Outcome::Busy(Some(Duration::from_secs(named))));
        let start = bench.now;
        while bench.call.is_none() {
            bench.wake(); // to tell people, too
        }
        assert_eq!(bench.now - start, waited, "{named}");
        bench.settle();
        assert!(bench.has(1));
    }
}

/// An acquisition whose writes are denied for so long.
fn denied_for(millis: u64) -> Bench {
    let mut bench = Bench::new();
    bench.want(want(1));
    writes_meet(&mut bench, &Outcome::Denied, millis);
    bench.settle();
    bench.pass(3_000);
    bench
}

#[test]
fn a_denial_that_passes_costs_no_acquisition() {
    assert!(denied_for(3_000).has(1));
}

#[test]
fn a_denial_is_forgotten_when_the_server_knows_the_rights_again() {
    let mut bench = denied_for(8_000);
    assert!(bench.has(1));
    bench.sleep(2_000);
    bench.step(Event::Prolong(Ticket(1)));
    bench.reply(Outcome::Denied);
    bench.release(1);
    bench.pass(100);
    bench.settle();
    assert!(bench.told(&Notice::Released(Ticket(1))), "{:?}", bench.notices);
}

#[test]
fn a_release_that_is_denied_is_tried_until_its_ttl_is_over() {
    for outcome in [Outcome::Denied, Outcome::Fatal] {
        let mut bench = Bench::holding();
        bench.release(1);
        let end = bench.now + TTL;
        writes_meet(&mut bench, &outcome, TTL - 1_500);
        let told = bench.told(&Notice::Abandoned(Ticket(1)));
        assert_eq!(told, outcome == Outcome::Fatal, "whoever waits for it is told when it is final");
        while bench.call.is_none() {
            bench.wake();
        }
        assert!(bench.now < end, "it is tried still");
        bench.settle();
        assert_eq!(bench.stored, None, "and succeeds");
        assert!(bench.keeper.is_idle());
    }
}

#[test]
fn a_release_that_is_denied_is_given_up_after_its_ttl() {
    let mut bench = Bench::holding();
    bench.release(1);
    writes_meet(&mut bench, &Outcome::Denied, 3 * TTL);
    assert!(bench.keeper.is_idle());
}

#[test]
fn a_release_that_was_denied_for_a_moment_is_sent_again_and_acknowledged() {
    let mut bench = Bench::holding();
    bench.release(1);
    writes_meet(&mut bench, &Outcome::Denied, 2_000);
    assert!(!bench.told(&Notice::Abandoned(Ticket(1))));
    bench.pass(3_000);
    assert!(bench.told(&Notice::Released(Ticket(1))));
    assert_eq!(bench.stored, None);
}

#[test]
fn refusals_without_end_fail_an_acquisition_after_a_ttl() {
    for refused in [Refused::Mismatch, Refused::Exists] {
        let mut bench = Bench::held(TTL);
        bench.want(want(1));
        let (start, mut calls) = (bench.now, 0);
        while !bench.told(&Notice::Failed(Ticket(1))) {
            match bench.call {
                Some(Call::Read) => bench.serve(),
                Some(_) => bench.reply(Outcome::Refused(refused)),
                None => drop(bench.wake()),
            }
            calls += 1;
            assert!(calls < 100 && bench.now < start + 6 * TTL, "{calls} calls, {}", bench.now - start);
        }
        assert!(bench.now >= start + TTL, "{}", bench.now - start);
    }
}

#[test]
fn a_try_that_meets_nothing_but_refusals_ends_after_a_third_of_the_ttl() {
    let mut bench = Bench::held(TTL);
    bench.other(&Change::Free { term: Term(1), wall: bench.wall() });
    bench.want(attempt(1));
    let start = bench.now;
    while !bench.told(&Notice::Failed(Ticket(1))) {
        match bench.call {
            Some(Call::Read) => bench.serve(),
            Some(_) => bench.reply(Outcome::Refused(Refused::Mismatch)),
            None => drop(bench.wake()),
        }
        assert!(bench.now < start + TTL, "{:?}", bench.call);
    }
}

#[test]
fn a_queue_that_is_full_for_long_is_no_refusal_without_end() {
    let mut bench = Bench::held(TTL);
    bench.want(want(1));
    bench.serve();
    for _ in 0..40 {
        assert!(matches!(bench.change(), Change::Enqueue { .. }));
        bench.reply(Outcome::Refused(Refused::Full));
        let beat = Beat(bench.now);
        bench.stored.as_mut().unwrap().record.beat = beat;
        bench.version += 1;
        bench.stored.as_mut().unwrap().version.number = bench.version;
        bench.settle();
        while bench.call.is_none() {
            bench.wake();
            if bench.call == Some(Call::Read) {
                bench.serve();
            }
        }
    }
    assert!(!bench.told(&Notice::Failed(Ticket(1))));
}

#[test]
fn a_hold_that_ends_for_its_renewals_were_refused_says_so() {
    let ends = [
        (Outcome::Refused(Refused::Mismatch), LossReason::Refused),
        (Outcome::Denied, LossReason::Refused),
        (Outcome::Fatal, LossReason::Refused),
        (Outcome::Unknown, LossReason::Deadline),
        (Outcome::Busy(None), LossReason::Deadline),
    ];
    for (outcome, reason) in ends {
        let mut bench = Bench::holding();
        writes_meet(&mut bench, &outcome, 20_000);
        assert_eq!(bench.loss(1), Some(reason), "{outcome:?}");
    }
}

fn reports(bench: &mut Bench, millis: u64) -> Vec<(u64, Report)> {
    let (start, mut told) = (bench.now, Vec::new());
    while bench.now < start + millis {
        if bench.call.is_some() {
            bench.lose();
        } else {
            bench.wake();
        }
        told.extend(bench.last.report.map(|report| (bench.now - start, report)));
    }
    told
}

#[test]
fn people_are_told_after_five_seconds_and_then_whenever_that_time_has_doubled_and_at_the_end() {
    let mut bench = Bench::new();
    bench.want(want(1));
    let told: Vec<_> = reports(&mut bench, 170_000).into_iter().map(|(at, report)| (at / 1000, report)).collect();
    let times: Vec<_> = told.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [5, 10, 20, 40, 80, 160], "{told:?}");
    assert!(told.iter().all(|(_, report)| matches!(report, Report::Failing { .. })), "{told:?}");
    while bench.call.is_none() {
        bench.wake();
    }
    let mut last = Vec::new();
    while bench.call.is_some() {
        bench.serve();
        last.extend(bench.last.report);
    }
    assert!(bench.has(1));
    assert!(matches!(last[..], [Report::Recovered { lasting }] if lasting >= ms(170_000)), "{last:?}");
}

/// Each with a limit of its own, as in a loop that tries again.
#[test]
fn whoever_comes_next_is_no_reason_to_tell_people_again() {
    for limit in [1_000, 6_000] {
        let (mut bench, mut told) = (Bench::new(), Vec::new());
        let start = bench.now;
        for ticket in 1.. {
            bench.want(want(ticket));
            told.extend(bench.last.report.map(|_| bench.now - start));
            let before = bench.now - start;
            told.extend(reports(&mut bench, limit).into_iter().map(|(at, _)| before + at));
            bench.step(Event::Cancel(Ticket(ticket)));
            told.extend(bench.last.report.map(|_| bench.now - start));
            if bench.now >= start + 70_000 {
                break;
            }
        }
        let seconds: Vec<_> = told.iter().map(|at| at / 1_000).collect();
        assert!((3..=4).contains(&told.len()), "limit {limit}: told at {seconds:?}");
        assert!(told.windows(2).all(|pair| pair[1] >= 2 * pair[0] - 1_000), "limit {limit}: told at {seconds:?}");
    }
}

#[test]
fn a_call_that_is_not_answered_at_all_is_told_as_well() {
    let mut bench = Bench::new();
    bench.want(Want { timing: timing(60_000), ..want(1) });
    assert!(bench.call.is_some());
    assert_eq!(bench.wake(), 5_000);
    assert!(matches!(bench.last.report, Some(Report::Failing { .. })), "{:?}", bench.last);
    bench.serve();
    assert!(matches!(bench.last.report, Some(Report::Recovered { .. })), "{:?}", bench.last);
}

#[test]
fn a_short_outage_and_a_long_wait_in_the_queue_are_told_to_nobody() {
    let mut bench = Bench::new();
    bench.want(want(1));
    assert_eq!(reports(&mut bench, 3_000), []);
    bench.settle();
    bench.pass(100_000);
    assert_eq!(bench.last.report, None);
    let mut bench = Bench::waiting(want(1));
    for _ in 0..20 {
        bench.pass(TTL / 2);
        let beat = Beat(bench.now);
        let mut seen = bench.stored.clone().unwrap();
        bench.version += 1;
        (seen.record.beat, seen.version.number) = (beat, bench.version);
        bench.stored = Some(seen.clone());
        bench.step(Event::Seen(seen));
        assert_eq!(bench.last.report, None);
    }
}

#[test]
fn who_gives_up_is_told_of_no_recovery() {
    let mut bench = Bench::new();
    bench.want(want(1));
    assert_eq!(reports(&mut bench, 7_000).len(), 1);
    bench.step(Event::Cancel(Ticket(1)));
    assert_eq!(bench.last.report, None);
}

#[test]
fn the_report_says_when_the_ttl_is_too_short_for_the_store() {
    let mut bench = Bench::new();
    bench.want(want(1));
    let mut told = None;
    while told.is_none() {
        if bench.call.is_some() {
            bench.now += u64::try_from(bench.last.timeout.as_millis()).unwrap();
            bench.lose();
        } else {
            bench.wake();
        }
        told = bench.last.report.filter(|report| !matches!(report, Report::Failing { too_slow: None, .. }));
        assert!(bench.now < 200_000);
    }
    assert!(matches!(told, Some(Report::Failing { too_slow: Some(longest), .. }) if longest == ms(4_500)), "{told:?}");
}

#[test]
fn a_holder_counts_as_seen_since_it_was_seen() {
    let mut bench = Bench::waiting(want(1));
    let since = Bench::at(bench.now);
    assert!(bench.keeper.has_seen_holder(since));
    assert!(bench.keeper.has_seen_holder(since + ms(60_000)), "it is shown, and no call has failed");
    bench.sleep(TTL);
    bench.step(Event::Tick);
    bench.lose();
    assert!(bench.keeper.has_seen_holder(since));
    assert!(!bench.keeper.has_seen_holder(since + ms(1_000)), "nothing is known of it any more");
}

#[test]
fn who_waits_behind_a_local_holder_has_seen_one() {
    let mut bench = Bench::holding();
    bench.want(want(2));
    bench.pass(1_000);
    assert!(bench.keeper.has_seen_holder(Bench::at(bench.now)));
}

#[test]
fn a_store_that_fails_shows_no_holder() {
    let mut bench = Bench::new();
    bench.want(want(1));
    let since = Bench::at(bench.now);
    reports(&mut bench, 20_000);
    assert!(!bench.keeper.has_seen_holder(since));
}

/// A release that is refused, for a policy forbids deletions, and somebody who comes while it is under way.
#[test]
fn whoever_comes_after_a_call_was_sent_is_not_told_what_it_met() {
    let mut bench = Bench::holding();
    bench.release(1);
    assert!(bench.call.is_some(), "the release is under way");
    bench.want(want(2));
    bench.reply(Outcome::Fatal);
    assert!(!bench.told(&Notice::Failed(Ticket(2))), "{:?}", bench.notices);
    bench.settle();
    bench.pass(2_000);
    bench.settle();
    assert!(bench.keeper.hold().is_some(), "{:?}", bench.sent);
}
