//! What was survived, in a table.

use std::{collections::BTreeMap, fmt, time::Duration};

use tests::ledger::Summary;

/// What struck how often, and what the locks went through.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// By the fault's name: how often, and the slowest recovery.
    faults: BTreeMap<String, (usize, Duration)>,
    /// By the lock's name.
    locks: BTreeMap<String, Summary>,
}

// === impl Report ===

impl Report {
    /// Notes a fault after which everybody had the lock again, that long after its end.
    pub(crate) fn survived(&mut self, fault: &str, recovery: Duration) {
        let (times, slowest) = self.faults.entry(fault.to_owned()).or_default();
        (*times, *slowest) = (*times + 1, recovery.max(*slowest));
    }

    pub(crate) fn judged(&mut self, lock: &str, summary: Summary) {
        self.locks.insert(lock.to_owned(), summary);
    }

    /// Adds what another server's run saw.
    pub(crate) fn add(&mut self, other: Self) {
        for (fault, (times, slowest)) in other.faults {
            let known = self.faults.entry(fault).or_default();
            *known = (known.0 + times, known.1.max(slowest));
        }
        self.locks.extend(other.locks);
    }

    pub(crate) fn faults(&self) -> usize {
        self.faults.values().map(|(times, _)| times).sum()
    }

    pub(crate) fn acquisitions(&self) -> usize {
        self.locks.values().map(|lock| lock.acquisitions).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:46} {:>6} {:>17}", "fault", "struck", "slowest recovery")?;
        for (fault, (times, slowest)) in &self.faults {
            writeln!(f, "{fault:46} {times:>6} {:>15.1} s", slowest.as_secs_f64())?;
        }
        writeln!(f, "{:26} {:>12} {:>6} {:>6} {:>13}", "lock", "acquisitions", "lost", "silent", "longest gap")?;
        for (lock, summary) in &self.locks {
            let Summary { acquisitions, losses, silent, .. } = summary;
            let gap = summary.longest_gap.as_secs_f64();
            writeln!(f, "{lock:26} {acquisitions:>12} {losses:>6} {silent:>6} {gap:>11.1} s")?;
        }
        let (losses, faults) = (self.locks.values().map(|lock| lock.losses).sum::<usize>(), self.faults());
        write!(f, "{faults} faults survived, {} acquisitions, {losses} losses", self.acquisitions())
    }
}
