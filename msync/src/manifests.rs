//! The manifests that msync needs in a cluster, as YAML: what the messages of its errors name, for whoever has only the crate.
//!
//! ```
//! // Prints what an administrator applies once: `my-program manifests | kubectl apply -f -`
//! println!("{}\n---\n{}", msync::manifests::CRD, msync::manifests::RBAC);
//! ```

/// The `Lock` resource, once per cluster. [`Client::install_crd`](crate::Client::install_crd) does the same.
pub const CRD: &str = include_str!("../manifests/crd.yaml");

/// What a service needs to use locks, in one namespace, and no more: a Role, and its binding to the service account
/// `default`.
pub const RBAC: &str = include_str!("../manifests/rbac.yaml");

/// The same for locks that stand in Leases (`ClientBuilder::leases`), which need no resource to be installed.
pub const RBAC_LEASES: &str = include_str!("../manifests/rbac-leases.yaml");

/// What [`Client::install_crd`](crate::Client::install_crd) needs, which services should not have.
pub const RBAC_INSTALL: &str = include_str!("../manifests/rbac-install.yaml");

/// What [`ClientBuilder::events`](crate::ClientBuilder::events) needs besides, in one namespace: to write Events.
pub const RBAC_EVENTS: &str = include_str!("../manifests/rbac-events.yaml");
