//! What is believed of the record (design 4.5).

use super::*;
use crate::protocol::View;

/// The record of a bench, at some version.
fn at(number: u64) -> Snapshot {
    let snapshot = Bench::held(TTL).stored.expect("there is an object");
    Snapshot { version: Version { number, ..snapshot.version }, ..snapshot }
}

/// A view that knows the record as of version 5.
fn view() -> View {
    let mut view = View::default();
    assert!(view.believe(&at(5), Bench::at(1)));
    view
}

#[test]
fn what_is_known_or_older_is_not_believed() {
    for number in [4, 5] {
        let mut view = view();
        assert!(!view.believe(&at(number), Bench::at(2)));
        assert_eq!((view.snapshot(), view.arrived()), (Some(&at(5)), Bench::at(1)));
    }
}

#[test]
fn news_without_content_are_complemented_by_their_version_and_no_older_one() {
    let mut view = view();
    assert!(view.believe_changed(7, Bench::at(2)));
    assert!(!view.believe(&at(6), Bench::at(3)) && view.record().is_none());
    assert!(view.believe(&at(7), Bench::at(4)) && view.record().is_some());
}

#[test]
fn what_is_gone_does_not_come_back_with_its_version() {
    let mut view = view();
    assert!(view.believe_gone(7, Bench::at(2)));
    assert!(!view.believe(&at(7), Bench::at(3)) && view.record().is_none());
}

#[test]
fn a_read_is_believed_whatever_its_version_unless_it_was_overtaken() {
    for (overtaken, believed) in [(true, 5), (false, 4)] {
        let mut view = view();
        assert_eq!(view.believe_read(Some(&at(4)), overtaken, Bench::at(2)), !overtaken);
        assert_eq!(view.snapshot(), Some(&at(believed)));
    }
    for overtaken in [true, false] {
        let mut view = view();
        assert_eq!(view.believe_read(None, overtaken, Bench::at(2)), !overtaken);
        assert_eq!(view.record().is_some(), overtaken, "who read nothing may have read too early");
    }
}

#[test]
fn a_view_of_a_keeper_before_recalls_since_when_and_no_content() {
    let view = view();
    let now = Now::default();
    let (record, claimable) = (at(5).record, view.claimable_at(&at(5).record, now));
    let recalled = view.recalled();
    assert_eq!((recalled.record(), recalled.claimable_at(&record, now)), (None, claimable));
}
