//! The protocol, pure: bytes of a request -> [`Request`], [`Outcome`] -> [`Answer`].
//!
//! It knows routes, names, parameters, bodies and dates, and nothing of sockets, time or locks. What old clients send is
//! read and answered as the wire contract says (sections are its own), whatever new clients are offered beside:
//! `openapi.yaml` describes the whole. Every body is a JSON object, but for the page and the metrics.

mod answer;
mod body;
mod call;
mod client;
mod election;
mod listing;
mod lock;
mod name;
mod query;
mod version;

pub use answer::{Answer, FIELDS, Kind};
pub use call::{Call, Outcome, Request, Verb};
pub use client::Client;
pub use election::{Inquiry, Led};
pub use listing::{Listed, ListedElection, Listing, Waiting, seconds};
pub use lock::{Grant, Lock};
pub use name::Name;
pub use query::long_poll;
pub use version::Version;

use std::time::Duration;

use query::Query;

/// The methods a lock understands.
const ON_LOCK: &str = "GET, HEAD, PUT, POST, DELETE";
/// The methods the collection understands.
const ON_COLLECTION: &str = "GET, HEAD, POST, PUT";
/// The methods of what cannot be changed.
const ON_FIXED: &str = "GET, HEAD";
/// The status page.
const PAGE: &str = include_str!("page.html");

/// A request as the front has found it well-formed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Raw<'a> {
    /// The method's token.
    pub method: &'a str,
    /// Path and query, or `*`.
    pub target: &'a str,
    /// The header `Msync-Client-Id`.
    pub client: Option<&'a str>,
    /// The body; it is not looked at beside a name in the path.
    pub body: &'a [u8],
}

/// What the front must know of a request before it reads its body and passes it on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Glance {
    /// How long it may wait for its answer by its own wish; `None` if it wants it at once.
    pub wait: Option<Duration>,
    /// Its body is looked at.
    pub body: bool,
    /// Its answer may be large.
    pub bulky: bool,
    /// It asks how the sidecar is.
    pub probe: Option<Probed>,
    /// It asks for a stream of events.
    pub stream: bool,
}

/// What a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// Whether requests are served.
    Healthz,
    /// Whether locks can be taken.
    Readyz,
}

/// Looks at a request's head. Pure and cheap.
pub fn glance(sent: &str, target: &str) -> Glance {
    let path = target.split('?').next().unwrap_or_default();
    let wait = query::long_poll(target);
    let Ok(path) = decoded(path) else { return Glance { wait, ..Glance::default() } };
    let glance = Glance { wait, ..Glance::default() };
    match route(&path) {
        Route::Collection => Glance { body: true, bulky: method(sent) == Some(Method::Get), ..glance },
        Route::Fixed(Fixed::Page | Fixed::Metrics) => Glance { bulky: true, ..glance },
        Route::Fixed(Fixed::Healthz) => Glance { probe: Some(Probed::Healthz), ..glance },
        Route::Fixed(Fixed::Readyz) => Glance { probe: Some(Probed::Readyz), ..glance },
        Route::Stream(_) => Glance { stream: true, ..glance },
        Route::Lock(_) | Route::Election(_) | Route::Unknown | Route::Bad => glance,
    }
}

/// What the front asks on behalf of a stream that is open: who leads, once that is no longer what the client has seen.
pub fn follow_up(target: &str, version: &str, wait: Duration) -> String {
    let path = target.split('?').next().unwrap_or_default();
    format!("{path}?watch={version}&wait={}", wait.as_secs())
}

/// Reads a request.
///
/// # Errors
/// The answer of a request that concerns no lock: a refusal, the page, or that the sidecar lives.
pub fn read(raw: Raw<'_>) -> Result<Request, Answer> {
    let (path, query) = raw.target.split_once('?').unwrap_or((raw.target, ""));
    let path = decoded(path)?;
    match route(&path) {
        Route::Unknown => Err(Answer::message(404, &format!("Unknown path: {path}"))),
        Route::Bad => Err(Answer::message(400, &format!("Bad path: {path}"))),
        Route::Fixed(fixed) => fixed.read(raw.method, query),
        Route::Lock(name) => {
            let verb = method(raw.method).ok_or_else(|| Answer::not_allowed(ON_LOCK))?;
            let verb = Query::read(query)?.verb(verb)?;
            Ok(Request::Lock(Call { verb, name: valid(name)?, client: client(&raw)? }))
        }
        Route::Collection => collection(&raw, query),
        Route::Election(name) => inquiry(raw.method, name, query, true),
        // The client's own question has no parameters.
        Route::Stream(name) => inquiry(raw.method, name, query, query.is_empty()),
    }
}

/// Answers a call.
pub fn write(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Good(lock) => Answer::lock(200, lock),
        Outcome::Taken(lock) => Answer::lock(409, lock),
        Outcome::Exists => Answer::message(409, "Conflict"),
        Outcome::Absent(version) => Answer::message(404, "Not found.").versioned(*version),
        Outcome::Refused(why) => Answer::message(409, why),
        Outcome::Unavailable(why) => Answer::message(503, why),
        Outcome::Ending => Answer::message(503, "This sidecar is about to end.").with("Retry-After", "1".into()),
        Outcome::Released => Answer::empty(204),
        Outcome::Foreign(who) => Answer::message(403, &format!("Not released: {who} holds it.")),
        Outcome::NotHeld => Answer::message(404, "Not released: nobody holds it."),
        Outcome::Stale => Answer::message(410, "This sidecar does not know that version: read the lock without watch."),
        Outcome::Leader(led) => led.answer(),
        Outcome::NoElection => Answer::message(404, "This sidecar takes no part in that election (MSYNC_ELECTIONS)."),
        Outcome::Listed(listing) => Answer::of(200, Kind::Json, listing.to_json()),
        Outcome::Well => Answer::well(),
        Outcome::Metrics(text) => Answer::of(200, Kind::Metrics, text.clone()),
    }
}

enum Route<'a> {
    Unknown,
    Bad,
    Collection,
    Lock(&'a str),
    Election(&'a str),
    Stream(&'a str),
    Fixed(Fixed),
}

/// What has neither name nor parameters.
enum Fixed {
    Page,
    Healthz,
    Readyz,
    Metrics,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// The name is the third segment of the decoded path; the original ignores empty segments at the end, so we do.
fn route(path: &str) -> Route<'_> {
    match path {
        "/" => return Route::Fixed(Fixed::Page),
        "/healthz" => return Route::Fixed(Fixed::Healthz),
        "/readyz" => return Route::Fixed(Fixed::Readyz),
        "/metrics" => return Route::Fixed(Fixed::Metrics),
        _ => {}
    }
    if let Some(rest) = path.strip_prefix("/election/") {
        return match rest.strip_suffix("/stream") {
            Some(name) if !name.contains('/') => Route::Stream(name),
            None if !rest.contains('/') => Route::Election(rest),
            _ => Route::Unknown,
        };
    }
    let Some(rest) = path.strip_prefix("/locks") else { return Route::Unknown };
    if !(rest.is_empty() || rest.starts_with('/')) {
        return Route::Unknown;
    }
    let trimmed = rest.trim_end_matches('/');
    match trimmed.strip_prefix('/') {
        None => Route::Collection,
        Some(name) if name.contains('/') || name.contains(';') => Route::Bad,
        Some(name) => Route::Lock(name),
    }
}

impl Fixed {
    fn read(self, sent: &str, query: &str) -> Result<Request, Answer> {
        if method(sent) != Some(Method::Get) {
            return Err(Answer::not_allowed(ON_FIXED));
        }
        Query::read(query)?.must_be_empty()?;
        match self {
            Self::Page => Err(Answer::of(200, Kind::Html, PAGE.to_owned())),
            Self::Healthz => Err(Answer::well()),
            Self::Readyz => Ok(Request::Ready),
            Self::Metrics => Ok(Request::Metrics),
        }
    }
}

fn collection(raw: &Raw<'_>, query: &str) -> Result<Request, Answer> {
    let method = method(raw.method).filter(|method| *method != Method::Delete);
    let method = method.ok_or_else(|| Answer::not_allowed(ON_COLLECTION))?;
    let query = Query::read(query)?;
    if method == Method::Get && raw.body.trim_ascii().is_empty() {
        query.must_be_empty()?;
        return Ok(Request::List);
    }
    let verb = query.verb(method)?;
    Ok(Request::Lock(Call { verb, name: valid(&body::name(raw.body)?)?, client: client(raw)? }))
}

fn inquiry(sent: &str, name: &str, query: &str, asks: bool) -> Result<Request, Answer> {
    if method(sent) != Some(Method::Get) {
        return Err(Answer::not_allowed(ON_FIXED));
    }
    let seen = match Query::read(query)?.verb(Method::Get)? {
        Verb::Watch { version, wait } => Some((version, wait)),
        _ => None,
    };
    Ok(Request::Election(Inquiry { name: valid(name)?, asks, seen }))
}

fn method(sent: &str) -> Option<Method> {
    match sent {
        // The front drops the body of an answer to HEAD.
        "GET" | "HEAD" => Some(Method::Get),
        "PUT" => Some(Method::Put),
        "POST" => Some(Method::Post),
        "DELETE" => Some(Method::Delete),
        _ => None,
    }
}

fn decoded(path: &str) -> Result<String, Answer> {
    let path = path.split('#').next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let decoded =
            if byte == b'%' { hex(rest.next()).zip(hex(rest.next())).map(|(a, b)| a * 16 + b) } else { Some(byte) };
        bytes.push(decoded.ok_or_else(|| Answer::message(400, "Bad percent code in the path."))?);
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn hex(byte: Option<u8>) -> Option<u8> {
    byte.and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok())
}

fn valid(name: &str) -> Result<Name, Answer> {
    Name::new(name).map_err(|error| Answer::message(422, &format!("Bad lock name: {error}.")))
}

fn client(raw: &Raw<'_>) -> Result<Option<Client>, Answer> {
    let client = raw.client.map(Client::new).transpose();
    client.map_err(|error| Answer::message(400, &format!("Bad Msync-Client-Id: {error}.")))
}

#[cfg(test)]
mod tests;
