//! What is still to happen, in the order of true time; at one time, in the order in which it was planned.

use std::{cmp::Ordering, collections::BinaryHeap};

/// A queue of things to come.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    heap: BinaryHeap<Item<T>>,
    planned: u64,
}

/// Boxed, because a heap moves its items about.
#[derive(Debug)]
struct Item<T> {
    when: (u64, u64),
    what: Box<T>,
}

// === impl Agenda ===

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), planned: 0 }
    }
}

impl<T> Agenda<T> {
    pub(super) fn push(&mut self, at: u64, what: T) {
        self.planned += 1;
        self.heap.push(Item { when: (at, self.planned), what: Box::new(what) });
    }

    pub(super) fn pop(&mut self) -> Option<(u64, T)> {
        self.heap.pop().map(|item| (item.when.0, *item.what))
    }
}

// === impl Item ===

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        self.when == other.when
    }
}

impl<T> Eq for Item<T> {}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Item<T> {
    /// The earliest is the greatest, because the heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.when.cmp(&self.when)
    }
}
