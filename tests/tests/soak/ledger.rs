//! What the workers wrote down, and what must be true of it.
//!
//! A worker notes the time *before* each check that says "held": it believed then, and all the time since its first such
//! note under the same token. So the interval between both is a part of the true one: an overlap is a violation for sure,
//! also of a worker that was frozen or killed in the middle.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use msync::clock::Moment;

/// The belief of one acquisition.
#[derive(Clone, Debug)]
struct Hold {
    token: u64,
    worker: String,
    from: Moment,
    to: Moment,
}

/// All acquisitions, by the time they began.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Vec<Hold>);

impl Ledger {
    /// Reads the files of all workers.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let mut holds = Vec::new();
        for entry in fs::read_dir(dir)? {
            holds.extend(Self::read_one(&entry?.path())?.0);
        }
        holds.sort_by_key(|hold| hold.from);
        Ok(Self(holds))
    }

    /// Reads the file of one worker: lines of a token and a time.
    pub(crate) fn read_one(path: &Path) -> Result<Self> {
        let worker = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut holds = BTreeMap::<u64, Hold>::new();
        for line in fs::read_to_string(path)?.lines() {
            let (token, at) = parse(line).with_context(|| format!("not a line of a worker: {line:?}"))?;
            let new = || Hold { token, worker: worker.clone(), from: at, to: at };
            holds.entry(token).or_insert_with(new).to = at;
        }
        Ok(Self(holds.into_values().collect()))
    }

    pub(crate) fn holds(&self) -> usize {
        self.0.len()
    }

    /// When somebody held the lock last.
    pub(crate) fn last(&self) -> Option<Moment> {
        self.0.iter().map(|hold| hold.to).max()
    }

    /// One after the other, each with a greater token.
    pub(crate) fn check(&self) -> Result<()> {
        for pair in self.0.windows(2) {
            let (one, other) = (&pair[0], &pair[1]);
            let who = format!("{} and {}", one.worker, other.worker);
            ensure!(one.to <= other.from, "two held the lock (S2), {who}: {pair:#?}");
            ensure!(one.token < other.token, "a token did not increase (S1), {who}: {pair:#?}");
        }
        Ok(())
    }

    pub(crate) fn summary(&self) -> String {
        let gap = |pair: &[Hold]| pair[1].from.since(pair[0].to);
        let longest = self.0.windows(2).map(gap).max().unwrap_or_default();
        let held: Duration = self.0.iter().map(|hold| hold.to.since(hold.from)).sum();
        format!("{} holds, {held:?} in all, longest gap without a holder {longest:?}", self.0.len())
    }
}

fn parse(line: &str) -> Option<(u64, Moment)> {
    let (token, at) = line.split_once(' ')?;
    Some((token.parse().ok()?, Moment::from_nanos(at.parse().ok()?)))
}

#[test]
fn an_overlap_is_found() {
    let hold = |token, from, to| Hold {
        token,
        worker: String::new(),
        from: Moment::from_nanos(from),
        to: Moment::from_nanos(to),
    };
    assert!(Ledger(vec![hold(1, 0, 5), hold(2, 5, 9)]).check().is_ok());
    assert!(Ledger(vec![hold(1, 0, 6), hold(2, 5, 9)]).check().is_err());
    assert!(Ledger(vec![hold(3, 0, 4), hold(2, 5, 9)]).check().is_err());
}
