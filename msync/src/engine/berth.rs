//! What a driver has to do with sessions.

use crate::{Timing, protocol::Ask, record::Term};

/// What a driver has said that its hold needs, and what it wants to know.
#[derive(Default)]
pub(super) struct Berth {
    pub(super) needs: Vec<Term>,
    pub(super) timing: Option<Timing>,
    pub(super) asked: Option<Ask>,
}
