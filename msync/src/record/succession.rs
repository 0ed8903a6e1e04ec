//! To whom a term goes that is given back: one rule for the holder that writes it and for who writes it in its place.
//!
//! What becomes of a record that nobody waits for is not told here: that depends on what its holder knows of it.

use std::sync::Arc;

use super::{Beat, Change, EngineId, Entry, Record};
use crate::{clock::Wall, name};

// === impl Record: succession ===

impl Record {
    /// Finds the first place in the queue of an owner, by the name that its client was given or as it is shown; an entry that
    /// does not parse is nobody's.
    pub fn place_of(&self, owner: &str) -> Option<usize> {
        let owner = name::owner(owner);
        let named = |entry: &Entry| entry.claim().is_some_and(|claim| claim.engine.owner() == owner);
        self.waiters.iter().position(named)
    }

    /// Returns the change that hands the present term on to the waiter at an index; `None` when nobody waits there.
    ///
    /// An entry that does not parse leaves instead, since nobody can be granted anything by it: the next call is for the one
    /// behind. A beat is drawn for a grant only.
    pub fn hand_on(&self, index: usize, beat: impl FnOnce() -> Beat, wall: Wall) -> Option<Change> {
        let entry = self.waiters.get(index)?.clone();
        if entry.claim().is_none() {
            return Some(Change::Leave { index, entry });
        }
        let duplicates = self.later_entries_of_same_term(index, &entry);
        let gone: Vec<_> = duplicates.iter().map(|(index, _)| *index).chain([index]).collect();
        let next = self.first_without(&gone);
        Some(Change::Grant { term: self.term, beat: beat(), index, entry, duplicates, next, wall })
    }

    /// Says whether its holder, to whom it was granted, holds it only once that is accepted.
    pub fn is_to_be_accepted(&self) -> bool {
        !self.instant && self.renewals == 0
    }

    /// Returns the owner who is first in the queue.
    pub fn next_in_line(&self) -> Option<Arc<str>> {
        self.waiters.iter().find_map(Entry::claim)?.engine.named_owner()
    }

    fn later_entries_of_same_term(&self, index: usize, entry: &Entry) -> Vec<(usize, Entry)> {
        let same = |(_, other): &(usize, &Entry)| other.term() == entry.term();
        let later = self.waiters.iter().enumerate().skip(index + 1);
        later.filter(same).map(|(index, other)| (index, other.clone())).collect()
    }

    /// Returns the engine that is first in the queue once some entries have left it.
    fn first_without(&self, gone: &[usize]) -> EngineId {
        let stays = |(index, entry): (usize, &Entry)| entry.claim().filter(|_| !gone.contains(&index));
        self.waiters.iter().enumerate().find_map(stays).map(|claim| claim.engine).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::{Claim, Term};

    fn entry(owner: &str, term: u64) -> Entry {
        let (engine, ttl) = (EngineId::new(owner, term), Duration::from_secs(15));
        Claim { engine, term: Term(term), ttl, instant: true }.entry(Wall::default())
    }

    fn held(waiters: Vec<Entry>) -> Record {
        Record { term: Term(1), beat: Beat(1), waiters, ..Record::default() }
    }

    #[test]
    fn an_owner_is_found_by_the_name_that_it_was_given() {
        let long = format!("{}-b", "x".repeat(63));
        let record = held(vec![entry("web-1", 2), entry(&name::owner("Pod_B"), 3), entry(&name::owner(&long), 4)]);
        let places = ["web-1", "Pod_B", "pod-b", &long, &name::owner(&long), "pod"].map(|owner| record.place_of(owner));
        assert_eq!(places, [Some(0), Some(1), Some(1), Some(2), Some(2), None]);
    }

    fn hand_on(record: &Record, index: usize) -> Option<Change> {
        record.hand_on(index, || Beat(2), Wall::default())
    }

    #[test]
    fn the_one_at_the_index_gets_the_present_term_and_the_rest_stay() {
        let record = held(vec![entry("a", 2), entry("b", 3), entry("c", 4)]);
        let left = hand_on(&record, 1).unwrap().apply(Some(&record)).unwrap();
        assert_eq!((left.engine.owner(), left.term, left.beat), ("b", Term(3), Beat(2)));
        assert_eq!(left.waiters, [entry("a", 2), entry("c", 4)]);
        assert_eq!(left.next.owner(), "a", "who watches from now on");
    }

    #[test]
    fn doubles_of_the_successor_leave_with_it_and_are_not_next() {
        let record = held(vec![entry("a", 2), entry("a", 2), entry("b", 3), entry("a", 2)]);
        let left = hand_on(&record, 0).unwrap().apply(Some(&record)).unwrap();
        assert_eq!((left.waiters, left.next.owner()), (vec![entry("b", 3)], "b"));
    }

    #[test]
    fn an_illegible_entry_leaves_and_costs_no_beat() {
        let record = held(vec![Entry::from_text("scribble"), entry("a", 2)]);
        let change = record.hand_on(0, || unreachable!("nothing is granted"), Wall::default());
        assert_eq!(change, Some(Change::Leave { index: 0, entry: Entry::from_text("scribble") }));
    }

    #[test]
    fn next_in_line_is_the_owner_of_the_first_entry_that_parses() {
        let record = held(vec![Entry::from_text("scribble"), entry("a", 2), entry("b", 3)]);
        assert_eq!((record.next_in_line().as_deref(), held(vec![]).next_in_line()), (Some("a"), None));
    }

    #[test]
    fn nobody_is_served_where_nobody_waits() {
        assert_eq!(hand_on(&held(vec![]), 0), None);
        assert_eq!(hand_on(&held(vec![entry("a", 2)]), 1), None);
    }

    #[test]
    fn a_place_is_the_first_legible_one_of_that_very_owner() {
        let record = held(vec![Entry::from_text("b"), entry("bb", 2), entry("b", 3), entry("b", 4)]);
        assert_eq!((record.place_of("b"), record.place_of("c")), (Some(2), None));
    }
}
