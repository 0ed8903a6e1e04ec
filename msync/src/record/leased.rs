//! A record as it stands in a `coordination.k8s.io/v1` Lease, and who holds such a Lease: msync, somebody else, nobody.
//!
//! A Lease is everybody's: client-go, kubert and people write the same five fields of its spec. What msync needs beyond
//! them stands in annotations, which others keep and never read. So an annotation proves nothing by itself: it counts only
//! while the spec names the engine that wrote it.
//!
//! Pure: no clock, no I/O. The store sends the operations that [`ops`](Leased::ops) lists as one JSON patch; simulation and
//! model run the same list with [`run`](Leased::run).

mod known;
mod ops;
mod queue;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

pub use known::Approach;
pub use ops::{Op, Place};
use queue::{joined, waiter};

use super::{Advert, Beat, EngineId, Pair, Record, Term};
use crate::clock::Wall;

/// What all labels and annotations of msync begin with.
const PREFIX: &str = "msync.dev/";

/// Which engine holds, as a hash: what its inbox selects by.
pub const ENGINE_LABEL: &str = "msync.dev/engine";

/// Who was first in the queue when the holder was granted the lock, as a hash: what a second watch selects by.
pub const NEXT_LABEL: &str = "msync.dev/next";

/// The annotations that tell of an engine which has held the Lease, until it leaves.
const TRACES: [&str; 3] = ["engine", "term", "beat"];

/// A Lease as it was seen: what of it matters to who holds it, and to who waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leased {
    /// Each field of the spec as it stands there, those included that this version does not know.
    pub spec: BTreeMap<String, Value>,
    /// `None` where the object has no annotations at all: then none can be added by its path.
    pub annotations: Option<BTreeMap<String, String>>,
    /// `None` where the object has no labels at all.
    pub labels: Option<BTreeMap<String, String>>,
    /// The `resourceVersion`.
    pub version: u64,
}

/// Who holds a Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Nobody: `holderIdentity` is empty or missing.
    Nobody,
    /// Nobody any more: somebody else emptied it after an engine, whose time may not be over. That engine loses it as soon as
    /// it sees that, and it may not see it for long.
    Wiped,
    /// An engine of msync: it is the one whose annotations stand there.
    Ours,
    /// Somebody else: client-go, kubert, a hand. Annotations of msync are left over.
    Foreign,
}

// === impl Leased ===

impl Leased {
    /// Writes a record as a Lease that has never been written before. Its queue is older than whoever joins it.
    pub fn of(record: &Record) -> Self {
        let free = record.is_free();
        let holder = if free { "" } else { record.engine.as_str() };
        let seconds = if free { 1 } else { seconds(record.ttl) };
        let mut spec = BTreeMap::from([
            ("holderIdentity".to_owned(), holder.into()),
            ("leaseDurationSeconds".to_owned(), seconds.into()),
            ("leaseTransitions".to_owned(), first_count(record.acquired).into()),
        ]);
        spec.extend(record.acquired.map(|date| ("acquireTime".to_owned(), micros(date).into())));
        let renewed = record.expiry.map(|date| if free { date } else { before(date, record.ttl) });
        spec.extend(renewed.map(|date| ("renewTime".to_owned(), micros(date).into())));
        let mut notes = BTreeMap::from([
            (note("engine"), holder.to_owned()),
            (note("term"), record.term.to_string()),
            (note("beat"), if free { String::new() } else { record.beat.to_string() }),
            (note("renewals"), record.renewals.to_string()),
            (note("instant"), record.instant.to_string()),
            (note("ttl-ms"), record.ttl.as_millis().to_string()),
        ]);
        notes.extend(record.expiry.map(|date| (note("expiry"), date.to_string())));
        notes.extend(Some((note("next"), record.next.to_string())).filter(|(_, next)| !next.is_empty()));
        notes.extend(record.next_owner.as_ref().map(|owner| (note("next-owner"), owner.to_string())));
        notes.extend(record.advertised.as_ref().map(|advert| (note("advertised"), advert.to_string())));
        let places = record.waiters.iter().zip(0..);
        notes.extend(places.map(|(entry, place)| (waiter(entry), joined(entry, place))));
        notes.extend(Some((note("under"), record.under.to_string())).filter(|(_, under)| !under.is_empty()));
        let labels = [(ENGINE_LABEL, badge(holder)), (NEXT_LABEL, badge(record.next.as_str()))];
        let labels = labels.map(|(label, badge)| (label.to_owned(), badge)).into();
        Self { spec, annotations: Some(notes), labels: Some(labels), version: 0 }
    }

    /// Reads it as a record.
    ///
    /// # Errors
    /// What is in the way: Kubernetes itself decides who holds this Lease.
    pub fn record(&self) -> Result<Record, String> {
        for field in ["strategy", "preferredHolder"] {
            if let Some(value) = self.spec.get(field).filter(|value| !value.is_null()) {
                return Err(format!(
                    "its {field} is {value}: with coordinated leader election the API server decides who leads; remove \
                     the field, or choose another name"
                ));
            }
        }
        let held = match self.holder() {
            Holder::Nobody => Record { ttl: self.noted_ttl().unwrap_or_default(), ..self.noted() },
            Holder::Ours => Record {
                engine: EngineId::from_text(self.identity()),
                term: self.parsed("term").unwrap_or_default(),
                beat: self.parsed("beat").unwrap_or_default(),
                ttl: self.ttl(),
                next: EngineId::from_text(self.noted_text("next").unwrap_or_default()),
                next_owner: self.noted_next_owner().map(Into::into),
                under: self.noted_session(),
                ..self.noted()
            },
            Holder::Foreign => self.foreign(self.identity(), self.foreign_ttl()),
            Holder::Wiped => {
                let last = EngineId::from_text(self.noted_text("engine").unwrap_or_default());
                self.foreign(last.owner(), self.noted_ttl().map(|_| self.ttl()))
            }
        };
        Ok(Record { waiters: self.waiters(), ..held })
    }

    /// Says who holds it. The annotations count only while the spec names the engine that wrote them: another's PUT keeps
    /// them, so that they may be of a hold long gone.
    ///
    /// client-go's release empties the holder whoever that is, once it believes to lead, and whoever finds it empty takes it at
    /// once. So as long as there is a trace of an engine that has not left by itself, it may believe, whoever has been there since.
    pub fn holder(&self) -> Holder {
        match (self.identity(), self.noted_text("engine")) {
            ("", _) if self.is_traced() => Holder::Wiped,
            ("", _) => Holder::Nobody,
            (identity, Some(noted)) if identity == noted && self.is_legible() => Holder::Ours,
            _ => Holder::Foreign,
        }
    }

    /// Returns what a challenger watches. Of a foreign holder every change of the spec is a sign of life.
    pub fn pair(&self) -> Pair {
        match self.holder() {
            Holder::Nobody => Pair::FREE,
            Holder::Ours => {
                Pair { term: self.parsed("term").unwrap_or_default(), beat: self.parsed("beat").unwrap_or_default() }
            }
            Holder::Foreign | Holder::Wiped => {
                let since = ["holderIdentity", "acquireTime", "leaseTransitions"].map(|field| self.spec.get(field));
                let term = Term::random(hash(format!("{since:?}").as_bytes()));
                Pair { term, beat: Beat::random(hash(format!("{:?}", self.spec).as_bytes())) }
            }
        }
    }

    /// Says whether anything of msync stands in it: a Lease without belongs to others alone.
    pub fn is_marked(&self) -> bool {
        self.annotations.iter().flatten().any(|(key, _)| key.starts_with(PREFIX))
    }

    /// Returns it without what others have put there: what a store keeps in mind.
    #[must_use]
    pub fn pruned(mut self) -> Self {
        for map in [&mut self.annotations, &mut self.labels].into_iter().flatten() {
            map.retain(|key, _| key.starts_with(PREFIX));
        }
        self
    }

    fn identity(&self) -> &str {
        self.spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default()
    }

    fn noted_text(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(&note(key)).map(String::as_str)
    }

    fn parsed<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.noted_text(key)?.parse().ok()
    }

    fn date(&self, field: &str) -> Option<Wall> {
        Wall::parse(self.spec.get(field)?.as_str()?)
    }

    fn transitions(&self) -> i64 {
        self.spec.get("leaseTransitions").and_then(Value::as_i64).unwrap_or_default()
    }

    /// What annotations say beside who holds: read where nobody or an engine does.
    fn noted(&self) -> Record {
        // Shorter waits are for grants alone, so what is not legible is none.
        let instant = self.parsed("instant");
        let renewals = self.parsed("renewals").filter(|renewals| *renewals > 0 || instant.is_some());
        Record {
            renewals: renewals.unwrap_or(1),
            instant: instant.unwrap_or_default(),
            acquired: self.date("acquireTime"),
            expiry: self.noted_text("expiry").and_then(Wall::parse),
            advertised: self.noted_text("advertised").and_then(Advert::parse),
            ..Record::default()
        }
    }

    fn foreign(&self, holder: &str, ttl: Option<Duration>) -> Record {
        let (pair, ttl) = (self.pair(), ttl.unwrap_or_default());
        Record {
            engine: EngineId::foreign(holder),
            term: pair.term,
            beat: pair.beat,
            renewals: 1,
            instant: false,
            ttl,
            expiry: self.date("renewTime").map(|renewed| renewed + ttl),
            ..self.noted()
        }
    }

    fn noted_next_owner(&self) -> Option<&str> {
        self.noted_text("next-owner").filter(|owner| !owner.is_empty())
    }

    /// The session that keeps it. What is not legible is one that nobody can see: then its absence must be seen.
    fn noted_session(&self) -> Term {
        let text = self.noted_text("under").unwrap_or_default();
        text.parse().unwrap_or_else(|_| Term::random(hash(text.as_bytes())))
    }

    /// Says whether an engine has held that has not left by itself: who leaves empties all of this. It may believe, whichever of
    /// it somebody has spoilt by hand.
    fn is_traced(&self) -> bool {
        TRACES.iter().any(|key| self.noted_text(key).is_some_and(|text| !text.is_empty()))
    }

    /// Says whether the annotations say under which term somebody holds.
    fn is_legible(&self) -> bool {
        self.parsed::<Term>("term").is_some_and(|term| !term.is_none())
            && self.parsed::<Beat>("beat").is_some_and(|beat| !beat.is_none())
    }

    fn noted_ttl(&self) -> Option<Duration> {
        self.parsed("ttl-ms").map(Duration::from_millis)
    }

    fn rounded_ttl(&self) -> Option<Duration> {
        let seconds = self.spec.get("leaseDurationSeconds")?.as_i64()?;
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }

    /// What is waited for after somebody else: its own seconds, and no less than the time of the engine before it. `None` where
    /// either is not to be told.
    fn foreign_ttl(&self) -> Option<Duration> {
        let before = if self.is_traced() { self.noted_ttl()? } else { Duration::ZERO };
        self.rounded_ttl().filter(|ttl| !ttl.is_zero()).map(|ttl| ttl.max(before))
    }

    /// The holder's own ttl. Where somebody edited one of both by hand, the longer: too long costs time, too short more.
    fn ttl(&self) -> Duration {
        let rounded = self.rounded_ttl().unwrap_or_default();
        match self.noted_ttl() {
            Some(exact) if Duration::from_secs(seconds(exact).unsigned_abs()) == rounded => exact,
            exact => rounded.max(exact.unwrap_or_default()),
        }
    }
}

fn note(key: &str) -> String {
    format!("{PREFIX}{key}")
}

/// Returns what an engine is selected by: its id is too long for a label, so a hash of it; nothing for nobody.
pub fn badge(engine: &str) -> String {
    if engine.is_empty() { String::new() } else { format!("{:016x}", hash(engine.as_bytes())) }
}

/// FNV-1a, 64 bits: the same in every version of msync, which std's hasher need not be.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Rounds a ttl up to what others count in, and never to less than they accept.
fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1)
}

/// Writes a date as a Lease has it: with microseconds, neither more nor fewer digits.
fn micros(date: Wall) -> String {
    date.min(Wall::LATEST).to_string().replace('Z', "000Z")
}

fn before(date: Wall, by: Duration) -> Wall {
    Wall::from_millis(date.as_millis().saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

/// Returns the `leaseTransitions` that a new Lease begins with. An engine that deletes a Lease and makes it anew within a second
/// would show client-go, which compares whole seconds, what it saw before, and its time would count from there.
fn first_count(made: Option<Wall>) -> i64 {
    made.map_or(0, |date| date.as_millis().rem_euclid(1000))
}

/// Returns the `renewTime` of a renewal: later by a second than the last one, at least. client-go compares whole seconds, and
/// takes a holder for dead whose second is the one that it saw before, however long it has not looked: so none comes twice.
fn renew_time(last: Option<Wall>, wall: Wall) -> Wall {
    last.map_or(wall, |last| wall.max(last + SECOND))
}

const SECOND: Duration = Duration::from_secs(1);
