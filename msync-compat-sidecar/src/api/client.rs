//! Who asks, among the clients of one sidecar.

use std::{fmt, sync::Arc};

/// Longest id.
const MAX: usize = 128;

/// The id that a client gives itself. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Client(Arc<str>);

impl Client {
    /// Checks an id.
    ///
    /// # Errors
    /// What is wrong with it, in words for its author.
    pub fn new(id: &str) -> Result<Self, &'static str> {
        if id.is_empty() || id.len() > MAX {
            return Err("it must have 1 to 128 characters");
        }
        if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte)) {
            return Err("only letters, digits, '.', '_', ':' and '-' are allowed");
        }
        Ok(Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
