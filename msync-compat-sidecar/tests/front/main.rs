//! The front on hostile and odd input: each ends in the right answer, in bounded time, memory and threads, and the
//! next good request is served.
#![allow(clippy::disallowed_methods, reason = "sockets need real time; limits are generous")]

mod answer;
mod body;
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod head;
mod target;

use std::time::Duration;

use common::{Reply, Served, Stub, talk};
use msync_compat_sidecar::front::Limits;

fn quick() -> Limits {
    let short = Duration::from_millis(300);
    Limits { head_time: short, body_time: short, ..Limits::default() }
}

fn served() -> Served {
    Served::start(quick(), Stub::default())
}

/// The single answer to these bytes, after which a good request is served.
fn only(served: &Served, bytes: impl AsRef<[u8]>) -> Reply {
    let mut replies = talk(served.address, bytes.as_ref());
    assert_eq!(replies.len(), 1, "{replies:?}");
    served.serves_a_good_request();
    replies.remove(0)
}

fn get(fields: &str) -> String {
    format!("GET /locks/absent HTTP/1.1\r\nConnection: close\r\n{fields}\r\n")
}

/// Not a test: the server that some tests run in a process of its own.
#[test]
#[ignore = "run by other tests as a child process"]
fn child() {
    common::be_child();
}
