//! Which of the two attributes is at work, and how messages call it.

/// Which attribute is being expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Macro {
    /// `#[locked]`
    Locked,
    /// `#[leader_only]`
    LeaderOnly,
}

// === impl Macro ===

impl Macro {
    /// Returns the attribute as it is written.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Self::Locked => "#[locked]",
            Self::LeaderOnly => "#[leader_only]",
        }
    }

    /// Returns the bare name of the attribute.
    pub(crate) fn ident(self) -> &'static str {
        match self {
            Self::Locked => "locked",
            Self::LeaderOnly => "leader_only",
        }
    }

    /// Returns what to say where the name is missing.
    pub(crate) fn missing_name(self) -> &'static str {
        match self {
            Self::Locked => "the lock has no name: write `#[locked(\"invoices\")]` or `#[locked(name = EXPR)]`",
            Self::LeaderOnly => {
                "the election has no name: write `#[leader_only(\"scheduler\")]` or `#[leader_only(name = EXPR)]`"
            }
        }
    }
}
