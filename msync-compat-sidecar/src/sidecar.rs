//! One running sidecar: listeners, front, inner server and sessions put together, and taken apart in order.
//!
//! The ports are bound before the engine is asked for anything: only the process that has them may take its
//! predecessor's locks back.
#![allow(clippy::disallowed_methods, reason = "an end is waited for in real time")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::front::{self, Front, Hosts, Limits};
use crate::server::Server;
use crate::session::{Backend, Identity, Part, Sessions};

/// The longest that answers which are owed may take at the end.
const STOP: Duration = Duration::from_secs(15);

/// The ports of a sidecar, bound but not yet served.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    ports: Vec<u16>,
}

/// How requests are served.
#[derive(Debug)]
pub struct Manner {
    /// The bounds of the front.
    pub limits: Limits,
    /// Whom to serve.
    pub hosts: Hosts,
    /// Where private sockets may be made, the best place first.
    pub run_directories: Vec<PathBuf>,
    /// What to take part in.
    pub part: Part,
}

/// A sidecar that serves.
pub struct Sidecar<B: Backend> {
    sessions: Sessions<B>,
    stop: CancellationToken,
    front: JoinHandle<()>,
    sweeper: JoinHandle<()>,
    server: Server,
}

impl Bound {
    /// Binds every port on every address; port 0 takes a free one.
    ///
    /// # Errors
    /// A port that is taken, named in the message.
    pub fn bind(addresses: &[IpAddr], ports: &[u16]) -> io::Result<Self> {
        let mut bound = Self { listeners: Vec::new(), addresses: Vec::new(), ports: Vec::new() };
        for &port in ports {
            let listeners = front::listen(addresses, port)?;
            let taken: Vec<SocketAddr> = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
            bound.ports.extend(taken.first().map(SocketAddr::port));
            bound.addresses.extend(taken);
            bound.listeners.extend(listeners);
        }
        Ok(bound)
    }

    /// The ports, in the order they were asked for.
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Every address that will be served.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Begins to serve, over this engine.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// No private socket can be made.
    pub fn serve<B: Backend>(self, manner: Manner, identity: Identity, backend: B) -> io::Result<Sidecar<B>> {
        let sessions = Sessions::with(backend, identity, Arc::new(Moment::now), manner.part);
        let server = Server::start(&Arc::new(sessions.clone()), &manner.run_directories, &Handle::current())?;
        let stop = CancellationToken::new();
        let front = Front::new(server.doors(), manner.limits, manner.hosts, stop.clone());
        let front = tokio::spawn(front.run(self.listeners));
        let sweeper = tokio::spawn(sessions.clone().run());
        Ok(Sidecar { sessions, stop, front, sweeper, server })
    }
}

impl<B: Backend> Sidecar<B> {
    /// Refuses new locks, serves on until every client has let go of its lock or lost it, then stops.
    ///
    /// # Cancel safety
    /// Dropping the future before it ends leaves a sidecar that goes on serving but takes no new locks.
    pub async fn drain(&self) {
        self.sessions.drain().await;
    }

    /// How many locks are held for clients.
    pub fn held(&self) -> usize {
        self.sessions.held()
    }

    /// Leaves the locks that are held in their records for the rest of their ttl, whatever becomes of this process:
    /// their clients still believe that they hold them.
    pub fn leave_holds(&self) {
        // What is never dropped is never released.
        std::mem::forget(self.sessions.clone());
    }

    /// Stops serving: gives the answers that are owed and closes. Locks that are still held stay held by the engine.
    ///
    /// # Cancel safety
    /// Dropping the future stops nothing that has begun to stop.
    pub async fn stop(self) {
        self.stop.cancel();
        // Its panics were reported when they happened. Each answer has its limits; this is the one of all together.
        if tokio::time::timeout(STOP, self.front).await.is_err() {
            tracing::warn!("connections that would not end are closed");
        }
        self.sweeper.abort();
        let server = self.server;
        let _ = tokio::task::spawn_blocking(move || drop(server)).await;
    }
}
