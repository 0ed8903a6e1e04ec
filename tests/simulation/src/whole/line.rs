//! Who waits in the queue of a Lease, in the order in which the server was told so: that of nobody's clock.

use std::collections::BTreeMap;

use msync::unstable::{
    protocol::Call,
    record::{Change, Entry, Record, Term, WALL_SKEW},
};

/// How often somebody may be passed by who came later. A newcomer with a wrong clock stands before others until it has
/// moved, and stays there when the answer that shows it is lost; but it has seen them then, and does so once.
const MOST_PASSED: u32 = 4;

/// The queue, as the judge sees it.
#[derive(Default)]
pub(super) struct Line(BTreeMap<Term, Place>);

/// Since when a term waits, in true time, and how often it was passed.
struct Place {
    since: u64,
    passed: u32,
}

// === impl Line ===

impl Line {
    /// A change took effect on a record: L3, as far as clocks may be apart. Says who was passed too often.
    pub(super) fn served(&mut self, at: u64, change: &Call, before: &Record) -> Option<String> {
        match change {
            Call::Apply(Change::Enqueue { claim, .. }) => {
                self.0.entry(claim.term).or_insert(Place { since: at, passed: 0 });
                None
            }
            // Further behind is whom its user wished to have it next.
            Call::Apply(Change::Grant { entry, index: 0, .. }) => self.passed_by(entry.term()?, before),
            _ => None,
        }
    }

    fn passed_by(&mut self, granted: Term, before: &Record) -> Option<String> {
        let since = self.0.get(&granted)?.since;
        let skew = u64::try_from(WALL_SKEW.as_nanos()).unwrap_or(u64::MAX) * 102 / 100;
        for term in before.waiters.iter().filter_map(Entry::term) {
            let Some(place) = self.0.get_mut(&term).filter(|place| place.since + skew < since) else { continue };
            place.passed += 1;
            if place.passed > MOST_PASSED {
                let since = place.since / 1000;
                return Some(format!("L3: {term:?}, which waits since {since} us, was passed {} times", place.passed));
            }
        }
        None
    }
}
