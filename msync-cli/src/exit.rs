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
            Error::Forbidden(message) => (FORBIDDEN, remedy(message)),
            Error::CrdMissing(_) => (NOT_INSTALLED, "install it, once per cluster, with `msync install`"),
            Error::InvalidTiming { .. } => (USAGE, "choose another --ttl"),
            Error::InvalidName { .. } => (USAGE, "choose another name"),
            Error::Store { .. } | Error::Unavailable { .. } => (UNAVAILABLE, "find out with `msync doctor`"),
            _ => (FAILED, "run it again"),
        };
        Self::new(code, format_args!("{}; {next}", first_line(error)))
    }
}

/// Says what to do about what is forbidden. It is told by the library's own words, which come before all that others chose:
/// names of namespaces, what the server says.
fn remedy(message: &str) -> &'static str {
    let own = message.split(" in namespace ").next().unwrap_or(message);
    if own.starts_with("the API server does not accept the credentials") {
        CREDENTIALS
    } else if own.starts_with("not allowed to") && own.ends_with(" leases.coordination.k8s.io") {
        "let an administrator run `msync install --store leases --rbac NAMESPACE`, or see `msync doctor`"
    } else {
        "let an administrator run `msync install --rbac NAMESPACE`, or see `msync doctor`"
    }
}

/// The library tells programmers how to install and what a rule looks like; here the next step is a command.
fn first_line(error: &Error) -> String {
    let text = error.to_string();
    match error {
        // Outdated, with the fields that it lacks; the next step is the same.
        Error::CrdMissing(message) if message.starts_with("the resource locks.metaparticle.io/v1 is outdated") => {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: Error) -> String {
        Failure::from(error).message
    }

    #[test]
    fn what_to_do_does_not_depend_on_names_that_others_chose() {
        for name in
            ["credentials", "outdated", "leases.coordination.k8s.io", "the API server does not accept the credentials"]
        {
            let forbidden = format!(
                "not allowed to get locks.metaparticle.io in namespace {name}; missing is a Role (says {name})"
            );
            let text = told(Error::Forbidden(forbidden));
            assert!(text.contains("msync install --rbac NAMESPACE") && !text.contains(CREDENTIALS), "{text}");
            let missing = format!("the resource locks.metaparticle.io/v1 is not installed: apply it (says {name})");
            let text = told(Error::CrdMissing(missing));
            assert!(text.starts_with("the resource locks.metaparticle.io is not installed in this cluster"), "{text}");
        }
    }

    #[test]
    fn who_is_not_known_logs_in_and_who_keeps_locks_in_leases_installs_for_those() {
        let unknown =
            "the API server does not accept the credentials to get locks in namespace shop: is the token valid?";
        assert!(told(Error::Forbidden(unknown.to_owned())).ends_with(CREDENTIALS));
        let leases =
            "not allowed to create leases.coordination.k8s.io in namespace shop; missing is a Role with the rule";
        assert!(told(Error::Forbidden(leases.to_owned())).contains("--store leases"));
    }
}
