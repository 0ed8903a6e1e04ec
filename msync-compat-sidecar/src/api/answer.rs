//! An answer without what belongs to the connection.

use serde_json::json;

use super::{Grant, Lock, Version};

/// What the body of an answer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// A JSON object.
    #[default]
    Json,
    /// The status page.
    Html,
    /// Figures for Prometheus.
    Metrics,
}

impl Kind {
    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Html => "text/html; charset=utf-8",
            Self::Metrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The kind of a media type that [`Kind::media_type`] names; JSON for any other.
    pub fn of_media_type(text: &str) -> Self {
        [Self::Html, Self::Metrics].into_iter().find(|kind| kind.media_type() == text).unwrap_or_default()
    }
}

/// The header fields that an answer may bear besides those of every answer.
pub const FIELDS: [&str; 5] =
    ["Allow", "Retry-After", "Msync-Version", "Msync-Fencing-Token", "Msync-Remaining-Seconds"];

/// An HTTP answer without what belongs to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header fields, each of [`FIELDS`].
    pub fields: Vec<(&'static str, String)>,
    /// What the body is.
    pub kind: Kind,
    /// The body, perhaps empty.
    pub body: String,
}

impl Answer {
    /// An answer with this body.
    pub fn of(status: u16, kind: Kind, body: String) -> Self {
        Self { status, fields: Vec::new(), kind, body }
    }

    /// `{"message": …}`.
    pub fn message(status: u16, message: &str) -> Self {
        Self::of(status, Kind::Json, json!({ "message": message }).to_string())
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::of(status, Kind::Json, String::new())
    }

    pub(super) fn well() -> Self {
        Self::of(200, Kind::Json, json!({ "status": "ok" }).to_string())
    }

    pub(super) fn not_allowed(allow: &str) -> Self {
        Self::message(405, "Method not allowed.").with("Allow", allow.to_owned())
    }

    pub(super) fn lock(status: u16, lock: &Lock) -> Self {
        Self::of(status, Kind::Json, lock.to_json()).versioned(lock.watch).granted(lock.grant)
    }

    pub(super) fn granted(self, grant: Option<Grant>) -> Self {
        let Some(grant) = grant else { return self };
        let millis = grant.remaining.as_millis();
        self.with("Msync-Fencing-Token", grant.token.to_string())
            .with("Msync-Remaining-Seconds", format!("{}.{:03}", millis / 1000, millis % 1000))
    }

    pub(super) fn versioned(self, version: Option<Version>) -> Self {
        match version {
            Some(version) => self.with("Msync-Version", version.to_string()),
            None => self,
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.fields.push((name, value));
        self
    }

    /// A header field's value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }
}
