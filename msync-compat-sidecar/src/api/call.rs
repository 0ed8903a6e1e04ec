//! What a request asks for, and how that ended.

use std::time::Duration;

use super::{Client, Inquiry, Led, Listing, Lock, Name, Version};

/// A request that the sessions answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// It concerns one lock.
    Lock(Call),
    /// It concerns one election.
    Election(Inquiry),
    /// What is held and awaited here?
    List,
    /// Can locks be taken?
    Ready,
    /// The figures.
    Metrics,
}

/// What a request asks of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Look at it; no side effect.
    Get,
    /// Look at it once it is no longer as this version showed it.
    Watch {
        /// The version that the client has seen.
        version: Version,
        /// How long it waits for a change.
        wait: Duration,
    },
    /// Take it, or beat for it.
    Put {
        /// How long the client waits in the queue; zero for not at all.
        wait: Duration,
        /// How long the client may be silent from now on, if it says so.
        ttl: Option<Duration>,
    },
    /// Create it; never takes over.
    Post {
        /// As with PUT.
        ttl: Option<Duration>,
    },
    /// Release it.
    Delete,
}

impl Verb {
    /// The PUT of old clients.
    pub const PUT: Self = Self::Put { wait: Duration::ZERO, ttl: None };
    /// The POST of old clients.
    pub const POST: Self = Self::Post { ttl: None };

    /// How long the client may be silent from now on, if it says so.
    pub fn ttl(self) -> Option<Duration> {
        match self {
            Self::Put { ttl, .. } | Self::Post { ttl } => ttl,
            Self::Get | Self::Watch { .. } | Self::Delete => None,
        }
    }
}

/// A request that concerns a lock with a valid name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What to do.
    pub verb: Verb,
    /// With which lock.
    pub name: Name,
    /// For whom; all clients that do not say who they are, are one.
    pub client: Option<Client>,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The lock as it is (GET), or as it is now held for the client (PUT, POST).
    Good(Lock),
    /// PUT: somebody else has it; or ours is not sure enough to say 200.
    Taken(Lock),
    /// POST: it exists.
    Exists,
    /// GET: nobody ever had it.
    Absent(Option<Version>),
    /// PUT, POST: not taken, and nothing to show, for this reason.
    Refused(String),
    /// The name was never seen and the API server does not answer; or a wish was not fulfilled for that reason.
    Unavailable(String),
    /// A wait ends early, since the sidecar does.
    Ending,
    /// DELETE: done.
    Released,
    /// DELETE: somebody else has it.
    Foreign(String),
    /// DELETE: nobody has it.
    NotHeld,
    /// The version to be watched is not known here.
    Stale,
    /// Who leads an election.
    Leader(Led),
    /// This sidecar takes no part in that election.
    NoElection,
    /// What is held and awaited here.
    Listed(Listing),
    /// Locks can be taken.
    Well,
    /// The figures, as Prometheus reads them.
    Metrics(String),
}
