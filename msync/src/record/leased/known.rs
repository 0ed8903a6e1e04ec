//! How a change is sent by one who may have seen the Lease before, or not.

use super::{Leased, Op};
use crate::{
    clock::Wall,
    record::{Change, Pair},
};

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
    /// Says how a change is sent, by what is `known` of the Lease. Who joins writes its date, `wall`.
    pub fn approach(known: Option<&Self>, change: &Change, wall: Wall) -> Approach {
        match known {
            Some(known) if known.fits(change) => known.send(change, wall),
            // Who begins to campaign guesses that it is free, as msync leaves it; who joins or leaves needs to know little.
            None if is_guessed(change) => Self::left_free().send(change, wall),
            _ => Approach::Look,
        }
    }

    /// Says how a change is sent by one who has just looked.
    pub fn send(&self, change: &Change, wall: Wall) -> Approach {
        self.ops(change, wall).map_or(Approach::Refused, Approach::Send)
    }
}

fn is_guessed(change: &Change) -> bool {
    matches!(change, Change::Claim { seen: Pair::FREE, .. } | Change::Enqueue { .. } | Change::Leave { .. })
}
