//! msync's own connections to the API server: how many they are, what they survive, and what it says when there are none.
// Servers, sockets and processes run in real time: there is no clock to inject.
#![allow(clippy::disallowed_methods)]

mod cluster;
mod environment;
mod lanes;
mod manners;
mod plugin;
mod provider;
mod proxied;
mod server;

use std::time::Duration;

use anyhow::Result;
use http::Request;

/// Long enough for a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(60);

/// A request without a body.
fn get<B: From<Vec<u8>>>(path: &str) -> Result<Request<B>> {
    Ok(Request::get(path).body(Vec::new().into())?)
}
