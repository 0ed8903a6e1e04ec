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

    /// This, and what another server's run saw.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.add(other);
        self
    }

    /// Adds what another run saw.
    pub(crate) fn add(&mut self, other: Self) {
        for (fault, (times, slowest)) in other.faults {
            let known = self.faults.entry(fault).or_default();
            *known = (known.0 + times, known.1.max(slowest));
        }
        for (lock, seen) in other.locks {
            let known = self.locks.entry(lock).or_default();
            *known = Summary {
                acquisitions: known.acquisitions + seen.acquisitions,
                losses: known.losses + seen.losses,
                silent: known.silent + seen.silent,
                held: known.held + seen.held,
                longest_gap: known.longest_gap.max(seen.longest_gap),
            };
        }
    }

    pub(crate) fn faults(&self) -> usize {
        self.faults.values().map(|(times, _)| times).sum()
    }

    pub(crate) fn acquisitions(&self) -> usize {
        self.locks.values().map(|lock| lock.acquisitions).sum()
    }

    /// One line of it.
    pub(crate) fn in_short(&self) -> String {
        let losses: usize = self.locks.values().map(|lock| lock.losses).sum();
        let slowest = self.faults.iter().max_by_key(|(_, (_, slowest))| slowest);
        let slowest = slowest.map(|(fault, (_, slowest))| format!("{:.1} s ({fault})", slowest.as_secs_f64()));
        format!(
            "{} faults survived, {} acquisitions, {losses} losses, slowest recovery {}",
            self.faults(),
            self.acquisitions(),
            slowest.unwrap_or_default()
        )
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
        f.write_str(&self.in_short())
    }
}

#[test]
fn passes_add_up() {
    let pass = |acquisitions, recovery, longest_gap| {
        let mut report = Report::default();
        report.survived("kill", Duration::from_secs(recovery));
        let longest_gap = Duration::from_secs(longest_gap);
        report.judged("a", Summary { acquisitions, losses: 1, silent: 1, held: longest_gap, longest_gap });
        report
    };
    let mut both = pass(30, 9, 2);
    both.add(pass(12, 4, 5));
    assert_eq!((both.faults(), both.acquisitions()), (2, 42));
    assert_eq!(both.in_short(), "2 faults survived, 42 acquisitions, 2 losses, slowest recovery 9.0 s (kill)");
    let (held, longest_gap) = (Duration::from_secs(7), Duration::from_secs(5));
    assert_eq!(both.locks["a"], Summary { acquisitions: 42, losses: 2, silent: 2, held, longest_gap });
}
