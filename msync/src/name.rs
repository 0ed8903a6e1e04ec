//! Names of locks: valid by construction, so that no later layer has to refuse one.

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

/// What the names of sessions begin with, which are msync's own.
pub const SESSIONS: &str = "session.";

/// The longest name that Kubernetes allows for an object.
const MAX_LEN: usize = 253;

/// The longest owner name: a DNS label, as host names are.
const MAX_OWNER: usize = 63;

/// The longest original that is kept: enough to recognise it by, and little beside what etcd stores in one object.
const MAX_ORIGINAL: usize = 1024;

/// How much of an escaped name is left of the original: the rest is a dash and the hash.
const MAX_KEPT: usize = MAX_LEN - 1 - 16;

/// The name of a lock or an election: an RFC 1123 subdomain, as Kubernetes wants its object names.
///
/// Lower-case letters, digits, `-` and `.`; every part between dots starts and ends with a letter or a digit;
/// at most 253 characters.
///
/// # One rule for all names
/// Every text names a lock, but the empty one and what begins with `session.` (those names are msync's own), wherever a
/// name is given: to [`Client::lock`](crate::Client::lock),
/// `lock_all`, `election`, `leader_loop`, and by the data in the template of an annotated function. A text that Kubernetes
/// allows is the name; any other becomes the nearest name and a hash, by [`escaped`](Self::escaped), so that the same text
/// is the same lock everywhere. Only what is *read as a name* must be one: [`new`](Self::new), `FromStr`, `TryFrom`,
/// `Deserialize`, and the fixed text of an annotation, which the compiler checks.
///
/// ```
/// use msync::{Client, LockName, MemoryStore};
/// # fn main() -> Result<(), msync::Error> {
/// let client = Client::builder().memory(&MemoryStore::new()).build();
/// assert_eq!(client.lock("invoices")?.name().as_str(), "invoices");
///
/// let name = LockName::escaped("Router A");
/// assert_eq!(name.as_str(), "router-a-29a186d67f649897");
/// assert_eq!(client.lock("Router A")?.name(), &name);
/// assert_eq!(client.election(&name)?.name(), &name);
///
/// assert!("Router A".parse::<LockName>().is_err());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LockName {
    text: Text,
    /// What it was made of, if that was no name; informative, so that it is no part of its identity.
    original: Option<Arc<str>>,
}

/// Most names of annotated functions are in the program: they need no allocation.
#[derive(Clone)]
enum Text {
    Fixed(&'static str),
    Made(Arc<str>),
}

// === impl LockName ===

impl LockName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Error::InvalidName`], with the reason, when Kubernetes would refuse the name.
    pub fn new(name: impl AsRef<str>) -> Result<Self, Error> {
        let name = name.as_ref();
        match fault(name) {
            None => Ok(Self::made(name)),
            Some(reason) => Err(Error::InvalidName { name: name.to_owned(), reason }),
        }
    }

    /// Takes the name of an object that is there, one of msync's own as well.
    ///
    /// # Errors
    /// [`Error::InvalidName`] when it is none that Kubernetes allows.
    #[cfg(any(feature = "kube", test))]
    pub(crate) fn stored(name: &str) -> Result<Self, Error> {
        if name.starts_with(SESSIONS) && shape_fault(name).is_none() { Ok(Self::made(name)) } else { Self::new(name) }
    }

    /// Returns the name of a session, by its term.
    pub(crate) fn session(term: impl fmt::Display) -> Self {
        Self::made(&format!("{SESSIONS}{term}"))
    }

    /// Says whether it is that of a session, which no user has.
    pub(crate) fn is_session(&self) -> bool {
        self.as_str().starts_with(SESSIONS)
    }

    /// Takes a name that the macro has checked.
    pub(crate) const fn checked(name: &'static str) -> Self {
        Self { text: Text::Fixed(name), original: None }
    }

    /// Makes a name of any text. One that is a name stays as it is; any other becomes the nearest name and a hash, so that
    /// two originals do not share a lock, and the `Lock` object shows the original in its annotation
    /// `metaparticle.io/original-name`.
    ///
    /// The same text gives the same name in every process and every version of msync.
    pub fn escaped(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        if fault(text).is_none() {
            return Self::made(text);
        }
        let mut kept = sanitize(text, MAX_KEPT);
        if let Some(rest) = kept.strip_prefix(SESSIONS) {
            kept = format!("session-{rest}");
        }
        let name = format!("{kept}-{:016x}", fnv1a(text.as_bytes()));
        Self { original: Some(shortened(text).into()), ..Self::made(&name) }
    }

    /// Makes the name of whatever a caller calls a lock: any text but none at all, which is a mistake and nobody's name, and but
    /// what begins as the names of sessions do.
    pub(crate) fn of(text: &str) -> Result<Self, Error> {
        if text.is_empty() || text.starts_with(SESSIONS) { Self::new(text) } else { Ok(Self::escaped(text)) }
    }

    /// Adds what the name was made of, as it stands in an object.
    #[cfg(feature = "kube")]
    pub(crate) fn with_original(self, original: Option<&str>) -> Self {
        Self { original: original.map(Into::into), ..self }
    }

    fn made(name: &str) -> Self {
        Self { text: Text::Made(name.into()), original: None }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        match &self.text {
            Text::Fixed(name) => name,
            Text::Made(name) => name,
        }
    }

    /// Returns what the name was made of, if that was no name itself; at most its first 1,024 bytes.
    pub fn original(&self) -> Option<&str> {
        self.original.as_deref()
    }
}

impl PartialEq for LockName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for LockName {}

impl PartialOrd for LockName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LockName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for LockName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl AsRef<str> for LockName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl FromStr for LockName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<&str> for LockName {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl TryFrom<String> for LockName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl Serialize for LockName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for LockName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::new(text).map_err(de::Error::custom)
    }
}

/// FNV-1a, 64 bits: the same in every process and every version, which the standard library's hasher does not promise.
/// Two originals that do collide merely share a lock.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn shortened(original: &str) -> Cow<'_, str> {
    if original.len() <= MAX_ORIGINAL {
        return original.into();
    }
    let fits = |end: &usize| original.is_char_boundary(*end);
    let end = (0..=MAX_ORIGINAL - '…'.len_utf8()).rev().find(fits).unwrap_or_default();
    format!("{}…", &original[..end]).into()
}

/// Says what is wrong with a name for a lock, if anything.
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    if name.starts_with(SESSIONS) {
        return Some(
            "names that begin with \"session.\" are msync's own; choose another beginning, such as \"session-\"",
        );
    }
    shape_fault(name)
}

/// Says what Kubernetes has against a name, if anything (RFC 1123 subdomain, as `apimachinery` validates object names).
fn shape_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > MAX_LEN {
        return Some("it is longer than 253 characters");
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if !name.bytes().all(allowed) {
        return Some("only lower-case letters, digits, '-' and '.' are allowed");
    }
    let edge = |part: &str| part.is_empty() || part.starts_with('-') || part.ends_with('-');
    if name.split('.').any(edge) {
        return Some("each part between dots must start and end with a letter or a digit");
    }
    None
}

/// Makes an owner of any text, such as a host name. One that is too long ends in a hash of all of it: owners that differ
/// only at their end stay apart.
pub(crate) fn owner(text: &str) -> String {
    let whole = sanitize(text, usize::MAX);
    if text.chars().count() <= MAX_OWNER {
        return whole;
    }
    let hash = fnv1a(text.as_bytes());
    format!("{}-{:08x}", sanitize(text, MAX_OWNER - 1 - 8), (hash >> 32) ^ (hash & 0xffff_ffff))
}

/// Makes a name fit into a place that is shorter: one that is too long ends in a hash of all of it.
#[cfg(feature = "kube")]
pub(crate) fn fitting(name: &str, most: usize) -> String {
    if name.len() <= most {
        return name.to_owned();
    }
    let hash = fnv1a(name.as_bytes());
    format!("{}-{:08x}", &name[..most - 1 - 8], (hash >> 32) ^ (hash & 0xffff_ffff))
}

/// Makes an RFC 1123 name of any text, such as a host name: what is not allowed becomes `-`.
fn sanitize(text: &str, max_len: usize) -> String {
    let lower = text.to_ascii_lowercase();
    let clean: String = lower
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '-' })
        .take(max_len)
        .collect();
    let parts: Vec<_> = clean.split('.').map(|p| p.trim_matches('-')).filter(|p| !p.is_empty()).collect();
    if parts.is_empty() { "unnamed".to_owned() } else { parts.join(".") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kubernetes_refuses_are_refused() {
        let long = "a".repeat(254);
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a/b", "ä", " ", long.as_str()] {
            assert!(matches!(LockName::new(bad), Err(Error::InvalidName { .. })), "{bad:?} was accepted");
        }
    }

    #[test]
    fn r1_names_of_sessions_are_refused_to_users_and_read_from_the_store() {
        let name = LockName::session(crate::record::Term(7));
        assert_eq!(name.as_str(), "session.0000000000000007");
        for refused in [LockName::new(name.as_str()), LockName::of(name.as_str()), name.as_str().parse()] {
            assert!(refused.unwrap_err().to_string().contains("msync's own"));
        }
        let stored = LockName::stored(name.as_str()).unwrap();
        assert!(stored.is_session() && stored == name);
        assert!(LockName::stored("session.-").is_err() && LockName::stored("").is_err());
        for text in ["Session.X", "session.a b", "session..x"] {
            let escaped = LockName::escaped(text);
            assert!(!escaped.is_session() && fault(escaped.as_str()).is_none(), "{escaped}");
        }
        assert!(LockName::of("sessions").is_ok() && LockName::of("session").is_ok());
    }

    #[test]
    fn names_that_kubernetes_allows_are_allowed() {
        let long = "a".repeat(253);
        for good in ["a", "a-b", "a.b", "0", "invoices-2026.eu", long.as_str()] {
            assert_eq!(LockName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_text_that_is_a_name_stays_as_it_is() {
        for name in ["a", "invoice-17", "a.b"] {
            let escaped = LockName::escaped(name);
            assert_eq!((escaped.as_str(), escaped.original()), (name, None));
        }
    }

    #[test]
    fn other_texts_become_names_that_stay_apart_and_know_their_original() {
        let long = "x".repeat(300);
        let texts = ["Ada@Example.org", "ada@example.org", "", "--", "ä", "ö", "a\0b", long.as_str()];
        let names = texts.map(LockName::escaped);
        for (index, (name, text)) in names.iter().zip(texts).enumerate() {
            assert_eq!(fault(name.as_str()), None, "{name}");
            assert_eq!(name.original(), Some(text));
            assert!(!names[..index].contains(name), "{name} stands for two");
        }
    }

    #[test]
    fn a_long_original_is_cut_between_two_characters() {
        let name = LockName::escaped("ä".repeat(5000));
        let original = name.original().unwrap();
        assert!((MAX_ORIGINAL - 2..=MAX_ORIGINAL).contains(&original.len()) && original.ends_with("ä…"));
    }

    #[test]
    fn a_name_is_the_same_whatever_it_was_made_of() {
        use std::hash::BuildHasher;
        let hasher = std::hash::RandomState::new();
        let escaped = LockName::escaped("A");
        let plain = LockName::new(escaped.as_str()).unwrap();
        assert_eq!((&escaped, hasher.hash_one(&escaped)), (&plain, hasher.hash_one(&plain)));
        assert_eq!(escaped.cmp(&plain), Ordering::Equal);
        assert_eq!(LockName::checked("a"), LockName::new("a").unwrap());
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn any_host_name_becomes_a_valid_owner() {
        for (host, owner) in [("Web_1", "web-1"), ("a..b", "a.b"), ("---", "unnamed"), ("", "unnamed"), ("x-", "x")] {
            assert_eq!(super::owner(host), owner);
            assert_eq!(fault(owner), None);
        }
    }

    #[test]
    fn owners_that_differ_only_beyond_a_label_stay_apart() {
        let stem = "x".repeat(63);
        let long =
            [format!("{stem}-a"), format!("{stem}-b"), format!("{stem}{stem}"), format!("{stem}."), "Ä".repeat(64)];
        let owners = long.each_ref().map(|host| owner(host));
        for (index, name) in owners.iter().enumerate() {
            assert!(name.len() <= 63 && fault(name).is_none(), "{name}");
            assert!(!owners[..index].contains(name), "{name} stands for two");
        }
        assert_eq!(owner(&stem), stem, "what fits stays as it is");
    }

    #[test]
    fn whatever_is_called_a_lock_has_a_name_but_nothing_has_none() {
        assert_eq!(LockName::of("a.b").unwrap().as_str(), "a.b");
        assert_eq!(LockName::of("A b").unwrap(), LockName::escaped("A b"));
        assert!(matches!(LockName::of(""), Err(Error::InvalidName { .. })));
        let again = LockName::of(LockName::escaped("A b").as_str()).unwrap();
        assert_eq!(again, LockName::escaped("A b"), "an escaped name is a name");
    }

    #[test]
    fn what_is_read_as_a_name_must_be_one() {
        let good = LockName::new("a-1").unwrap();
        assert_eq!("a-1".parse::<LockName>().ok(), Some(good.clone()));
        assert_eq!(LockName::try_from("a-1").ok(), Some(good.clone()));
        assert_eq!(LockName::try_from("a-1".to_owned()).ok(), Some(good.clone()));
        assert_eq!(serde_json::to_string(&good).unwrap(), "\"a-1\"");
        assert_eq!(serde_json::from_str::<LockName>("\"a-1\"").unwrap(), good);
        assert!("A".parse::<LockName>().is_err() && LockName::try_from("A").is_err());
        let why = serde_json::from_str::<LockName>("\"A\"").unwrap_err().to_string();
        assert!(why.contains("only lower-case letters"), "{why}");
        assert!(
            serde_json::from_slice::<LockName>(b"\"a\\u002db\"").is_ok(),
            "escapes in JSON are no part of the text"
        );
    }
}
