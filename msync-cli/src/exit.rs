//! How the process ends: codes that scripts can tell apart, and words that say what to do next.

use std::{fmt::Display, process::ExitCode};

use msync::Error;

/// Somebody else has the lock (`EX_TEMPFAIL`).
pub(crate) const BUSY: u8 = 75;
/// The lock was lost while the command ran.
pub(crate) const LOST: u8 = 76;
/// A right is missing (`EX_NOPERM`).
pub(crate) const FORBIDDEN: u8 = 77;
/// The `Lock` resource is not installed (`EX_CONFIG`).
pub(crate) const NOT_INSTALLED: u8 = 78;
/// The cluster gives no usable answer (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;
/// The command line asks for something impossible; what clap ends with as well.
pub(crate) const USAGE: u8 = 2;
/// Anything else.
pub(crate) const FAILED: u8 = 1;

/// What to do about a 401: no rule would help.
pub(crate) const CREDENTIALS: &str = "log in to the cluster again, or see `msync doctor`";

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

// === impl Failure ===

impl Failure {
    pub(crate) fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// Makes a failure of a command line that cannot be carried out.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(USAGE, message)
    }

    /// Ends with another code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    #[cfg(test)]
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// Says whether trying again cannot help.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self.code, FORBIDDEN | NOT_INSTALLED)
    }

    /// Says whether a right is missing.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.code == FORBIDDEN
    }

    /// Says what went wrong, and returns the code to end with.
    pub(crate) fn tell(self) -> ExitCode {
        eprintln!("msync: {}", self.message);
        ExitCode::from(self.code)
    }

    fn of(error: &Error) -> Self {
        let (code, next) = match error {
            Error::Busy { .. } => (BUSY, "wait with --wait TIME, or see who has it with `msync get`"),
            Error::Timeout { .. } => (BUSY, "see who has it with `msync get`"),
            Error::Lost { .. } => (LOST, "what ran under it was ended; run it again"),
            Error::Forbidden(message) if message.contains("leases.coordination.k8s.io") => {
                let next =
                    "let an administrator run `msync install --store leases --rbac NAMESPACE`, or see `msync doctor`";
                (FORBIDDEN, next)
            }
            Error::Forbidden(message) if message.contains("credentials") => (FORBIDDEN, CREDENTIALS),
            Error::Forbidden(_) => {
                (FORBIDDEN, "let an administrator run `msync install --rbac NAMESPACE`, or see `msync doctor`")
            }
            Error::CrdMissing(_) => (NOT_INSTALLED, "install it, once per cluster, with `msync install`"),
            Error::InvalidTiming { .. } => (USAGE, "choose another --ttl"),
            Error::InvalidName { .. } => (USAGE, "choose another name"),
            Error::Store { .. } | Error::Unavailable { .. } => (UNAVAILABLE, "find out with `msync doctor`"),
            _ => (FAILED, "run it again"),
        };
        Self::new(code, format_args!("{}; {next}", first_line(error)))
    }
}

/// The library tells programmers how to install and what a rule looks like; here the next step is a command.
fn first_line(error: &Error) -> String {
    let text = error.to_string();
    match error {
        // Outdated, with the fields that it lacks; the next step is the same.
        Error::CrdMissing(message) if message.contains("outdated") => {
            message.split("; apply").next().unwrap_or(message).to_owned()
        }
        Error::CrdMissing(_) => "the resource locks.metaparticle.io is not installed in this cluster".to_owned(),
        Error::Forbidden(message) => message.split("; missing is").next().unwrap_or(message).to_owned(),
        _ => text,
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(FAILED, error)
    }
}
