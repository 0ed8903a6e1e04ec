//! Forged histories must be rejected, true ones accepted, and both as stateright's tester does.

use std::fmt::Write;

use proptest::{prelude::*, strategy::ValueTree};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use super::*;

fn ledger(files: &[(&str, &str)]) -> Result<Ledger> {
    Ledger::of(files.iter().copied())
}

fn violations(files: &[(&str, &str)]) -> Vec<Violation> {
    ledger(files).unwrap().violations()
}

/// An acquisition that is wanted at once, held and promised, then released.
fn held(token: u64, from: u64, to: u64) -> String {
    let (wanted, promised) = (from - 1, to + 100);
    format!("{wanted} wants\n{from} holds {token} {promised}\n{to} releases {token}\n")
}

#[test]
fn one_after_the_other_is_accepted() {
    let (a, b) = (held(1, 10, 20) + &held(3, 30, 40), held(2, 20, 29));
    let files = [("a", a.as_str()), ("b", b.as_str())];
    assert_eq!(violations(&files), []);
    let summary = ledger(&files).unwrap().summary();
    assert_eq!((summary.acquisitions, summary.losses, summary.silent), (3, 0, 0));
    assert_eq!((summary.held, summary.longest_gap), (Duration::from_nanos(29), Duration::from_nanos(1)));
}

#[test]
fn an_overlap_is_found() {
    let (a, b) = (held(1, 10, 20), held(2, 19, 30));
    assert!(matches!(violations(&[("a", &a), ("b", &b)])[..], [Violation::Overlap(..)]));
    assert!(ledger(&[("a", &a), ("b", &b)]).unwrap().check().is_err());
}

#[test]
fn an_overlap_with_one_that_is_not_next_is_found() {
    let (a, b, c) = (held(1, 10, 50), held(2, 10, 11), held(3, 40, 60));
    assert_eq!(violations(&[("a", &a), ("b", &b), ("c", &c)]).len(), 2);
}

#[test]
fn a_token_that_does_not_increase_is_found() {
    let (a, b) = (held(2, 10, 20), held(1, 30, 40));
    assert!(matches!(violations(&[("a", &a), ("b", &b)])[..], [Violation::Inversion(..)]));
}

#[test]
fn a_token_that_comes_twice_is_found() {
    let (a, b) = (held(1, 10, 20), held(1, 30, 40));
    assert!(matches!(violations(&[("a", &a), ("b", &b)])[..], [Violation::Reuse(..)]));
}

#[test]
fn a_release_by_a_non_holder_is_found() {
    assert!(ledger(&[("a", "1 releases 1\n")]).is_err());
    assert!(ledger(&[("a", "1 wants\n2 releases 1\n")]).is_err());
    assert!(ledger(&[("a", "1 wants\n2 holds 1 9\n3 releases 2\n")]).is_err());
    let twice = held(1, 2, 3) + "4 releases 1\n";
    assert!(ledger(&[("a", &twice)]).is_err());
}

#[test]
fn belief_after_a_loss_is_found() {
    let lost = "1 wants\n2 holds 1 9\n9 lost 1 Deadline\n";
    assert_eq!(violations(&[("a", lost)]), []);
    let again = format!("{lost}10 holds 1 19\n");
    assert!(ledger(&[("a", &again)]).is_err(), "S4");
    assert!(ledger(&[("a", &format!("{lost}10 releases 1\n"))]).is_err());
}

#[test]
fn illegible_lines_and_a_clock_that_goes_back_are_found() {
    for text in ["x wants\n", "1 wants x\n", "1 holds 1\n", "1 eats\n", "\n", "2 wants\n1 gave-up\n", "1 gave-up\n"] {
        assert!(ledger(&[("a", text)]).is_err(), "{text:?}");
    }
}

/// Frozen, killed or cut off: it may believe until its promise is over, though it writes nothing.
#[test]
fn a_silent_holder_believes_until_its_promise_ends() {
    let silent = "1 wants\n2 holds 1 50\n5 holds 1 55\n";
    assert!(matches!(violations(&[("a", silent), ("b", &held(2, 54, 60))])[..], [Violation::Overlap(..)]));
    assert_eq!(violations(&[("a", silent), ("b", &held(2, 55, 60))]), []);
    assert_eq!(ledger(&[("a", silent)]).unwrap().summary().silent, 1);
}

#[test]
fn a_holder_that_wakes_late_has_believed_until_its_promise_ended() {
    for end in ["90 lost 1 Deadline\n", "90 releases 1\n"] {
        let woken = format!("1 wants\n2 holds 1 50\n{end}");
        assert!(matches!(violations(&[("a", &woken), ("b", &held(2, 49, 60))])[..], [Violation::Overlap(..)]));
        assert_eq!(violations(&[("a", &woken), ("b", &held(2, 50, 60))]), []);
    }
}

#[test]
fn a_loss_before_the_promise_is_over_is_found() {
    let early = "1 wants\n2 holds 1 50\n40 lost 1 TakenOver\n";
    assert!(matches!(violations(&[("a", early), ("b", &held(2, 41, 60))])[..], [Violation::Promise(..)]));
}

/// Acquired while it was frozen, and lost before it woke: it must fit in somewhere since it was wanted.
#[test]
fn a_hold_that_was_never_believed_has_its_place_all_the_same() {
    let stale = "1 wants\n90 lost 2 Deadline\n";
    let (before, after) = (held(1, 10, 20), held(3, 30, 40));
    assert_eq!(violations(&[("a", stale), ("b", &before), ("c", &after)]), []);
    let late = "45 wants\n90 lost 2 Deadline\n";
    assert!(matches!(violations(&[("a", late), ("c", &after)])[..], [Violation::Inversion(..)]));
    let same = "1 wants\n90 lost 3 Deadline\n";
    assert!(matches!(violations(&[("a", same), ("c", &after)])[..], [Violation::Reuse(..)]));
}

#[test]
fn progress_is_seen_while_the_file_grows_and_half_lines_wait() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut progress = Progress::follow(file.path()).unwrap();
    let append = |text: &str| std::io::Write::write_all(&mut file.as_file(), text.as_bytes()).unwrap();
    assert_eq!(progress.last_held().unwrap(), None);
    append("1 wants\n5 holds 1 9\n7 ho");
    assert_eq!(progress.last_held().unwrap(), Some(Moment::from_nanos(5)));
    append("lds 1 9\n8 releases 1\n");
    assert_eq!(progress.last_held().unwrap(), Some(Moment::from_nanos(7)));
    assert!(!progress.held_since(Moment::from_nanos(7)).unwrap());
}

/// The lock that all must look like.
#[derive(Clone, Debug, Default)]
struct Sequential {
    holder: Option<u64>,
    greatest: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Acquire,
    Leave(u64),
}

// === impl SequentialSpec for Sequential ===

impl SequentialSpec for Sequential {
    type Op = Op;
    /// The token of an acquisition.
    type Ret = Option<u64>;

    /// Only for operations that never return: the ends of holds.
    fn invoke(&mut self, op: &Op) -> Option<u64> {
        if matches!(op, Op::Leave(token) if self.holder == Some(*token)) {
            self.holder = None;
        }
        None
    }

    fn is_valid_step(&mut self, op: &Op, ret: &Option<u64>) -> bool {
        let (Op::Acquire, Some(token)) = (op, *ret) else { return false };
        let valid = self.holder.is_none() && token > self.greatest;
        (self.holder, self.greatest) = (Some(token), token);
        valid
    }
}

/// Some acquisitions whose events happen in this order: wanted, held, and the end of the belief.
#[derive(Clone, Debug)]
struct Story {
    events: Vec<usize>,
    tokens: Vec<u64>,
    /// Lost before it was believed: the second event tells so, and the third nothing.
    stale: Vec<bool>,
}

// === impl Story ===

impl Story {
    /// As stateright sees it: what begins and ends, in the order of time.
    fn is_linearizable(&self) -> bool {
        let mut tester = LinearizabilityTester::new(Sequential::default());
        let mut seen = vec![0; self.tokens.len()];
        for &hold in &self.events {
            let (acquires, leaves, token) = (2 * hold, 2 * hold + 1, self.tokens[hold]);
            // From then on, at some time or never: a thread of its own that does not return.
            if seen[hold] == if self.stale[hold] { 0 } else { 2 } {
                tester.on_invoke(leaves, Op::Leave(token)).unwrap();
            }
            match seen[hold] {
                0 => drop(tester.on_invoke(acquires, Op::Acquire).unwrap()),
                1 => drop(tester.on_return(acquires, Some(token)).unwrap()),
                _ => {}
            }
            seen[hold] += 1;
        }
        tester.is_consistent()
    }

    /// As contenders write it: the n-th event happens at the time n.
    fn written(&self) -> Vec<String> {
        let mut files = vec![String::new(); self.tokens.len()];
        for (at, &hold) in self.events.iter().enumerate() {
            let token = self.tokens[hold];
            let line = match (files[hold].lines().count(), self.stale[hold]) {
                (0, _) => "wants".to_owned(),
                (1, false) => format!("holds {token} 1000"),
                (1, true) => format!("lost {token} Deadline"),
                (_, false) => format!("releases {token}"),
                (_, true) => continue,
            };
            writeln!(files[hold], "{at} {line}").unwrap();
        }
        files
    }
}

/// Up to four holds; nearly in sequence, so that about half of the histories are linearizable.
fn stories() -> impl Strategy<Value = Story> {
    let parts = |holds: usize| {
        let swaps = prop::collection::vec(0..3 * holds - 1, 0..8);
        (Just(holds), swaps, any::<u8>(), prop::collection::vec(prop::bool::weighted(0.3), holds))
    };
    (1..=4_usize).prop_flat_map(parts).prop_map(|(holds, swaps, odd, stale)| {
        let mut events: Vec<_> = (0..holds).flat_map(|hold| [hold; 3]).collect();
        for swap in swaps {
            events.swap(swap, swap + 1);
        }
        let mut tokens: Vec<_> = (1..=holds as u64).collect();
        match odd % 8 {
            0 => tokens.reverse(),
            1 => tokens[0] = holds as u64, // the same twice, unless there is only one
            _ => {}
        }
        Story { events, tokens, stale }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_verdict_is_that_of_a_search_through_all_orders(story in stories()) {
        let files = story.written();
        let named: Vec<_> = files.iter().enumerate().map(|(hold, text)| (hold.to_string(), text.as_str())).collect();
        let ledger = Ledger::of(named.iter().map(|(name, text)| (name.as_str(), *text))).unwrap();
        prop_assert_eq!(ledger.violations().is_empty(), story.is_linearizable(), "{:?}", files);
    }
}

#[test]
fn the_searched_histories_are_of_both_kinds() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let verdicts = (0..500).map(|_| stories().new_tree(&mut runner).unwrap().current().is_linearizable());
    let linear = verdicts.filter(|linear| *linear).count();
    assert!((100..=400).contains(&linear), "{linear} of 500 are linearizable");
}
