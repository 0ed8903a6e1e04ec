//! Reads what contenders wrote.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use msync::clock::Moment;

use super::{End, Hold, Ledger, Violation};

/// One line of a contender's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Note<'l> {
    /// It asks for the lock.
    Wants,
    /// It does not any more.
    GaveUp,
    /// It holds, and is promised to do so until then.
    Holds { token: u64, until: Moment },
    /// It is about to let go.
    Releases { token: u64 },
    /// It was told that the lock is lost.
    Lost { token: u64, reason: &'l str },
}

/// Where a contender stands between two notes.
enum State {
    Idle,
    Waiting(Moment),
    Holding(Hold),
}

/// Follows a file while it is written: when its contender held the lock last.
#[derive(Debug)]
pub struct Progress {
    file: BufReader<File>,
    /// The beginning of a line whose end is not written yet.
    partial: String,
    last_held: Option<Moment>,
}

// === impl Note ===

impl<'l> Note<'l> {
    fn parse(line: &'l str) -> Option<(Moment, Self)> {
        let mut words = line.split(' ');
        let at = moment(words.next()?)?;
        let note = match words.next()? {
            "wants" => Self::Wants,
            "gave-up" => Self::GaveUp,
            "holds" => Self::Holds { token: words.next()?.parse().ok()?, until: moment(words.next()?)? },
            "releases" => Self::Releases { token: words.next()?.parse().ok()? },
            "lost" => Self::Lost { token: words.next()?.parse().ok()?, reason: words.next()? },
            _ => return None,
        };
        words.next().is_none().then_some((at, note))
    }
}

fn moment(text: &str) -> Option<Moment> {
    text.parse().ok().map(Moment::from_nanos)
}

/// Adds one contender's acquisitions to the ledger.
pub(super) fn contender(name: &str, text: &str, ledger: &mut Ledger) -> Result<()> {
    let (mut state, mut last) = (State::Idle, Moment::default());
    for line in text.lines() {
        let (at, note) = Note::parse(line).with_context(|| format!("no line of a contender: {line:?}"))?;
        if at < last {
            bail!("time went back at {line:?}");
        }
        last = at;
        state = state.follow(name, at, note, ledger).with_context(|| format!("at {line:?}"))?;
    }
    if let State::Holding(hold) = state {
        ledger.holds.push(hold); // until its promise ends
    }
    Ok(())
}

// === impl State ===

impl State {
    fn follow(self, contender: &str, at: Moment, note: Note<'_>, ledger: &mut Ledger) -> Result<Self> {
        match (self, note) {
            (Self::Idle, Note::Wants) => Ok(Self::Waiting(at)),
            (Self::Waiting(_), Note::GaveUp) => Ok(Self::Idle),
            (Self::Waiting(wanted), Note::Holds { token, until }) => {
                let contender = contender.to_owned();
                Ok(Self::Holding(Hold { token, contender, wanted, held: at, until, end: End::Silent }))
            }
            // Lost before it was ever believed: it may have ended as soon as it began.
            (Self::Waiting(wanted), Note::Lost { token, .. }) => {
                let contender = contender.to_owned();
                ledger.holds.push(Hold { token, contender, wanted, held: at, until: wanted, end: End::Lost });
                Ok(Self::Idle)
            }
            (Self::Holding(hold), Note::Holds { token, until }) if hold.token == token => {
                Ok(Self::Holding(Hold { until: hold.until.max(until), ..hold }))
            }
            (Self::Holding(hold), Note::Releases { token }) if hold.token == token => {
                ledger.holds.push(Hold { until: hold.until.min(at), end: End::Released, ..hold });
                Ok(Self::Idle)
            }
            (Self::Holding(hold), Note::Lost { token, reason }) if hold.token == token => {
                let lost = Hold { until: hold.until.min(at), end: End::Lost, ..hold.clone() };
                if at < hold.until {
                    ledger.broken_promises.push(Violation::Promise(lost.clone(), reason.to_owned()));
                }
                ledger.holds.push(lost);
                Ok(Self::Idle)
            }
            (Self::Holding(hold), _) => bail!("while it holds token {}", hold.token),
            (Self::Waiting(_), _) => bail!("while it waits"),
            (Self::Idle, _) => bail!("while it neither holds nor waits"),
        }
    }
}

// === impl Progress ===

impl Progress {
    /// Begins to follow a file, which exists.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn follow(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
        Ok(Self { file: BufReader::new(file), partial: String::new(), last_held: None })
    }

    /// When the contender noted last that it holds the lock.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not one of a contender.
    pub fn last_held(&mut self) -> Result<Option<Moment>> {
        while self.file.read_line(&mut self.partial)? > 0 {
            let Some(line) = self.partial.strip_suffix('\n') else { break };
            let (at, note) = Note::parse(line).with_context(|| format!("no line of a contender: {line:?}"))?;
            if matches!(note, Note::Holds { .. }) {
                self.last_held = Some(at);
            }
            self.partial.clear();
        }
        Ok(self.last_held)
    }

    /// Says whether the contender has held the lock since then.
    ///
    /// # Errors
    ///
    /// As [`Progress::last_held`].
    pub fn held_since(&mut self, then: Moment) -> Result<bool> {
        Ok(self.last_held()?.is_some_and(|last| last > then))
    }
}

impl std::fmt::Display for super::Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { acquisitions, losses, silent, .. } = self;
        let (held, gap) = (tenths(self.held), tenths(self.longest_gap));
        write!(f, "{acquisitions} acquisitions, {losses} lost, {silent} silent, held {held} s, longest gap {gap} s")
    }
}

/// Seconds with one decimal.
fn tenths(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}
