//! What the front allows, and whether the process can afford it.
//!
//! `tiny_http` gives up for good when it runs out of descriptors, so the limits are chosen such that the front refuses
//! connections while there are still enough left.

use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors one request in flight may cost: the front's end of a socket, and two for `tiny_http`'s.
const PER_REQUEST: u64 = 3;
/// Descriptors that are open whatever the load: kept sockets, listeners, the runtime.
const BASE: u64 = 64;
/// With fewer descriptors than this there is no serving anybody.
const FEWEST: u64 = 128;

/// The bounds of the front. The default is what the sidecar runs with; tests shorten the times.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Client connections at once; for a new one another that owes a request must go, and if there is none, it is answered
    /// 503 and closed.
    pub connections: usize,
    /// Connections beyond those that wait for room or are told that there is none; past these a connection is just closed.
    pub turned_away: usize,
    /// Requests waiting for their answer at once; more are answered 503.
    pub pending: usize,
    /// Requests of holders for their locks that wait for their answer at once, besides those.
    pub beats: usize,
    /// Bytes of requests and answers that are kept for all connections together, beyond the first KiB of each; what is over
    /// it waits, and is answered 503 when half of the time to arrive has passed.
    pub bytes: usize,
    /// Bytes of a request line with its header fields; more are answered 431.
    pub head: usize,
    /// Bytes of a body; more are answered 413.
    pub body: usize,
    /// From a request's first byte to the end of its head; after it 408.
    pub head_time: Duration,
    /// From the end of the head to the end of the body; after it 408.
    pub body_time: Duration,
    /// How long a connection may stay without a request.
    pub idle_time: Duration,
    /// From a complete request to its answer, beyond what the client itself asked to wait; after it 503.
    pub answer_time: Duration,
    /// For a client to take its answer.
    pub write_time: Duration,
    /// For a client to finish sending after the last answer, so that a reset does not take that answer away.
    pub linger_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            turned_away: 256,
            pending: 2_304,
            beats: 768,
            // Room for a hundred of the longest bodies, of which usual clients send none.
            bytes: 8 * 1024 * 1024,
            head: 16 * 1024,
            body: 64 * 1024,
            head_time: Duration::from_secs(5),
            body_time: Duration::from_secs(5),
            idle_time: Duration::from_secs(33),
            answer_time: Duration::from_millis(7_900),
            write_time: Duration::from_secs(5),
            linger_time: Duration::from_secs(2),
        }
    }
}

impl Limits {
    /// Raises the process's descriptor limit as far as it may and shrinks the counts to what that allows.
    ///
    /// # Errors
    /// The process may open too few files to serve anybody.
    pub fn afforded(self) -> io::Result<Self> {
        let wanted = (self.connections + self.turned_away) as u64 + PER_REQUEST * self.requests() + BASE + 256;
        let descriptors = raise_descriptors(wanted);
        if descriptors < FEWEST {
            let why = format!("only {descriptors} descriptors are allowed, at least {FEWEST} are needed (ulimit -n)");
            return Err(io::Error::other(why));
        }
        Ok(self.within(descriptors))
    }

    /// Requests that wait for a lock at once: half of all that are pending, so that others find a place as well.
    pub fn long_polls(&self) -> usize {
        self.pending / 2
    }

    fn requests(&self) -> u64 {
        (self.pending + self.beats) as u64
    }

    /// The same limits for a process that may open `descriptors` files.
    #[must_use]
    pub fn within(mut self, descriptors: u64) -> Self {
        // The API's connections, and what the process opens for a moment.
        let own = BASE + (descriptors / 16).min(256);
        self.turned_away = least(self.turned_away, descriptors / 16);
        let left = descriptors.saturating_sub(own + self.turned_away as u64);
        let requests = left / 2 / PER_REQUEST;
        self.pending = least(self.pending, requests * 3 / 4);
        self.beats = least(self.beats, requests / 4);
        self.connections = least(self.connections, left.saturating_sub(PER_REQUEST * self.requests()));
        self
    }
}

fn least(wanted: usize, allowed: u64) -> usize {
    usize::try_from(allowed).map_or(wanted, |allowed| wanted.min(allowed))
}

/// The descriptor limit after an attempt to raise it to `wanted`.
fn raise_descriptors(wanted: u64) -> u64 {
    let old = getrlimit(Resource::Nofile);
    let most = old.maximum.unwrap_or(u64::MAX);
    let current = old.current.unwrap_or(u64::MAX);
    let target = wanted.max(current).min(most);
    if target > current {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(target), maximum: old.maximum });
        if let Err(error) = raised {
            tracing::warn!(%error, wanted, current, "the descriptor limit could not be raised");
            return current;
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generous_process_gets_the_full_limits() {
        let limits = Limits::default().within(1 << 20);
        assert_eq!((limits.connections, limits.pending, limits.beats), (16_384, 2_304, 768));
    }

    #[test]
    fn requests_in_flight_never_exhaust_the_descriptors() {
        for descriptors in [FEWEST, 256, 1024, 20_000, 65_536] {
            let limits = Limits::default().within(descriptors);
            let used = (limits.connections + limits.turned_away) as u64 + PER_REQUEST * limits.requests();
            assert!(used + BASE <= descriptors, "{descriptors}: {limits:?}");
            assert!(limits.pending >= 4 && limits.beats >= 1 && limits.connections >= 4, "{descriptors}: {limits:?}");
        }
        assert!(Limits::default().within(20_000).connections >= 10_000);
    }
}
