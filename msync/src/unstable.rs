//! What msync's own tests, tools and macros use of its insides. Not part of the API: it changes without notice, in any version.

#[cfg(feature = "kube")]
pub use crate::client::Configured;
#[cfg(feature = "kube")]
pub use crate::store::kube::crd;
use crate::{LockName, record::Term};
pub use crate::{client::Chosen, macros::private, name::SESSIONS};

/// Returns the name of a session, which no user has.
pub fn session(term: Term) -> LockName {
    LockName::session(term)
}

/// The rules: pure.
pub mod protocol {
    pub use crate::protocol::*;
}

/// What is stored: pure.
pub mod record {
    pub use crate::record::*;
}

/// Where it is stored.
pub mod store {
    pub use crate::store::*;
}

/// How the API server is reached.
#[cfg(feature = "kube")]
pub mod transport {
    pub use crate::transport::*;
}
