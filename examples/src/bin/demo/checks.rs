//! The checks at the end: what msync promises, judged by what the timeline saw.

use std::{collections::BTreeMap, time::Duration};

use crate::timeline::Hold;

/// The list of what was checked.
#[derive(Default)]
pub(crate) struct Checks {
    rows: Vec<(bool, String)>,
}

// === impl Checks ===

impl Checks {
    /// Adds a row.
    pub(crate) fn expect(&mut self, passed: bool, what: impl Into<String>) {
        self.rows.push((passed, what.into()));
    }

    /// Judges all holds, lock by lock.
    pub(crate) fn judge(&mut self, holds: &[Hold]) {
        let mut locks: BTreeMap<&str, Vec<&Hold>> = BTreeMap::new();
        for hold in holds {
            locks.entry(&hold.lock).or_default().push(hold);
        }
        for (lock, mut holds) in locks {
            holds.sort_by_key(|hold| hold.from);
            let ended = |hold: &Hold| hold.to.unwrap_or(Duration::MAX);
            let apart = holds.windows(2).all(|pair| ended(pair[0]) <= pair[1].from);
            let growing = holds.windows(2).all(|pair| pair[0].token < pair[1].token);
            self.expect(apart, format!("{lock}: never two holders at a time, in {} holds", holds.len()));
            self.expect(growing, format!("{lock}: every holder had a greater fencing token than the one before"));
        }
    }

    /// Prints the rows and says whether all passed.
    pub(crate) fn report(&self) -> bool {
        println!("\nChecks\n");
        for (passed, what) in &self.rows {
            println!("  {}  {what}", if *passed { "ok    " } else { "FAILED" });
        }
        let failed = self.rows.iter().filter(|(passed, _)| !passed).count();
        println!("\n{} checks, {failed} failed", self.rows.len());
        failed == 0
    }
}
