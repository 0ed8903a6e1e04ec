//! One lock as it is shown: the stable form of `-o json`, and what the tables are made of.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use msync::{
    clock::Wall,
    unstable::{
        SESSIONS,
        crd::Lock,
        record::{Entry, Record},
    },
};
use serde::Serialize;

/// How a holder looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Nobody has it.
    Free,
    /// The holder gave a sign of life as recently as one does.
    Alive,
    /// It should have given one by now.
    Silent,
    /// It gave none for its ttl: others may take over.
    Dead,
    /// It lives as long as its session does, whose own row tells.
    Sheltered,
}

/// One lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// What the name was made of, if it had to be escaped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) original: Option<String>,
    pub(crate) state: State,
    /// How long ago the last write of the record was; whole seconds, `null` when free.
    pub(crate) silent_seconds: Option<u64>,
    pub(crate) holder: Option<String>,
    pub(crate) engine: Option<String>,
    pub(crate) term: Option<String>,
    /// When the present hold began, by the holder's clock.
    pub(crate) since: Option<String>,
    pub(crate) ttl_milliseconds: u64,
    /// The object that is renewed in place of this lock, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
    pub(crate) renewals: u64,
    /// The fencing token of the present hold is this or less; greater than that of every earlier one.
    pub(crate) token_at_most: Option<u64>,
    pub(crate) queue: Vec<Place>,
}

/// One who waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Place {
    /// 1 is the next to have the lock.
    #[serde(rename = "place")]
    pub(crate) number: usize,
    pub(crate) owner: String,
    pub(crate) engine: String,
    pub(crate) term: String,
    pub(crate) ttl_milliseconds: u64,
    /// Since when it waits, by its own clock; `null` where an earlier msync wrote none.
    pub(crate) since: Option<String>,
    /// `lock`, or `election` for a candidate, who must accept first; `illegible` for what msync did not write.
    pub(crate) kind: &'static str,
}

// === impl State ===

impl State {
    /// Says how a holder looks that was silent for so long. A renewal is due after a third of the ttl; one that failed is
    /// repeated.
    pub(crate) fn of(record: &Record, silent: Duration) -> Self {
        if record.is_free() {
            Self::Free
        } else if !record.under.is_none() {
            Self::Sheltered
        } else if silent >= record.patience() {
            Self::Dead
        } else if silent > record.patience() / 2 {
            Self::Silent
        } else {
            Self::Alive
        }
    }

    /// When a holder that goes on being silent looks otherwise next.
    pub(crate) fn changes_after(record: &Record, silent: Duration) -> Option<Duration> {
        let patience = record.patience();
        let steps = [patience / 2 + Duration::from_millis(1), patience];
        steps.into_iter().find(|step| *step > silent).filter(|_| !record.is_free() && record.under.is_none())
    }
}

// === impl Row ===

impl Row {
    /// Makes the row of a record, whose last write was so long ago.
    pub(crate) fn new(lock: &Lock, record: &Record, silent: Duration) -> Self {
        let held = |text: String| Some(text).filter(|_| !record.is_free());
        let version: Option<u64> = lock.resource_version().and_then(|version| version.parse().ok());
        Self {
            namespace: lock.namespace().unwrap_or_default(),
            name: lock.name_any(),
            original: lock.annotations().get(msync::unstable::crd::ORIGINAL_NAME).cloned(),
            state: State::of(record, silent),
            silent_seconds: (!record.is_free()).then_some(silent.as_secs()),
            holder: held(record.engine.owner().to_owned()),
            engine: held(record.engine.to_string()),
            term: held(record.term.to_string()),
            since: record.acquired.and_then(date).and_then(held),
            ttl_milliseconds: u64::try_from(record.ttl.as_millis()).unwrap_or(u64::MAX),
            session: (!record.under.is_none()).then(|| format!("{SESSIONS}{}", record.under)),
            renewals: record.renewals,
            token_at_most: version.filter(|_| !record.is_free()).map(|version| (version << 16) | 0xffff),
            queue: record.waiters.iter().enumerate().map(|(index, entry)| Place::new(index + 1, entry)).collect(),
        }
    }

    /// How the state is told in a table.
    pub(crate) fn told_state(&self) -> String {
        match (self.state, self.silent_seconds) {
            (State::Free, _) => "free".to_owned(),
            (State::Alive, _) => "alive".to_owned(),
            (State::Sheltered, _) => "by session".to_owned(),
            (State::Silent, seconds) => format!("silent {}s", seconds.unwrap_or_default()),
            (State::Dead, seconds) => format!("dead {}", span(Duration::from_secs(seconds.unwrap_or_default()))),
        }
    }

    /// How long the present hold has lasted, by the clocks of people.
    pub(crate) fn age(&self, now: Timestamp) -> Option<Duration> {
        age(self.since.as_deref(), now)
    }

    /// What people care for; when this is the same, nothing has happened.
    pub(crate) fn essence(&self) -> (State, &Option<String>, Vec<&str>) {
        (self.state, &self.term, self.queue.iter().map(|place| place.term.as_str()).collect())
    }
}

// === impl Place ===

impl Place {
    fn new(number: usize, entry: &Entry) -> Self {
        let Some(claim) = entry.claim() else {
            let (engine, term, ttl_milliseconds) = (String::new(), String::new(), 0);
            return Self {
                number,
                owner: entry.as_str().to_owned(),
                engine,
                term,
                ttl_milliseconds,
                since: None,
                kind: "illegible",
            };
        };
        Self {
            number,
            owner: claim.engine.owner().to_owned(),
            engine: claim.engine.to_string(),
            term: claim.term.to_string(),
            ttl_milliseconds: u64::try_from(claim.ttl.as_millis()).unwrap_or(u64::MAX),
            since: entry.since().and_then(date),
            kind: if claim.instant { "lock" } else { "election" },
        }
    }
}

// === impl Place: time ===

impl Place {
    /// How long it has waited, by the clocks of people.
    pub(crate) fn waited(&self, now: Timestamp) -> Option<Duration> {
        age(self.since.as_deref(), now)
    }
}

fn date(wall: Wall) -> Option<String> {
    Timestamp::from_millisecond(wall.as_millis()).ok().map(|date| date.to_string())
}

fn age(since: Option<&str>, now: Timestamp) -> Option<Duration> {
    let since: Timestamp = since?.parse().ok()?;
    Some(Duration::try_from(now.duration_since(since)).unwrap_or_default())
}

/// A time in two units at the most, as kubectl shows ages.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, 0) => format!("{minutes}m"),
        (0, 0, minutes, seconds) if minutes < 10 => format!("{minutes}m{seconds}s"),
        (0, 0, minutes, _) => format!("{minutes}m"),
        (0, hours, 0, _) => format!("{hours}h"),
        (0, hours, minutes, _) => format!("{hours}h{minutes}m"),
        (days, 0, ..) => format!("{days}d"),
        (days, hours, ..) if days < 10 => format!("{days}d{hours}h"),
        (days, ..) => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use msync::unstable::record::Term;

    use super::*;

    fn held() -> Record {
        Record { term: Term(7), ttl: Duration::from_secs(30), ..Record::default() }
    }

    #[test]
    fn a_holder_is_dead_when_it_was_silent_for_its_ttl_and_not_before() {
        let state = |seconds| State::of(&held(), Duration::from_secs(seconds));
        assert_eq!(
            [0, 15, 16, 29, 30].map(state),
            [State::Alive, State::Alive, State::Silent, State::Silent, State::Dead]
        );
        assert_eq!(State::of(&Record::default(), Duration::from_secs(1000)), State::Free);
    }

    #[test]
    fn the_next_look_is_when_something_changes() {
        let mut silent = Duration::ZERO;
        let mut seen = vec![State::of(&held(), silent)];
        while let Some(next) = State::changes_after(&held(), silent) {
            silent = next;
            seen.push(State::of(&held(), silent));
        }
        assert_eq!(seen, [State::Alive, State::Silent, State::Dead]);
        assert_eq!(State::changes_after(&Record::default(), Duration::ZERO), None);
    }

    #[test]
    fn who_waits_is_told_for_how_long_where_it_said_since_when() {
        let text = "0000000000000002 web-2.00000000000000ab 15000 instant";
        let place = |date: &str| Place::new(1, &Entry::from_text(&format!("{text}{date}")));
        let now: Timestamp = "2026-11-22T14:01:05Z".parse().unwrap();
        assert_eq!(place(" 2026-11-22T14:00:00.000Z").waited(now), Some(Duration::from_secs(65)));
        assert_eq!(place(" 2026-11-22T14:02:00.000Z").waited(now), Some(Duration::ZERO), "its clock is ahead");
        assert_eq!(place("").waited(now), None);
    }

    #[test]
    fn spans_are_short() {
        let told = |seconds| span(Duration::from_secs(seconds));
        let shown = [0, 59, 60, 61, 601, 3600, 3660, 86_400, 90_000, 864_000].map(told);
        assert_eq!(shown, ["0s", "59s", "1m", "1m1s", "10m", "1h", "1h1m", "1d", "1d1h", "10d"]);
    }
}
