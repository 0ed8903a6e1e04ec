//! Names of locks: valid by construction, so that no later layer has to refuse one.

use std::{fmt, sync::Arc};

use crate::Error;

/// The longest name that Kubernetes allows for an object.
const MAX_LEN: usize = 253;

/// The name of a lock or an election: an RFC 1123 subdomain, as Kubernetes wants its object names.
///
/// Lower-case letters, digits, `-` and `.`; every part between dots starts and ends with a letter or a digit;
/// at most 253 characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockName(Arc<str>);

// === impl LockName ===

impl LockName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`Error::InvalidName`], with the reason, when Kubernetes would refuse the name.
    pub fn new(name: impl AsRef<str>) -> Result<Self, Error> {
        let name = name.as_ref();
        match fault(name) {
            None => Ok(Self(name.into())),
            Some(reason) => Err(Error::InvalidName { name: name.to_owned(), reason }),
        }
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<str> for LockName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Says what is wrong with a name, if anything (RFC 1123 subdomain, as `apimachinery` validates object names).
pub(crate) fn fault(name: &str) -> Option<&'static str> {
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

/// Makes an RFC 1123 name of any text, such as a host name: what is not allowed becomes `-`.
pub(crate) fn sanitize(text: &str, max_len: usize) -> String {
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
    fn names_that_kubernetes_allows_are_allowed() {
        let long = "a".repeat(253);
        for good in ["a", "a-b", "a.b", "0", "invoices-2026.eu", long.as_str()] {
            assert_eq!(LockName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn any_host_name_becomes_a_valid_owner() {
        for (host, owner) in [("Web_1", "web-1"), ("a..b", "a.b"), ("---", "unnamed"), ("", "unnamed"), ("x-", "x")] {
            assert_eq!(sanitize(host, 63), owner);
            assert_eq!(fault(owner), None);
        }
    }
}
