//! The test bed: a real API server, the faults it and its network can have, and child processes.
//!
//! A test that needs a cluster begins with [`testbed::TestServer::shared`] or, when it injects faults into the server or
//! counts requests, with [`testbed::TestServer::start`]. Faults of the network are in [`proxy`], faults of single
//! requests in [`tamper`], a webhook that denies or dawdles in [`webhook`], several real processes in [`process`]; [`cluster`] puts msync on top of it all, and [`ledger`]
//! judges what many processes saw of one lock.
// Servers, sockets and processes run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

pub mod cluster;
pub mod dice;
pub mod faulty;
pub mod history;
pub mod hostile;
pub mod ledger;
pub mod lock_request;
pub mod logs;
pub mod memory;
pub mod pair;
pub mod process;
pub mod proxy;
pub mod store_contract;
pub mod tamper;
pub mod testbed;
pub mod webhook;

use std::{io::Write, time::Duration};

use anyhow::{Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

/// Writes a line to stderr past libtest's capture, which would hide it unless the test fails.
pub fn loudly(line: &str) {
    let _ = writeln!(std::io::stderr(), "msync testbed: {line}");
}

/// Says that something is not tested here for want of something, and what to do about it.
///
/// # Panics
///
/// Where `CI` is set: what is skipped there is tested by nobody.
pub fn skipped(what: &str) {
    assert!(!in_ci(), "CI is set, so nothing is to be skipped: {what}");
    loudly(&format!("SKIPPED {what}"));
}

/// Says whether these tests run where nothing may be missing.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false")
}

/// Waits until a condition holds, asking it again and again.
///
/// # Errors
///
/// When it did not hold within `limit`; the message says `what` was awaited.
///
/// # Cancel safety
///
/// Nothing is lost.
pub async fn eventually<F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> Result<()>
where
    F: Future<Output = bool>,
{
    let deadline = Instant::now() + limit;
    while !condition().await {
        if Instant::now() >= deadline {
            bail!("not within {limit:?}: {what}");
        }
        sleep(process::POLL).await;
    }
    Ok(())
}

/// Sends a request without a body, as `GET /metrics`, with these headers to a port of this machine, and returns all of the
/// answer.
///
/// # Errors
///
/// When there is no connection, or it breaks.
///
/// # Cancel safety
///
/// The request may have been done.
pub async fn ask(port: u16, what: &str, headers: &[(&str, &str)]) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let headers: String = headers.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
    let fixed = "Host: localhost\r\nConnection: close\r\nContent-Length: 0\r\n";
    let request = format!("{what} HTTP/1.1\r\n{fixed}{headers}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
