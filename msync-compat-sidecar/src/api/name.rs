//! The name of a lock, as the API server would accept it.

use std::fmt;
use std::sync::Arc;

/// Longest name of an object.
const MAX: usize = 253;

/// A valid lock name: an RFC 1123 subdomain. Cheap to clone.
///
/// The original passed any path on, and so read other URLs of the API server with its own rights (contract, 6).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    /// What is wrong with it, in words for its author.
    pub fn new(name: &str) -> Result<Self, &'static str> {
        if name.is_empty() {
            return Err("it is empty");
        }
        if name.starts_with(msync::unstable::SESSIONS) {
            return Err("names that begin with \"session.\" are msync's own");
        }
        if name.len() > MAX {
            return Err("it is longer than 253 characters");
        }
        if !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')) {
            return Err("only lower case letters, digits, '-' and '.' are allowed");
        }
        if !name.split('.').all(is_label) {
            return Err("it must begin and end with a letter or digit, also around each '.'");
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
