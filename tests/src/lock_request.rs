//! Tells from a request what it does to a lock, so that a test may break one kind and count another.

use http::Method;
use msync::unstable::record::Change;
use serde_json::Value;

use crate::tamper::Call;

/// What a request does to a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Make the object.
    Create,
    /// Take what is free, or whose holder is dead.
    Claim,
    /// Join the queue.
    Enqueue,
    /// Leave the queue.
    Leave,
    /// Prolong a hold, or accept a grant.
    Renew,
    /// Hand on to a waiter.
    Grant,
    /// Leave it to nobody until the end of `at_least`.
    Reserve,
    /// Say something of the holder.
    Advertise,
    /// Leave the record free.
    Free,
    /// Delete the object.
    Delete,
    /// Read one object.
    Read,
    /// List, at the start of a watch.
    List,
    /// Watch.
    Watch,
    /// Nothing of a lock.
    Other,
}

// === impl Kind ===

impl Kind {
    /// Tells the kind of a request.
    pub fn of(call: &Call) -> Self {
        let (locks, leases) = (call.path.contains("/locks"), call.path.contains("/leases"));
        if !locks && !leases {
            return Self::Other;
        }
        match call.method {
            Method::POST => Self::Create,
            Method::DELETE => Self::Delete,
            Method::PATCH if leases => Self::of_lease(&serde_json::from_slice(&call.body).unwrap_or_default()),
            Method::PATCH => Self::of_patch(&serde_json::from_slice(&call.body).unwrap_or_default()),
            Method::GET if call.path.contains("watch=") => Self::Watch,
            Method::GET if call.path.contains("Selector=") => Self::List,
            Method::GET => Self::Read,
            _ => Self::Other,
        }
    }

    fn of_patch(patch: &Value) -> Self {
        let operations = patch.as_array().map(Vec::as_slice).unwrap_or_default();
        let set = |field: &str| operations.iter().find(|one| one["op"] == "add" && one["path"] == field);
        if set("/spec/waiters/-").is_some() {
            return Self::Enqueue;
        }
        if set("/spec/advertised").is_some() {
            return Self::Advertise;
        }
        match (set("/spec/owner"), set("/spec/renewals")) {
            (Some(owner), _) if owner["value"] == "" => Self::Free,
            (Some(_), Some(renewals)) if renewals["value"] == 0 => Self::Grant,
            (Some(_), None) => Self::Reserve,
            (Some(_), Some(_)) => Self::Claim,
            (None, Some(_)) => Self::Renew,
            (None, None) => Self::Leave,
        }
    }

    /// Tells the kind of a change.
    pub fn of_change(change: &Change) -> Self {
        match change {
            Change::Create { .. } => Self::Create,
            Change::Claim { .. } => Self::Claim,
            Change::Enqueue { .. } => Self::Enqueue,
            Change::Leave { .. } => Self::Leave,
            Change::Renew { .. } => Self::Renew,
            Change::Grant { .. } => Self::Grant,
            Change::Reserve { .. } => Self::Reserve,
            Change::Free { .. } => Self::Free,
            Change::Advertise(_) => Self::Advertise,
        }
    }

    /// The same of a patch of a Lease.
    fn of_lease(patch: &Value) -> Self {
        let operations = patch.as_array().map(Vec::as_slice).unwrap_or_default();
        let set = |field: &str| operations.iter().find(|one| one["op"] == "add" && one["path"] == field);
        let joins =
            |one: &Value| one["path"].as_str().is_some_and(|path| path.contains("msync.dev~1w.")) && one["op"] == "add";
        if operations.iter().any(joins) {
            return Self::Enqueue;
        }
        let renewals = set("/metadata/annotations/msync.dev~1renewals");
        match (set("/spec/holderIdentity"), renewals) {
            (Some(holder), _) if holder["value"] == "" => Self::Free,
            (Some(_), Some(renewals)) if renewals["value"] == "0" => Self::Grant,
            (Some(_), _) => Self::Claim,
            (None, Some(_)) => Self::Renew,
            (None, None) => Self::Leave,
        }
    }

    /// Makes a rule for requests of this kind.
    pub fn matches(self) -> impl Fn(&Call) -> bool + Send + 'static {
        move |call| Self::of(call) == self
    }

    /// Says whether requests of this kind change something.
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Read | Self::List | Self::Watch | Self::Other)
    }
}

/// The kinds of the writes among some requests, in their order.
pub fn writes(calls: &[Call]) -> Vec<Kind> {
    calls.iter().map(Kind::of).filter(|kind| kind.is_write()).collect()
}
