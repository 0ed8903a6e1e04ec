//! The Lock as old clients know it (contract, section 3).

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Name, Version};

/// What an answer shows of a lock. It is a picture: nothing decides by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Its name.
    pub name: Name,
    /// The namespace; the original always says `default`.
    pub namespace: String,
    /// The version of the record at the write that the picture shows.
    pub version: String,
    /// When the object was created, where the store knows.
    pub created: Option<Timestamp>,
    /// The holder's name; empty when nobody has held it since it was freed and this sidecar knows no earlier one.
    pub owner: String,
    /// The end of the hold unless it is prolonged; `None` when the record tells no readable date.
    pub expiry: Option<Timestamp>,
    /// What its holder is told, if it is the one that asks.
    pub grant: Option<Grant>,
    /// What the next change is counted from, where changes are counted.
    pub watch: Option<Version>,
}

/// What a lock's holder has, at the time of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The fencing token of this acquisition.
    pub token: u64,
    /// For how long the lock is safe even if no further request succeeds.
    pub remaining: Duration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    metadata: Metadata<'a>,
    kind: &'static str,
    api_version: &'static str,
    spec: Spec<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    resource_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<String>,
}

#[derive(Serialize)]
struct Spec<'a> {
    owner: &'a str,
    expiry: Option<String>,
}

impl Lock {
    pub(super) fn to_json(&self) -> String {
        let wire = Wire {
            metadata: Metadata {
                name: self.name.as_str(),
                namespace: &self.namespace,
                resource_version: &self.version,
                creation_timestamp: self.created.map(|date| date.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            },
            kind: "Lock",
            api_version: "metaparticle.io/v1",
            spec: Spec { owner: &self.owner, expiry: self.expiry.map(expiry) },
        };
        serde_json::to_string(&wire).expect("strings always serialize")
    }
}

/// ISO 8601 with exactly three digits of milliseconds, in UTC.
fn expiry(date: Timestamp) -> String {
    date.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
