//! The parameters of a request. One that is not understood is refused: a client that asks for more than it gets must learn
//! of it. (Old clients send none; the original ignored them.)

use std::time::Duration;

use super::{Answer, Method, Verb, Version};

/// The longest wait.
const MAX_WAIT: u64 = 300;
/// The wait for a change, unless told otherwise.
const WATCH: Duration = Duration::from_secs(30);
/// What a client may be silent, at least and at most.
const TTL: std::ops::RangeInclusive<u64> = 5..=3600;

/// The parameters as they were sent, each at most once.
#[derive(Debug, Default)]
pub(super) struct Query {
    wait: Option<Duration>,
    ttl: Option<Duration>,
    watch: Option<Version>,
}

/// How long a request may wait for its answer by its own wish; `None` for one that wants it at once.
///
/// Pure and cheap: the front asks it, before the request is read in earnest.
pub fn long_poll(target: &str) -> Option<Duration> {
    let (_, query) = target.split_once('?')?;
    let query = Query::read(query).ok()?;
    let wait = match query.watch {
        Some(_) => query.wait.unwrap_or(WATCH),
        None => query.wait?,
    };
    (wait > Duration::ZERO).then_some(wait)
}

impl Query {
    /// Reads what follows the question mark. Names and values need no percent codes, and are taken as they are.
    pub(super) fn read(query: &str) -> Result<Self, Answer> {
        let mut read = Self::default();
        let query = query.split('#').next().unwrap_or_default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let again = match name {
                "wait" => read.wait.replace(seconds(name, value, 0..=MAX_WAIT)?).is_some(),
                "ttl" => read.ttl.replace(seconds(name, value, TTL)?).is_some(),
                "watch" => {
                    let version = Version::read(value).ok_or_else(|| bad("watch must be an Msync-Version"))?;
                    read.watch.replace(version).is_some()
                }
                _ => return Err(bad(&format!("unknown parameter {name:?}"))),
            };
            if again {
                return Err(bad(&format!("{name} is given twice")));
            }
        }
        Ok(read)
    }

    pub(super) fn must_be_empty(&self) -> Result<(), Answer> {
        none_of([("wait", self.wait.is_some()), ("ttl", self.ttl.is_some()), ("watch", self.watch.is_some())])
    }

    /// What the method means with these parameters.
    pub(super) fn verb(self, method: Method) -> Result<Verb, Answer> {
        let (wait, ttl, watch) =
            (("wait", self.wait.is_some()), ("ttl", self.ttl.is_some()), ("watch", self.watch.is_some()));
        match method {
            Method::Get => none_of([ttl])?,
            Method::Put => none_of([watch])?,
            Method::Post => none_of([watch, wait])?,
            Method::Delete => none_of([watch, wait, ttl])?,
        }
        match (method, self.watch) {
            (Method::Get, None) if self.wait.is_some() => Err(bad("a GET waits only with watch")),
            (Method::Get, None) => Ok(Verb::Get),
            (Method::Get, Some(version)) => Ok(Verb::Watch { version, wait: self.wait.unwrap_or(WATCH) }),
            (Method::Put, _) => Ok(Verb::Put { wait: self.wait.unwrap_or_default(), ttl: self.ttl }),
            (Method::Post, _) => Ok(Verb::Post { ttl: self.ttl }),
            (Method::Delete, _) => Ok(Verb::Delete),
        }
    }
}

fn none_of<const N: usize>(given: [(&str, bool); N]) -> Result<(), Answer> {
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(bad(&format!("{name} means nothing to this request"))),
        None => Ok(()),
    }
}

fn seconds(name: &str, value: &str, range: std::ops::RangeInclusive<u64>) -> Result<Duration, Answer> {
    let digits = Some(value).filter(|value| value.len() <= 4 && value.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = digits.and_then(|digits| digits.parse().ok()).filter(|seconds| range.contains(seconds));
    let whole = || bad(&format!("{name} must be a whole number of seconds from {} to {}", range.start(), range.end()));
    seconds.map(Duration::from_secs).ok_or_else(whole)
}

fn bad(why: &str) -> Answer {
    Answer::message(400, &format!("Bad parameter: {why}."))
}
