//! How a change is sent by one who may have seen the Lease before, or not.

use super::{Leased, Op};
use crate::record::{Change, Pair};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approach {
    /// These operations are sent.
    Send(Vec<Op>),
    /// It is read first: what is known does not fit the change, and its conditions cannot be told.
    Look,
    /// As it is known to be, the change does not apply.
    Refused,
}

// === impl Leased: approaching ===

impl Leased {
    /// Says how a change is sent, by what is `known` of the Lease.
    pub fn approach(known: Option<&Self>, change: &Change) -> Approach {
        match known {
            Some(known) if known.fits(change) => known.send(change),
            // Who begins to campaign guesses that it is free, as msync leaves it; who joins or leaves needs to know little.
            None if is_guessed(change) => Self::left_free().send(change),
            _ => Approach::Look,
        }
    }

    /// Says how a change is sent by one who has just looked.
    pub fn send(&self, change: &Change) -> Approach {
        self.ops(change).map_or(Approach::Refused, Approach::Send)
    }
}

fn is_guessed(change: &Change) -> bool {
    matches!(change, Change::Claim { seen: Pair::FREE, .. } | Change::Enqueue { .. } | Change::Leave { .. })
}
