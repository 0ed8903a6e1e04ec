//! The locks this sidecar has seen lately, as it last showed them.
//!
//! A GET of a known name must stay 200: an old Rust client that waits takes a 404 for "wait until somebody creates it
//! again" (contract, section 5). Only a bounded number is kept; the one that was touched longest ago goes first.

use std::collections::{BTreeMap, HashMap};

use crate::api::{Lock, Name};

/// A bounded memory of pictures.
#[derive(Debug)]
pub struct Seen {
    capacity: usize,
    clock: u64,
    locks: HashMap<Name, (u64, Lock)>,
    order: BTreeMap<u64, Name>,
}

impl Seen {
    /// Room for `capacity` names.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, clock: 0, locks: HashMap::new(), order: BTreeMap::new() }
    }

    /// Keeps this picture of its lock instead of an earlier one.
    pub fn remember(&mut self, lock: Lock) {
        self.clock += 1;
        self.order.insert(self.clock, lock.name.clone());
        if let Some((touched, _)) = self.locks.insert(lock.name.clone(), (self.clock, lock)) {
            self.order.remove(&touched);
        }
        if self.locks.len() > self.capacity
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.locks.remove(&oldest);
        }
    }

    /// The last picture of a lock, which counts as a touch.
    pub fn recall(&mut self, name: &Name) -> Option<&Lock> {
        let (touched, lock) = self.locks.get_mut(name)?;
        self.clock += 1;
        self.order.remove(touched);
        self.order.insert(self.clock, name.clone());
        *touched = self.clock;
        Some(lock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(name: &str, version: &str) -> Lock {
        Lock {
            name: Name::new(name).unwrap(),
            namespace: "default".into(),
            version: version.into(),
            created: None,
            owner: "a".into(),
            expiry: None,
        }
    }

    #[test]
    fn the_name_touched_longest_ago_is_forgotten() {
        let mut seen = Seen::new(2);
        let name = |text| Name::new(text).unwrap();
        seen.remember(lock("a", "1"));
        seen.remember(lock("b", "1"));
        assert!(seen.recall(&name("a")).is_some());
        seen.remember(lock("c", "1"));
        assert!(seen.recall(&name("b")).is_none());
        seen.remember(lock("a", "2"));
        assert_eq!(seen.recall(&name("a")).unwrap().version, "2");
        assert_eq!((seen.locks.len(), seen.order.len()), (2, 2));
    }
}
