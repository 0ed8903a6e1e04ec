//! The queue in a Lease: an annotation for each waiter, in the order of the dates that they wrote.
//!
//! Annotations have no order of their own, and clocks may be hours apart: by clocks alone whoever is behind would always go
//! first. So dates only go up, as those of Lamport's clocks (1978) do: nobody dates itself before those whom it has seen in the
//! queue, and whoever joins unseeing is shown by the answer who came before, and moves behind them.

use super::{Leased, PREFIX, note};
use crate::{
    clock::Wall,
    record::{Entry, MAX_WAITERS, Term, WALL_SKEW},
};

/// One place in the queue: its date in milliseconds since 1970, the term, the rest of the entry.
type Place<'a> = (u64, &'a str, &'a str);

/// No date is later: of what a hand has written beyond, nobody could stand behind it, so it is illegible.
const LAST: u64 = 1 << 62;

// === impl Leased: its queue ===

impl Leased {
    /// Says whether an entry stands behind the last place that the queue has. A Lease has no limit by itself: whoever joins
    /// and finds itself there leaves again.
    pub fn has_no_room_for(&self, term: Term) -> bool {
        self.waiters().iter().skip(MAX_WAITERS).any(|entry| entry.term() == Some(term))
    }

    /// Returns what a newcomer writes: its entry, dated by its clock, and behind all whom it has seen here.
    pub(super) fn newcomer(&self, entry: &Entry, wall: Wall) -> String {
        let clock = u64::try_from(wall.as_millis()).unwrap_or(0);
        joined(entry, self.latest(|_| true).map_or(clock, |latest| clock.max(after(latest))))
    }

    /// Says whether who has just joined stands before others, who came before if this is what its answer showed; then returns
    /// what stands at its place, and what must stand there to be behind them. As little as clocks may be apart does not count,
    /// or those who join at one moment would all have to move.
    pub(super) fn place_behind_others(&self, term: Term) -> Option<(String, String)> {
        let term = term.to_string();
        let (date, _, rest) = self.places().find(|(_, other, _)| *other == term)?;
        let others = self.latest(|other| other != term)?;
        let ahead = u128::from(others.saturating_sub(date)) > WALL_SKEW.as_millis();
        ahead.then(|| (format!("{date} {rest}"), format!("{} {rest}", after(others))))
    }

    /// The queue: by the dates, and by term where those are equal. What is not legible comes first, so that it is removed
    /// first.
    pub(super) fn waiters(&self) -> Vec<Entry> {
        let mut places: Vec<_> = self.places().collect();
        places.sort_unstable();
        let entry = |(_, first, rest): Place<'_>| match rest {
            "" => Entry::from_text(first),
            rest => Entry::from_text(&format!("{first} {rest}")),
        };
        places.into_iter().map(entry).collect()
    }

    fn latest(&self, of: impl Fn(&str) -> bool) -> Option<u64> {
        self.places().filter(|(_, term, _)| of(term)).map(|(date, ..)| date).max()
    }

    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.annotations.iter().flatten().filter_map(|(key, text)| place(key, text))
    }
}

/// Reads one annotation as a place in the queue.
fn place<'a>(key: &'a str, text: &'a str) -> Option<Place<'a>> {
    let term = key.strip_prefix(PREFIX)?.strip_prefix("w.")?;
    let (date, rest) = text.split_once(' ').unwrap_or((text, ""));
    let date = date.parse().ok().filter(|date| *date <= LAST);
    Some(date.map_or((0, term, text), |date| (date, term, rest)))
}

/// The annotation that an entry of the queue stands under: that of its term, so that each has one of its own.
pub(super) fn waiter(entry: &Entry) -> String {
    note(&format!("w.{}", entry.as_str().split(' ').next().unwrap_or_default()))
}

/// What stands there: the date by which it has its place, and the entry without its term.
pub(super) fn joined(entry: &Entry, date: u64) -> String {
    let rest = entry.as_str().split_once(' ').map(|(_, rest)| rest);
    rest.map_or_else(|| date.to_string(), |rest| format!("{date} {rest}"))
}

fn after(date: u64) -> u64 {
    (date + 1).min(LAST)
}
