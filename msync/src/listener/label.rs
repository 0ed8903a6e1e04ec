//! What a user says stands for a lock in figures.

use std::sync::Arc;

/// What the user says stands for a lock.
#[derive(Clone, Debug)]
pub(crate) enum Label {
    /// The template of an annotated function.
    Fixed(&'static str),
    /// What was given at run time.
    Made(Arc<str>),
}

// === impl Label ===

impl Label {
    /// Returns the text, shared.
    pub(crate) fn text(&self) -> Arc<str> {
        match self {
            Self::Fixed(text) => Arc::from(*text),
            Self::Made(text) => Arc::clone(text),
        }
    }
}
