//! Who an engine is: its owner, and the random bits of this start; where it is known, its pod and its role there.

use std::{fmt, sync::Arc};

/// Identifies one engine: its owner's name, a dot, 64 random bits of this process start. "" is nobody.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineId(Arc<str>);

/// What an engine is in its pod: only an incarnation of the same role may be adopted, or a sidecar would take the live
/// locks of the library beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// A client within a service.
    #[default]
    Library,
    /// The sidecar of a service.
    Sidecar,
}

/// The last part of the id that a [reservation](super::Record::is_reserved) stands under; those of engines are digits.
const RESERVED: &str = "reserved";

/// The last part of the id that a [foreign](EngineId::foreign) holder of a Lease is shown under.
const FOREIGN: &str = "foreign";

// === impl Role ===

impl Role {
    /// Returns what stands for it in an id: no digit, which an id without a role may begin with.
    fn letter(self) -> &'static str {
        match self {
            Self::Library => "l",
            Self::Sidecar => "s",
        }
    }
}

// === impl EngineId ===

impl EngineId {
    /// Composes an id of an owner (an RFC 1123 name) and random bits.
    pub fn new(owner: &str, bits: u64) -> Self {
        Self(format!("{owner}.{bits:016x}").into())
    }

    /// Composes an id that also tells of which pod its engine is an incarnation, and in which role.
    pub fn of_pod(owner: &str, role: Role, pod: u32, bits: u64) -> Self {
        let role = role.letter();
        Self(format!("{owner}.{role}{pod:08x}{bits:016x}").into())
    }

    /// Returns the id under which this engine leaves a reservation behind: its owner's, and nobody's.
    #[must_use]
    pub fn reserved(&self) -> Self {
        Self(format!("{}.{RESERVED}", self.owner()).into())
    }

    /// Says whether it is that of a reservation.
    pub(super) fn is_reserved(&self) -> bool {
        self.0.rsplit_once('.').is_some_and(|(_, last)| last == RESERVED)
    }

    /// Composes the id of somebody who holds a Lease and is no engine: its owner is all that stands there, whatever it looks
    /// like, and it is never that of an engine or of a reservation.
    pub fn foreign(holder: &str) -> Self {
        Self(format!("{holder}.{FOREIGN}").into())
    }

    /// Says whether it is that of a foreign holder.
    pub fn is_foreign(&self) -> bool {
        self.0.rsplit_once('.').is_some_and(|(_, last)| last == FOREIGN)
    }

    /// Says whether both are incarnations of one pod: the same owner, role and pod, another process start.
    pub fn is_kin_of(&self, other: &Self) -> bool {
        self != other && self.pod().is_some() && self.pod() == other.pod()
    }

    /// Returns owner, role and pod, all but the random bits; `None` for an id without a pod.
    fn pod(&self) -> Option<&str> {
        let (owner, last) = self.0.rsplit_once('.')?;
        let (role, hex) = last.split_at_checked(1)?;
        let known = [Role::Library, Role::Sidecar].iter().any(|known| known.letter() == role);
        let legible = known && hex.len() == 24 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        legible.then(|| &self.0[..owner.len() + 10])
    }

    /// Takes an id as it stands in a record, legible or not.
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the owner, the part before the random bits.
    pub fn owner(&self) -> &str {
        self.0.rsplit_once('.').map_or(&*self.0, |(owner, _)| owner)
    }

    /// Returns the owner, shared; `None` for nobody.
    pub(super) fn named_owner(&self) -> Option<Arc<str>> {
        Some(self.owner()).filter(|owner| !owner.is_empty()).map(Arc::from)
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineId({})", self.0)
    }
}
