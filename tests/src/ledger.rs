//! What contenders wrote down, judged against a sequential lock with fencing.
//!
//! Every contender has a file of its own, into which a [`Pen`] notes when it wanted the lock, when it held it and until
//! when it was promised to, when it let go and when it was told of a loss. Times are those of `CLOCK_BOOTTIME`, which all
//! processes of one machine share. A line is one write, so that a kill leaves whole lines.
//!
//! **Belief.** A contender believes from its first note that says "held" until it lets go, is told of a loss, or the time
//! that the guard promised in its last such note is over, whichever comes first. So a process that was frozen, cut off or
//! killed goes on to believe until its promise ends, although it writes nothing; what it may have believed beyond that,
//! by a renewal it did not note, is not counted. An overlap of such intervals is a violation for sure.
//!
//! **Judgement.** The lock is linearizable: each acquisition takes effect at one moment between the note that wanted it
//! and the first that held it, each end at some moment after the belief, such that never two hold and each token is
//! greater than all before (S1, S2). The tokens fix the order, so one pass that takes every moment as early as it can be
//! decides this exactly; a test compares its verdicts with those of stateright's search through all orders.

mod judge;
mod pen;
mod read;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
pub use judge::Violation;
use msync::clock::Moment;
pub use pen::{Guard, Pen};
pub use read::Progress;

/// One acquisition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its fencing token.
    pub token: u64,
    /// Who had it.
    pub contender: String,
    /// When it was asked for: it was not acquired before.
    pub wanted: Moment,
    /// When it was held for sure, or known to be lost already: it was acquired by then.
    pub held: Moment,
    /// When the belief ended: the lock was not free before.
    pub until: Moment,
    /// How it ended.
    pub end: End,
}

/// How an acquisition ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was given back.
    Released,
    /// Its contender was told that it is lost.
    Lost,
    /// Its contender noted nothing more: killed, or the recording ended.
    Silent,
}

/// All acquisitions of one lock, in the order of their tokens.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    holds: Vec<Hold>,
    /// Losses that came before the promise was over.
    broken_promises: Vec<Violation>,
}

/// A ledger in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How often the lock was acquired.
    pub acquisitions: usize,
    /// How many of those were lost, as their contenders were told.
    pub losses: usize,
    /// How many ended without a word.
    pub silent: usize,
    /// How long it was believed to be held, in all.
    pub held: Duration,
    /// The longest time that nobody believed.
    pub longest_gap: Duration,
}

// === impl Ledger ===

impl Ledger {
    /// Reads the files of all contenders for one lock.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or says what no contender can have seen: a release by a non-holder, belief after a
    /// loss, two holds at a time.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            files.insert(name, fs::read_to_string(&path)?);
        }
        Self::of(files.iter().map(|(name, text)| (name.as_str(), text.as_str())))
    }

    /// Makes a ledger of what contenders wrote.
    fn of<'f>(files: impl IntoIterator<Item = (&'f str, &'f str)>) -> Result<Self> {
        let mut ledger = Self::default();
        for (contender, text) in files {
            read::contender(contender, text, &mut ledger).with_context(|| format!("what {contender} wrote"))?;
        }
        ledger.holds.sort_by_key(|hold| (hold.token, hold.held));
        Ok(ledger)
    }

    /// The acquisitions, in the order of their tokens.
    pub fn holds(&self) -> &[Hold] {
        &self.holds
    }

    /// Every violation of S1 and S2, and every loss before its time.
    pub fn violations(&self) -> Vec<Violation> {
        let mut violations = judge::judge(&self.holds);
        violations.extend(self.broken_promises.iter().cloned());
        violations
    }

    /// Judges.
    ///
    /// # Errors
    ///
    /// When there is a violation; the message tells them all.
    pub fn check(&self) -> Result<()> {
        let violations = self.violations();
        if violations.is_empty() {
            return Ok(());
        }
        let told: Vec<_> = violations.iter().map(ToString::to_string).collect();
        bail!("{} violations:\n{}", told.len(), told.join("\n"))
    }

    /// The ledger in numbers.
    pub fn summary(&self) -> Summary {
        let count = |end| self.holds.iter().filter(|hold| hold.end == end).count();
        let gaps = self.holds.windows(2).map(|pair| pair[1].held.since(pair[0].until));
        Summary {
            acquisitions: self.holds.len(),
            losses: count(End::Lost),
            silent: count(End::Silent),
            held: self.holds.iter().map(|hold| hold.until.since(hold.held)).sum(),
            longest_gap: gaps.max().unwrap_or_default(),
        }
    }
}
