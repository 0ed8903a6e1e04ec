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
    exit::{FAILED, FORBIDDEN, Failure, NOT_INSTALLED, UNAVAILABLE},
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
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            let next = "let an administrator run `msync install --rbac NAMESPACE`, or see `msync doctor`";
            Failure::new(FORBIDDEN, format_args!("not allowed to {verb}: {}; {next}", status.message))
        }
        kube::Error::Api(status) if status.code == 404 && status.details.is_none() => {
            let next = "install it, once per cluster, with `msync install`";
            Failure::new(NOT_INSTALLED, format_args!("the Lock resource is not installed in this cluster; {next}"))
        }
        kube::Error::Api(status) if status.code == 404 => {
            Failure::new(FAILED, format_args!("{}; is the namespace right?", status.message))
        }
        kube::Error::Api(status) => Failure::new(
            FAILED,
            format_args!("the API server answers {}: {}; see `msync doctor`", status.code, status.message),
        ),
        error => {
            Failure::new(UNAVAILABLE, format_args!("the cluster does not answer: {}; see `msync doctor`", chain(error)))
        }
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
