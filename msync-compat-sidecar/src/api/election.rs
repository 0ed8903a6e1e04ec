//! Who leads an election, as pods of other languages already ask for it: `{"name": …, "last_update": …}`.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::{Answer, Grant, Name, Version};
use crate::api::Kind;

/// A question about an election.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inquiry {
    /// Which one.
    pub name: Name,
    /// It shows that the client is alive: a sidecar leads only while somebody asks. What the front asks again on behalf of a
    /// stream that is open shows nothing.
    pub asks: bool,
    /// What was seen, and how long to wait for something else.
    pub seen: Option<(Version, Duration)>,
}

/// Who leads, as far as this sidecar sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Led {
    /// The leader's owner, the host name of its pod; empty while nobody is known to lead.
    pub leader: String,
    /// Since when this sidecar sees that.
    pub since: Timestamp,
    /// What it has, if it is this sidecar.
    pub grant: Option<Grant>,
    /// What the next change is counted from.
    pub version: Version,
}

impl Led {
    pub(super) fn answer(&self) -> Answer {
        let since = self.since.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
        let body = json!({ "name": self.leader, "last_update": since });
        Answer::of(200, Kind::Json, body.to_string()).versioned(Some(self.version)).granted(self.grant)
    }
}
