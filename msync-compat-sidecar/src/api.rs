//! The Metaparticle/Sync protocol, pure: request -> [`Call`], [`Outcome`] -> [`Answer`].
//!
//! It knows routes, names, bodies and dates, and nothing of sockets, time or locks. Section numbers are those of the
//! wire contract that the old clients were measured against. Every body is a JSON object.

mod lock;
mod name;

pub use lock::Lock;
pub use name::Name;

use std::borrow::Cow;

use serde_json::{Value, json};

/// The methods a lock understands.
const ON_LOCK: &str = "GET, HEAD, PUT, POST";
/// The methods the collection understands without a Lock as body.
const ON_COLLECTION: &str = "POST, PUT";

/// What a request asks of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Look at it; no side effect.
    Get,
    /// Take it, or beat for it.
    Put,
    /// Create it; never takes over.
    Post,
}

/// A request that concerns a lock with a valid name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What to do.
    pub verb: Verb,
    /// With which lock.
    pub name: Name,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The lock as it is (GET), or as it is now held for the client (PUT, POST).
    Good(Lock),
    /// PUT: another sidecar has it; or ours is not sure enough to say 200.
    Taken(Lock),
    /// POST: it exists.
    Exists,
    /// GET: nobody ever had it.
    Absent,
    /// PUT, POST: not taken, and nothing to show, for this reason.
    Refused(String),
    /// The name was never seen and the API server does not answer.
    Unavailable(String),
}

/// An HTTP answer without what belongs to the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The methods to offer, with 405.
    pub allow: Option<Cow<'static, str>>,
    /// A JSON object, or empty.
    pub body: String,
}

impl Answer {
    /// `{"message": …}`.
    pub fn message(status: u16, message: &str) -> Self {
        Self { status, allow: None, body: json!({ "message": message }).to_string() }
    }

    fn lock(status: u16, lock: &Lock) -> Self {
        Self { status, allow: None, body: lock.to_json() }
    }

    fn not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow.into()), ..Self::message(405, "Method not allowed.") }
    }
}

/// Reads a request: `target` is a path with an optional query, which is ignored, as is a body beside a name in the path.
///
/// # Errors
/// The answer of a request that concerns no lock.
pub fn read(method: &str, target: &str, body: &[u8]) -> Result<Call, Answer> {
    let path = decoded_path(target)?;
    match route(&path) {
        Route::Unknown => Err(Answer::message(404, &format!("Unknown path: {path}"))),
        Route::Bad => Err(Answer::message(400, &format!("Bad path: {path}"))),
        Route::Lock(name) => {
            let verb = verb(method).ok_or_else(|| Answer::not_allowed(ON_LOCK))?;
            Ok(Call { verb, name: valid(name)? })
        }
        Route::Collection => {
            let verb = verb(method).ok_or_else(|| Answer::not_allowed(ON_COLLECTION))?;
            if verb == Verb::Get && body.trim_ascii().is_empty() {
                return Err(Answer::not_allowed(ON_COLLECTION));
            }
            Ok(Call { verb, name: valid(&named(body)?)? })
        }
    }
}

/// Answers a call.
pub fn write(outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Good(lock) => Answer::lock(200, lock),
        Outcome::Taken(lock) => Answer::lock(409, lock),
        Outcome::Exists => Answer::message(409, "Conflict"),
        Outcome::Absent => Answer::message(404, "Not found."),
        Outcome::Refused(why) => Answer::message(409, why),
        Outcome::Unavailable(why) => Answer::message(503, why),
    }
}

enum Route<'a> {
    Unknown,
    Bad,
    Collection,
    Lock(&'a str),
}

/// The name is the third segment of the decoded path; the original ignores empty segments at the end, so we do.
fn route(path: &str) -> Route<'_> {
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

fn verb(method: &str) -> Option<Verb> {
    match method {
        // The front drops the body of an answer to HEAD.
        "GET" | "HEAD" => Some(Verb::Get),
        "PUT" => Some(Verb::Put),
        "POST" => Some(Verb::Post),
        _ => None,
    }
}

fn decoded_path(target: &str) -> Result<String, Answer> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
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

/// `metadata.name` of a Lock as body. Only that counts; but a body that is no Lock is refused (section 6).
fn named(body: &[u8]) -> Result<String, Answer> {
    let bad = |why: &str| Answer::message(400, why);
    let lock: Value = serde_json::from_slice(body).map_err(|error| bad(&format!("The body is no Lock: {error}.")))?;
    let lock = lock.as_object().ok_or_else(|| bad("The body is no Lock: not an object."))?;
    if !matches!(lock.get("spec"), None | Some(Value::Null | Value::Object(_))) {
        return Err(bad("The body is no Lock: spec is not an object."));
    }
    let metadata = lock.get("metadata").and_then(Value::as_object);
    let metadata = metadata.ok_or_else(|| bad("The body is no Lock: metadata is not an object."))?;
    if !is_date(metadata.get("creationTimestamp")) {
        return Err(bad("The body is no Lock: metadata.creationTimestamp is not a date."));
    }
    let name = metadata.get("name").and_then(Value::as_str);
    Ok(name.ok_or_else(|| bad("The body is no Lock: metadata.name is not a string."))?.to_owned())
}

fn is_date(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.parse::<jiff::Timestamp>().is_ok(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests;
