//! The copy of an engine in the child of a fork: a fork copies no threads, so nothing is kept, sent or waited for there.
//!
//! Not one call is made either. The child shares the poll descriptor and the connections of its parent, and whatever it
//! registered or closed there would be the parent's loss.

use super::Engine;
use crate::runtime;

// === impl Engine: in the child of a fork ===

impl Engine {
    /// Says whether this is such a copy.
    pub(crate) fn is_forked(&self) -> bool {
        runtime::is_forked_from(self.home)
    }
}
