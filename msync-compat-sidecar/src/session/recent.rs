//! What this sidecar remembers of the locks it has seen lately: how it last showed them, and what it counts of them.
//!
//! A GET of a known name must stay 200: an old Rust client that waits takes a 404 for "wait until somebody creates it
//! again" (contract, section 5). Only a bounded number is kept; the one that was touched longest ago goes first.

use std::collections::{BTreeMap, HashMap};

use crate::api::Name;

/// A bounded memory, by name.
#[derive(Debug)]
pub struct Recent<T> {
    capacity: usize,
    clock: u64,
    items: HashMap<Name, (u64, T)>,
    order: BTreeMap<u64, Name>,
}

impl<T> Recent<T> {
    /// Room for `capacity` names.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, clock: 0, items: HashMap::new(), order: BTreeMap::new() }
    }

    /// Keeps this of a lock instead of what was kept before.
    pub fn remember(&mut self, name: &Name, item: T) {
        self.clock += 1;
        self.order.insert(self.clock, name.clone());
        if let Some((touched, _)) = self.items.insert(name.clone(), (self.clock, item)) {
            self.order.remove(&touched);
        }
        if self.items.len() > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.items.remove(&oldest);
        }
    }

    /// What was last kept of a lock, which counts as a touch.
    pub fn recall(&mut self, name: &Name) -> Option<&mut T> {
        let (touched, item) = self.items.get_mut(name)?;
        self.clock += 1;
        self.order.remove(touched);
        self.order.insert(self.clock, name.clone());
        *touched = self.clock;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_touched_longest_ago_is_forgotten() {
        let mut recent = Recent::new(2);
        let name = |text| Name::new(text).unwrap();
        recent.remember(&name("a"), 1);
        recent.remember(&name("b"), 1);
        assert!(recent.recall(&name("a")).is_some());
        recent.remember(&name("c"), 1);
        assert!(recent.recall(&name("b")).is_none());
        recent.remember(&name("a"), 2);
        assert_eq!(recent.recall(&name("a")), Some(&mut 2));
        assert_eq!((recent.items.len(), recent.order.len()), (2, 2));
    }
}
