//! Reads locks as they stand in the cluster, and since when each has not been written.
//!
//! The API server notes when msync last wrote an object, by its own clock, and tells what that clock says now: so one look
//! shows how long a holder has been silent, whatever the clocks of holders and of this machine say. Those who wait write
//! as well: with a queue, a holder may have been silent for longer than this shows. Nothing is ever taken over, freed or
//! removed because of it.

use std::time::Duration;

use jiff::Timestamp;
use kube::{Client, ResourceExt, api::ListParams, client::Body};
use msync::{
    LockName,
    clock::{BootClock, Clock},
    unstable::{crd::Lock, record::Record, store::Objects},
};

use crate::{
    connect::Connection,
    exit::{CREDENTIALS, FAILED, FORBIDDEN, Failure, NOT_INSTALLED, UNAVAILABLE},
    row::Row,
};

/// How many locks one request brings.
const PAGE: u32 = 500;
/// Under what name the library writes.
const WRITER: &str = "msync";

/// The locks of a namespace, or of all.
pub(crate) fn locks(connection: &Connection, all: bool) -> Objects {
    let namespace = (!all).then_some(&*connection.namespace);
    Objects::of(connection.client.clone(), namespace, connection.leases)
}

/// Reads all locks, and the version to watch from.
pub(crate) async fn read_all(locks: &Objects) -> Result<(Vec<Lock>, String), Failure> {
    let (mut found, mut how) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = locks.list(&how).await.map_err(|error| refused(&error, "list"))?;
        found.extend(page.items);
        how.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if how.continue_token.is_none() {
            return Ok((found, page.metadata.resource_version.unwrap_or_default()));
        }
    }
}

/// Reads one lock, which must be there.
pub(crate) async fn read_one(connection: &Connection, name: &LockName) -> Result<Lock, Failure> {
    let found = locks(connection, false).find(name.as_str()).await.map_err(|error| refused(&error, "get"))?;
    found.ok_or_else(|| {
        let namespace = &connection.namespace;
        let next = "nobody has it (a lock that is given back leaves no record); `msync ls -A` shows other namespaces";
        Failure::new(FAILED, format_args!("there is no lock {name} in namespace {namespace}: {next}"))
    })
}

/// Reads what the API server's clock says; this machine's where it does not tell.
pub(crate) async fn server_time(client: &Client) -> Timestamp {
    server_date(client).await.unwrap_or_else(|_| wall())
}

/// Reads the date of an answer of the API server; whole seconds.
pub(crate) async fn server_date(client: &Client) -> Result<Timestamp, Failure> {
    let request = http::Request::get("/version").body(Body::empty()).expect("the request is well-formed");
    let answer = client.send(request).await.map_err(|error| refused(&error, "get"))?;
    let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    date.map(|date| date.timestamp()).ok_or_else(|| Failure::new(UNAVAILABLE, "the API server tells no date"))
}

/// What this machine's clock says.
pub(crate) fn wall() -> Timestamp {
    Timestamp::from_millisecond(BootClock.wall().as_millis()).unwrap_or_default()
}

/// Makes the row of a lock; `None` for one that nobody can read as a record.
pub(crate) fn row(lock: &Lock, now: Timestamp) -> Option<(Row, Record)> {
    let (_, snapshot) = lock.snapshot().ok()?;
    let row = Row::new(lock, &snapshot.record, silence(lock, now));
    Some((row, snapshot.record))
}

/// For how long the lock was not written. A foreign writer, such as `kubectl edit`, is no sign of life.
pub(crate) fn silence(lock: &Lock, now: Timestamp) -> Duration {
    let ours = lock.managed_fields().iter().filter(|entry| entry.manager.as_deref() == Some(WRITER));
    let last = ours.filter_map(|entry| Some(entry.time.as_ref()?.0)).max();
    let written = last.or(lock.metadata.creation_timestamp.as_ref().map(|created| created.0));
    let silent = written.map(|written| now.duration_since(written));
    // Both are cut to whole seconds: the true silence may be a second less.
    let silent = silent.and_then(|silent| Duration::try_from(silent).ok()).unwrap_or_default();
    silent.saturating_sub(Duration::from_secs(1))
}

/// Says what an answer of the API server means, and what to do.
pub(crate) fn refused(error: &kube::Error, verb: &str) -> Failure {
    let kube::Error::Api(status) = error else {
        return Failure::new(
            UNAVAILABLE,
            format_args!("the cluster does not answer: {}; see `msync doctor`", told(error)),
        );
    };
    let of = status.details.as_ref().map(|details| &*details.kind);
    match (status.code, of) {
        // May pass, as when a token is renewed: `watch` goes on.
        (401, _) => Failure::new(FAILED, format_args!("{}; {CREDENTIALS}", told(error))),
        (403, _) => {
            let next = next_without_rights(&status.message);
            Failure::new(FORBIDDEN, format_args!("not allowed to {verb}: {}; {next}", status.message))
        }
        (404, None) => {
            let next = "install it, once per cluster, with `msync install`";
            Failure::new(NOT_INSTALLED, format_args!("the Lock resource is not installed in this cluster; {next}"))
        }
        (404, Some("namespaces")) => {
            Failure::new(FAILED, format_args!("{}: create it, or choose another", status.message))
        }
        (404, _) => Failure::new(FAILED, format_args!("{}; is the namespace right?", status.message)),
        _ => Failure::new(FAILED, format_args!("{}; see `msync doctor`", told(error))),
    }
}

/// The rights that `msync install` gives are of one namespace.
fn next_without_rights(message: &str) -> &'static str {
    if message.contains("at the cluster scope") {
        "leave `-A` out and say `-n NAMESPACE`, or ask an administrator for a ClusterRole"
    } else {
        "let an administrator run `msync install --rbac NAMESPACE`, or see `msync doctor`"
    }
}

/// What kube met, without kube's own words for it.
pub(crate) fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 401 => {
            format!("the API server does not accept the credentials (it says: {})", status.message)
        }
        kube::Error::Api(status) => format!("the API server answers {}: {}", status.code, status.message),
        kube::Error::Service(why) => chain(&**why),
        other => chain(other),
    }
}

/// An error with its sources, each once: kube's own words hide what failed.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let told = source.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(code: u16, message: &str, of: Option<&str>) -> kube::Error {
        let details = of.map(|kind| json!({"kind": kind}));
        let status = json!({"status": "Failure", "code": code, "message": message, "details": details});
        kube::Error::Api(serde_json::from_value(status).expect("a status"))
    }

    /// Whoever reads it wants to know what to mend, in words and not in fields.
    #[test]
    fn each_answer_says_what_to_do() {
        let scope = "cannot list resource \"locks\" at the cluster scope";
        let all = [
            (answer(401, "Unauthorized", None), FAILED, "(it says: Unauthorized); log in to the cluster again"),
            (answer(403, "cannot list locks in the namespace", None), FORBIDDEN, "`msync install --rbac NAMESPACE`"),
            (answer(403, scope, None), FORBIDDEN, "leave `-A` out"),
            (answer(404, "not found", None), NOT_INSTALLED, "with `msync install`"),
            (answer(404, "namespaces \"x\" not found", Some("namespaces")), FAILED, "\"x\" not found: create it"),
            (answer(500, "etcd is gone", None), FAILED, "the API server answers 500: etcd is gone; see `msync doctor`"),
            (kube::Error::Service("no route".into()), UNAVAILABLE, "does not answer: no route; see `msync doctor`"),
        ];
        for (error, code, says) in all {
            let failure = refused(&error, "list");
            assert!(failure.to_string().contains(says) && failure.code() == code, "{failure}");
        }
    }
}
