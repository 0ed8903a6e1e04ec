//! What a holder says of itself. Nothing of the protocol depends on it.

use std::{fmt, sync::Arc};

use super::Term;

/// What a holder says of itself, as where it can be reached, under its own term.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Advert {
    /// The term of whoever says so.
    pub term: Term,
    /// What it says.
    pub text: Arc<str>,
}

// === impl Advert ===

impl Advert {
    /// The longest text, in bytes.
    pub const MAX_LEN: usize = 256;

    /// Reads an advertisement as it stands in a record: the term, a blank, the text.
    pub fn parse(text: &str) -> Option<Self> {
        let (term, text) = text.split_once(' ')?;
        Some(Self { term: term.parse().ok().filter(|term: &Term| !term.is_none())?, text: text.into() })
    }
}

impl fmt::Display for Advert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.term, self.text)
    }
}
