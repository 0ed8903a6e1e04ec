//! The `Lock` resource: what stands in the API server, and its way to and from a [`Record`].
//!
//! Whatever people write into a `Lock` by hand must not stop a service, so each field is read for itself and an illegible
//! one counts as its neutral value. The exceptions are term and beat: the conditions of every change compare them, and
//! guessing one would be a guess about who holds; and the session, whose life is what a challenger goes by. Nothing here decides who does.

use std::{fmt::Display, time::Duration};

use kube::{CustomResource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    FencingToken, LockName,
    clock::Wall,
    record::{Advert, EngineId, Entry, MAX_WAITERS, Record},
    store::{Fatal, Fault, Snapshot, Version},
};

mod install;

pub use install::{definition, install_crd};

/// The form of a term and of a beat.
const NONCE: &str = "^([0-9a-f]{16})?$";

/// The longest advertisement as it stands there: the term, a blank, the text.
const MAX_ADVERTISED: usize = 16 + 1 + Advert::MAX_LEN;

/// The annotation of a lock whose name had to be escaped: what the name was made of.
pub const ORIGINAL_NAME: &str = "metaparticle.io/original-name";

/// The label of a session, by which all of them are found, among however many locks.
pub(super) const SESSION_LABEL: (&str, &str) = ("msync.dev/session", "true");

/// The wire form of a [`Record`]. Its limits are at the leaves: a rule over the whole would be evaluated at each renewal.
#[allow(clippy::duplicated_attributes, reason = "several columns have the same type")]
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[kube(
    group = "metaparticle.io",
    version = "v1",
    kind = "Lock",
    namespaced,
    shortname = "lk",
    category = "msync",
    doc = "A lock or an election: who holds it, until when, and who waits.",
    derive = "Default",
    derive = "PartialEq",
    selectable = ".spec.engine",
    selectable = ".spec.owner",
    selectable = ".spec.next",
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner"),
    printcolumn(name = "Since", type_ = "date", json_path = ".spec.acquired"),
    printcolumn(name = "TTL", type_ = "string", json_path = ".spec.ttl"),
    printcolumn(name = "Expiry", type_ = "string", json_path = ".spec.expiry"),
    printcolumn(name = "Kind", type_ = "string", json_path = ".spec.kind"),
    printcolumn(name = "Next", type_ = "string", json_path = ".spec.nextOwner"),
    printcolumn(name = "Waiters", type_ = "string", json_path = ".spec.waiters", priority = 1),
    printcolumn(name = "Under", type_ = "string", json_path = ".spec.under", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 1)
)]
#[serde(default, rename_all = "camelCase")]
#[schemars(description = "Written by msync; not meant to be edited by hand.")]
pub struct LockSpec {
    /// The holder's display name; empty when free.
    pub owner: String,
    /// The process that holds: its owner and 64 random bits, or `reserved` if none does until expiry; empty when free.
    pub engine: String,
    /// The acquisition that holds, a random number; empty when free.
    #[schemars(regex(pattern = NONCE))]
    pub term: String,
    /// A random number, new with every write that makes or prolongs the hold; empty when free.
    #[schemars(regex(pattern = NONCE))]
    pub beat: String,
    /// How many writes have made or prolonged this hold; 0 is granted and not yet confirmed by the holder.
    #[schemars(range(min = 0))]
    pub renewals: i64,
    /// A grant to this holder counts as held at once.
    pub instant: bool,
    /// `lock` or `election`. For people.
    pub kind: String,
    /// How long others must see no change before they may take over, in milliseconds.
    #[schemars(range(min = 0))]
    pub ttl_milliseconds: i64,
    /// How long others must see no change before they may take over, with its unit. For people.
    pub ttl: String,
    /// When this hold began, or ended if the lock is free, by the holder's clock. RFC 3339; informative.
    pub acquired: String,
    /// When this hold would end without another renewal, by the holder's clock. RFC 3339; informative.
    pub expiry: String,
    /// Who waits, first come first: term, engine, ttl in milliseconds, `instant` or `accept`, and since when by the waiter's
    /// clock, between blanks.
    #[schemars(length(max = MAX_WAITERS))]
    pub waiters: Vec<String>,
    /// The process that was first in the queue when this holder was granted the lock; empty when nobody was. A hint.
    pub next: String,
    /// The owner who was first in the queue when the holder last wrote; empty when nobody was. For people.
    pub next_owner: String,
    /// What the leader says of itself, such as its address: its term, a blank, the text. Out of date with another term.
    #[schemars(length(max = MAX_ADVERTISED))]
    pub advertised: String,
    /// The session that keeps this hold alive, the object `session.` and this; its expiry is this one's. Empty for a hold that
    /// is renewed by itself.
    #[schemars(regex(pattern = NONCE))]
    pub under: String,
    /// The fields that the object came without. The resource gives every field a default, so that the API server leaves
    /// none out: it does when the resource that is installed is an older one, which does not know them.
    #[serde(skip)]
    #[schemars(skip)]
    pub(crate) absent: Vec<&'static str>,
}

/// What is read of a [`LockSpec`]: each field for itself, and whether it was there.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Found {
    #[serde(deserialize_with = "neutral")]
    owner: Option<String>,
    #[serde(deserialize_with = "neutral")]
    engine: Option<String>,
    #[serde(deserialize_with = "text")]
    term: Option<String>,
    #[serde(deserialize_with = "text")]
    beat: Option<String>,
    #[serde(deserialize_with = "neutral")]
    renewals: Option<i64>,
    #[serde(deserialize_with = "neutral")]
    instant: Option<bool>,
    #[serde(deserialize_with = "neutral")]
    ttl_milliseconds: Option<i64>,
    #[serde(deserialize_with = "neutral")]
    acquired: Option<String>,
    #[serde(deserialize_with = "neutral")]
    expiry: Option<String>,
    #[serde(deserialize_with = "neutral")]
    waiters: Option<Vec<String>>,
    #[serde(deserialize_with = "neutral")]
    next: Option<String>,
    #[serde(deserialize_with = "neutral")]
    next_owner: Option<String>,
    #[serde(deserialize_with = "neutral")]
    kind: Option<String>,
    #[serde(deserialize_with = "neutral")]
    ttl: Option<String>,
    #[serde(deserialize_with = "neutral")]
    advertised: Option<String>,
    #[serde(deserialize_with = "text")]
    under: Option<String>,
}

/// Reads a field, or its neutral value when it is not of its type: possible only where our schema is not installed.
fn neutral<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(field: D) -> Result<Option<T>, D::Error> {
    Ok(Some(serde_json::from_value(Value::deserialize(field)?).unwrap_or_default()))
}

/// Reads a nonce as text whatever its type, so that an illegible one is refused under its lock's name.
fn text<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    Ok(Some(match Value::deserialize(field)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    }))
}

/// Takes a field, and notes its name if it is not there.
fn take<T: Default>(field: Option<T>, name: &'static str, absent: &mut Vec<&'static str>) -> T {
    field.unwrap_or_else(|| {
        absent.push(name);
        T::default()
    })
}

// === impl Found ===

impl From<Found> for LockSpec {
    fn from(found: Found) -> Self {
        let absent = &mut Vec::new();
        let spec = Self {
            owner: take(found.owner, "owner", absent),
            engine: take(found.engine, "engine", absent),
            term: take(found.term, "term", absent),
            beat: take(found.beat, "beat", absent),
            renewals: take(found.renewals, "renewals", absent),
            instant: take(found.instant, "instant", absent),
            ttl_milliseconds: take(found.ttl_milliseconds, "ttlMilliseconds", absent),
            acquired: take(found.acquired, "acquired", absent),
            expiry: take(found.expiry, "expiry", absent),
            waiters: take(found.waiters, "waiters", absent),
            next: take(found.next, "next", absent),
            // For people, and without them they see less.
            next_owner: found.next_owner.unwrap_or_default(),
            kind: found.kind.unwrap_or_default(),
            ttl: found.ttl.unwrap_or_default(),
            advertised: take(found.advertised, "advertised", absent),
            under: take(found.under, "under", absent),
            absent: Vec::new(),
        };
        Self { absent: std::mem::take(absent), ..spec }
    }
}

// === impl LockSpec ===

impl<'de> Deserialize<'de> for LockSpec {
    fn deserialize<D: Deserializer<'de>>(spec: D) -> Result<Self, D::Error> {
        Found::deserialize(spec).map(Self::from)
    }
}

impl From<&Record> for LockSpec {
    fn from(record: &Record) -> Self {
        Self {
            owner: record.engine.owner().to_owned(),
            engine: record.engine.to_string(),
            term: record.term.to_string(),
            beat: record.beat.to_string(),
            renewals: i64::try_from(record.renewals).unwrap_or(i64::MAX),
            instant: record.instant,
            kind: kind(record.instant).to_owned(),
            ttl_milliseconds: millis(record.ttl),
            ttl: in_units(record.ttl),
            acquired: date(record.acquired),
            expiry: date(record.expiry),
            waiters: record.waiters.iter().map(|entry| entry.as_str().to_owned()).collect(),
            next: record.next.to_string(),
            next_owner: record.next_owner.as_deref().unwrap_or_default().to_owned(),
            advertised: record.advertised.as_ref().map(ToString::to_string).unwrap_or_default(),
            under: record.under.to_string(),
            absent: Vec::new(),
        }
    }
}

impl LockSpec {
    /// Reads the record.
    ///
    /// # Errors
    /// What is wrong with the term, the beat or the session.
    fn record(&self) -> Result<Record, String> {
        let illegible = |what: &str, found: &str| format!("its {what} is {found:?}, which msync never writes");
        Ok(Record {
            engine: EngineId::from_text(&self.engine),
            term: self.term.parse().map_err(|_| illegible("term", &self.term))?,
            beat: self.beat.parse().map_err(|_| illegible("beat", &self.beat))?,
            renewals: u64::try_from(self.renewals).unwrap_or_default(),
            instant: self.instant,
            ttl: Duration::from_millis(u64::try_from(self.ttl_milliseconds).unwrap_or_default()),
            acquired: Wall::parse(&self.acquired),
            expiry: Wall::parse(&self.expiry),
            waiters: self.waiters.iter().map(|entry| Entry::from_text(entry)).collect(),
            next: EngineId::from_text(&self.next),
            next_owner: Some(self.next_owner.as_str()).filter(|owner| !owner.is_empty()).map(Into::into),
            advertised: Advert::parse(&self.advertised),
            under: self.under.parse().map_err(|_| illegible("session", &self.under))?,
        })
    }
}

/// Writes a ttl as it stands in a `Lock`.
pub(crate) fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}

/// Writes a ttl for people: to the millisecond, and as short as that allows.
pub(crate) fn in_units(ttl: Duration) -> String {
    let millis = ttl.as_millis();
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

/// Writes for people what a record is of: who campaigns accepts first, and nobody else does.
pub(crate) fn kind(instant: bool) -> &'static str {
    if instant { "lock" } else { "election" }
}

fn date(wall: Option<Wall>) -> String {
    wall.map(|wall| wall.to_string()).unwrap_or_default()
}

// === impl Lock ===

impl Lock {
    /// Makes the object of a record.
    pub fn of(name: &LockName, record: &Record) -> Self {
        let mut lock = Self::new(name.as_str(), LockSpec::from(record));
        if let Some(original) = name.original() {
            lock.annotations_mut().insert(ORIGINAL_NAME.to_owned(), original.to_owned());
        }
        if name.is_session() {
            lock.labels_mut().insert(SESSION_LABEL.0.to_owned(), SESSION_LABEL.1.to_owned());
        }
        lock
    }

    /// Reads the object.
    ///
    /// # Errors
    /// [`Fatal::CrdOutdated`] when a field is not there; [`Fatal::Other`], naming the lock, when its version, its term or its
    /// beat is not one that the protocol can use.
    pub fn snapshot(&self) -> Result<(LockName, Snapshot), Fault> {
        if !self.spec.absent.is_empty() {
            return Err(Fault::Fatal(outdated(&format!("it does not keep {}", self.spec.absent.join(", ")))));
        }
        let record = self.spec.record().map_err(|why| {
            self.unusable(format_args!("{why}; if it was edited by hand, delete it once nobody holds it"))
        })?;
        let uid = self.uid().unwrap_or_default().into();
        let version = Version { uid, number: self.version()? };
        Ok((self.lock_name()?, Snapshot { version, record }))
    }

    /// Reads the name alone.
    ///
    /// # Errors
    /// [`Fatal::Other`] when the API server allowed a name that is none.
    pub(crate) fn lock_name(&self) -> Result<LockName, Fault> {
        let name = LockName::stored(&self.name_any()).map_err(|error| self.unusable(error))?;
        Ok(name.with_original(self.annotations().get(ORIGINAL_NAME).map(String::as_str)))
    }

    /// Reads the version alone, which fencing tokens are made of.
    ///
    /// # Errors
    /// [`Fatal::Other`] when it is not a number below 2^48.
    pub(crate) fn version(&self) -> Result<u64, Fault> {
        let text = self.resource_version().unwrap_or_default();
        let number = text.parse().ok().filter(|number| *number < FencingToken::VERSION_LIMIT);
        number.ok_or_else(|| {
            self.unusable(format_args!("its resourceVersion is {text:?}; fencing tokens need an integer below 2^48"))
        })
    }

    fn unusable(&self, why: impl Display) -> Fault {
        let namespace = self.namespace().unwrap_or_default();
        Fault::Fatal(Fatal::Other(crate::error::told(format!("lock {namespace}/{}: {why}", self.name_any()))))
    }
}

/// Says that the resource is an older one than this msync needs.
pub(crate) fn outdated(why: &str) -> Fatal {
    Fatal::CrdOutdated(format!(
        "the resource locks.metaparticle.io/v1 is outdated: {why}; apply examples/manifests/crd.yaml or \
         msync::manifests::CRD of this version, or call Client::install_crd with the rights to do so"
    ))
}

#[cfg(test)]
mod tests;
