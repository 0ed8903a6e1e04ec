//! Which store a client of the environment has: the one that is named, else the cluster of the pod that it runs in.
//!
//! Outside of a pod nothing is guessed: the kubeconfig of whoever runs a unit test may point at production.

use std::{env, str::FromStr};

/// The variable that names the store.
const STORE: &str = "MSYNC_STORE";

/// What every pod has, and nothing else as a rule: Kubernetes tells its containers where the API server is.
const IN_POD: &str = "KUBERNETES_SERVICE_HOST";

/// A store that the environment can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Choice {
    /// Inside this process.
    Memory,
    /// The `Lock` objects of a cluster.
    Kube,
    /// The Leases of a cluster.
    Leases,
}

/// Why there is no store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoChoice {
    /// None was named, and this is no pod.
    Nobody,
    /// Something else was named.
    Unknown(String),
}

// === impl Choice ===

impl Choice {
    /// What may be named, for people.
    pub(crate) const NAMES: &str = "`memory`, `kube` or `leases`";
}

impl FromStr for Choice {
    type Err = NoChoice;

    fn from_str(text: &str) -> Result<Self, NoChoice> {
        match text {
            "memory" => Ok(Self::Memory),
            "kube" => Ok(Self::Kube),
            "leases" => Ok(Self::Leases),
            other => Err(NoChoice::Unknown(other.to_owned())),
        }
    }
}

/// Asks the environment.
pub(crate) fn of_environment() -> Result<Choice, NoChoice> {
    choose(env::var(STORE).ok().as_deref(), is_in_pod())
}

/// Says whether this process runs in a pod.
pub(crate) fn is_in_pod() -> bool {
    env::var_os(IN_POD).is_some_and(|host| !host.is_empty())
}

/// The rule: what is named, else the pod's own cluster. Setting it to nothing is the same as not setting it.
pub(crate) fn choose(named: Option<&str>, in_pod: bool) -> Result<Choice, NoChoice> {
    match named.unwrap_or_default() {
        "" if in_pod => Ok(Choice::Kube),
        "" => Err(NoChoice::Nobody),
        named => named.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_counts_and_only_a_pod_needs_no_name() {
        for in_pod in [true, false] {
            assert_eq!(choose(Some("memory"), in_pod), Ok(Choice::Memory));
            assert_eq!(choose(Some("kube"), in_pod), Ok(Choice::Kube));
            assert_eq!(choose(Some("leases"), in_pod), Ok(Choice::Leases));
            assert_eq!(choose(Some("redis"), in_pod), Err(NoChoice::Unknown("redis".to_owned())));
        }
        for unset in [None, Some("")] {
            assert_eq!(choose(unset, true), Ok(Choice::Kube));
            assert_eq!(choose(unset, false), Err(NoChoice::Nobody), "a kubeconfig alone is no choice");
        }
    }
}
