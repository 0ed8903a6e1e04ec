//! What the examples share: where their locks live.

use std::str::FromStr;

/// Where an example keeps its locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In this process: needs nothing.
    Memory,
    /// In the cluster of the environment (kubeconfig or service account).
    Kube,
    /// On a real API server that the example starts itself; needs Go.
    Testbed,
}

impl FromStr for StoreKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "kube" => Ok(Self::Kube),
            "testbed" => Ok(Self::Testbed),
            other => Err(format!("no such store: {other} (memory, kube or testbed)")),
        }
    }
}
