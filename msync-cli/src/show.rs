//! Rows as text: aligned tables for people, JSON and YAML for programs.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write, stdout},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    args::Output,
    exit::Failure,
    row::{Place, Row, span},
    talk::width,
};

/// Between two columns.
const GAP: &str = "   ";
/// The least that a cut last column is worth.
const LEAST: usize = 8;

/// What a list is as a document.
#[derive(Serialize)]
struct List<'a> {
    items: &'a [Row],
}

/// Writes a list of locks.
pub(crate) fn list(rows: &[Row], output: Output, namespaces: bool, now: Timestamp) -> Result<(), Failure> {
    match output {
        Output::Json => json(&List { items: rows }),
        Output::Yaml => yaml(&List { items: rows }),
        Output::Table | Output::Wide => {
            let wide = output == Output::Wide;
            let mut lines = vec![head(namespaces, wide)];
            lines.extend(rows.iter().map(|row| cells(row, namespaces, wide, true, now)));
            print(&aligned(&lines, &[], room()))
        }
    }
}

/// Writes one lock with all there is to know.
pub(crate) fn one(row: &Row, output: Output, now: Timestamp) -> Result<(), Failure> {
    match output {
        Output::Json => json(row),
        Output::Yaml => yaml(row),
        Output::Table | Output::Wide => print(&described(row, now)),
    }
}

/// Column widths that stay, for rows that come one by one.
pub(crate) struct Stream {
    namespaces: bool,
    wide: bool,
    widths: Vec<usize>,
}

impl Stream {
    /// Begins with the heads of the columns, wide enough for what is there already.
    pub(crate) fn new(output: Output, namespaces: bool, rows: &[Row], now: Timestamp) -> Self {
        let wide = output == Output::Wide;
        let mut lines = vec![head(namespaces, wide)];
        lines.extend(rows.iter().map(|row| cells(row, namespaces, wide, false, now)));
        Self { namespaces, wide, widths: widths(&lines, &[]) }
    }

    pub(crate) fn head(&self) -> Result<(), Failure> {
        print(&aligned(&[head(self.namespaces, self.wide)], &self.widths, room()))
    }

    pub(crate) fn row(&self, row: &Row, now: Timestamp) -> Result<(), Failure> {
        print(&aligned(&[cells(row, self.namespaces, self.wide, false, now)], &self.widths, room()))
    }
}

/// The columns of the terminal; none where nobody looks, and nothing is to be cut.
fn room() -> Option<usize> {
    stdout().is_terminal().then(|| width(&stdout()))
}

/// Writes a document; several one after the other are a stream that `jq` reads.
pub(crate) fn json(document: &impl Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string_pretty(document).map_err(unwritable)?))
}

/// Writes a document on one line, for streams.
pub(crate) fn json_line(document: &impl Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string(document).map_err(unwritable)?))
}

pub(crate) fn yaml(document: &impl Serialize) -> Result<(), Failure> {
    print(&serde_saphyr::to_string(document).map_err(unwritable)?)
}

/// Writes text to standard output. Who reads no more, such as `head`, is no failure worth words.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

fn unwritable(error: impl std::fmt::Display) -> Failure {
    Failure::new(crate::exit::FAILED, format_args!("the locks cannot be written: {error}; take another -o"))
}

/// Aligns lines of cells.
pub(crate) fn table(lines: &[Vec<String>]) -> String {
    aligned(lines, &[], None)
}

fn head(namespaces: bool, wide: bool) -> Vec<String> {
    let namespace = namespaces.then_some("NAMESPACE").into_iter();
    let usual = ["NAME", "STATE", "HOLDER", "SINCE", "TOKEN"];
    let more = wide.then_some(["TTL", "TERM", "ENGINE"]).into_iter().flatten();
    namespace.chain(usual).chain(more).chain(["QUEUE"]).map(str::to_owned).collect()
}

/// What a line shows of a lock; `timed` adds for how long each waits, where a line is not one of many about one lock.
fn cells(row: &Row, namespaces: bool, wide: bool, timed: bool, now: Timestamp) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let mut cells: Vec<String> = namespaces.then(|| row.namespace.clone()).into_iter().collect();
    cells.extend([
        row.name.clone(),
        row.told_state(),
        text(&row.holder),
        text(&row.age(now).map(span)),
        text(&row.token_at_most.map(|token| format!("<={token}"))),
    ]);
    if wide {
        cells.extend([ttl(row.ttl_milliseconds), text(&row.term), text(&row.engine)]);
    }
    let waiting: Vec<_> = row.queue.iter().map(|place| waiting(place, timed.then_some(now))).collect();
    cells.push(if waiting.is_empty() { "-".to_owned() } else { format!("{}: {}", waiting.len(), waiting.join(", ")) });
    cells
}

/// One who waits; and for how long, if that is wanted, and it said since when.
fn waiting(place: &Place, now: Option<Timestamp>) -> String {
    match now.and_then(|now| place.waited(now)) {
        Some(waited) => format!("{} {}", place.owner, span(waited)),
        None => place.owner.clone(),
    }
}

/// A ttl as somebody has chosen it, as short as that allows; one that was reckoned, as what `at_least` leaves, as a time.
fn ttl(milliseconds: u64) -> String {
    match milliseconds {
        whole if whole.is_multiple_of(1000) => format!("{}s", whole / 1000),
        odd if odd < 60_000 => format!("{odd}ms"),
        long => span(Duration::from_millis(long)),
    }
}

fn widths(lines: &[Vec<String>], least: &[usize]) -> Vec<usize> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let widest =
        |column: usize| lines.iter().filter_map(|line: &Vec<String>| Some(line.get(column)?.chars().count())).max();
    (0..columns).map(|column| widest(column).max(least.get(column).copied()).unwrap_or_default()).collect()
}

/// Aligns cells; in a terminal the last column is cut to what fits.
fn aligned(lines: &[Vec<String>], least: &[usize], room: Option<usize>) -> String {
    let widths = widths(lines, least);
    let mut text = String::new();
    for line in lines {
        let (last, cells) = line.split_last().expect("a line has cells");
        let mut start = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(start, "{cell:width$}{GAP}"); // a String takes everything
        }
        let left = room.map(|room| room.saturating_sub(start.chars().count()).max(LEAST));
        match left.filter(|left| last.chars().count() > *left) {
            Some(left) => start.extend(last.chars().take(left - 1).chain(['…'])),
            None => start.push_str(last),
        }
        text.push_str(start.trim_end());
        text.push('\n');
    }
    text
}

fn described(row: &Row, now: Timestamp) -> String {
    let since = row.since.as_ref().zip(row.age(now)).map(|(since, age)| format!("{since} ({} ago)", span(age)));
    let state = match row.silent_seconds {
        Some(seconds) => {
            format!("{}, last sign of life {} ago", row.told_state(), span(Duration::from_secs(seconds)))
        }
        None => row.told_state(),
    };
    let facts = [
        ("Name", Some(row.name.clone())),
        ("Made of", row.original.clone()),
        ("Namespace", Some(row.namespace.clone())),
        ("State", Some(state)),
        ("Holder", row.holder.clone()),
        ("Engine", row.engine.clone()),
        ("Since", since),
        ("Term", row.term.clone()),
        ("Token", row.token_at_most.map(|token| format!("at most {token}"))),
        ("TTL", Some(ttl(row.ttl_milliseconds)).filter(|_| row.term.is_some())),
        ("Queue", Some(if row.queue.is_empty() { "nobody waits".to_owned() } else { row.queue.len().to_string() })),
    ];
    let facts = facts.into_iter().filter_map(|(name, value)| Some(vec![format!("{name}:"), value?]));
    let mut text = aligned(&facts.collect::<Vec<_>>(), &[], None);
    if !row.queue.is_empty() {
        let head = ["PLACE", "OWNER", "WAITED", "FOR", "TTL", "TERM"].map(str::to_owned).to_vec();
        let waiting = row.queue.iter().map(|place| {
            vec![
                place.number.to_string(),
                place.owner.clone(),
                place.waited(now).map_or_else(|| "-".to_owned(), span),
                place.kind.to_owned(),
                ttl(place.ttl_milliseconds),
                place.term.clone(),
            ]
        });
        let queue = aligned(&[head].into_iter().chain(waiting).collect::<Vec<_>>(), &[], None);
        text.extend(queue.lines().flat_map(|line| ["  ", line, "\n"]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Vec<String>> {
        [["NAME", "STATE", "QUEUE"], ["invoices", "alive", "2: web-1, web-2"], ["x", "dead 3m", "-"]]
            .map(|line| line.map(str::to_owned).to_vec())
            .to_vec()
    }

    #[test]
    fn a_ttl_is_short_and_can_be_read() {
        assert_eq!([15_000, 300_000, 2_500, 3_673_049].map(ttl), ["15s", "300s", "2500ms", "1h1m"]);
    }

    #[test]
    fn columns_align() {
        let expected = "NAME       STATE     QUEUE\ninvoices   alive     2: web-1, web-2\nx          dead 3m   -\n";
        assert_eq!(aligned(&lines(), &[], None), expected);
        assert_eq!(aligned(&lines(), &[], Some(80)), expected);
    }

    #[test]
    fn a_narrow_terminal_cuts_the_queue_and_nothing_else() {
        let cut = "NAME       STATE     QUEUE\ninvoices   alive     2: web-1…\nx          dead 3m   -\n";
        assert_eq!(aligned(&lines(), &[], Some(30)), cut);
        assert_eq!(aligned(&lines(), &[], Some(3)).lines().nth(1), Some("invoices   alive     2: web-…"), "never less");
    }
}
