//! What a user's handles have of an engine: clients, locks, elections and guards. With the last of them the engine ends.
//!
//! The engine's own tasks have none, or nothing would ever end.

use std::{fmt, ops::Deref, sync::Arc};

use super::Engine;

/// A handle's share of an engine.
#[derive(Clone)]
pub(crate) enum Grip {
    /// In a user's hands.
    User(Arc<Last>),
    /// In a background task's, which ends with the users'.
    Task(Arc<Engine>),
}

/// Shared by all of a user's handles: its drop is the end of the last.
pub(crate) struct Last(Arc<Engine>);

// === impl Grip ===

impl Grip {
    /// Makes the first handle of an engine.
    pub(crate) fn first(engine: Arc<Engine>) -> Self {
        Self::User(Arc::new(Last(engine)))
    }

    /// Makes a handle that keeps nothing alive.
    pub(crate) fn for_task(&self) -> Self {
        Self::Task(Arc::clone(self))
    }
}

impl Deref for Grip {
    type Target = Arc<Engine>;

    fn deref(&self) -> &Arc<Engine> {
        match self {
            Self::User(last) => &last.0,
            Self::Task(engine) => engine,
        }
    }
}

impl fmt::Debug for Grip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Arc::fmt(self, f)
    }
}

// === impl Last ===

impl Drop for Last {
    fn drop(&mut self) {
        self.0.let_go();
    }
}
