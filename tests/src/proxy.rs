//! A TCP proxy on loopback whose network can fail.
//!
//! It forwards bytes and does not look into them, so TLS passes through. The faults are those of a network: nothing is
//! altered, and nothing is lost in the middle of a stream that goes on.

mod link;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Which way bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// A running proxy; dropping it closes the listener and every connection.
///
/// It belongs to the runtime it was started on.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    net: Arc<Net>,
    task: JoinHandle<()>,
}

/// What the handle and the connections share.
#[derive(Debug)]
struct Net {
    weather: watch::Sender<Weather>,
    /// Counts calls of `reset`.
    resets: watch::Sender<u64>,
    /// Counts calls of `forget`.
    forgotten: watch::Sender<u64>,
    once: Mutex<Once>,
    /// Counts calls of `swallow_next_reply`.
    swallows: AtomicU64,
    swallowed: AtomicU64,
    connections: AtomicU64,
}

/// Faults that last until they are lifted.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    delay: Duration,
    hold_to_server: bool,
    hold_to_client: bool,
    refuse: bool,
}

/// Faults that strike once.
#[derive(Debug, Default)]
struct Once {
    cut_to_server: Option<u64>,
    cut_to_client: Option<u64>,
    swallow_reply: Option<Swallow>,
}

/// A reply to swallow: the first on a connection whose client sent anything since this was asked for.
#[derive(Clone, Copy, Debug)]
struct Swallow {
    /// Tells one such call from another; from 1.
    number: u64,
    hold: Duration,
}

// === impl Proxy ===

impl Proxy {
    /// Starts a proxy to `server` on a free port of loopback.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    ///
    /// # Cancel safety
    ///
    /// Nothing is left behind.
    pub async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind the fault proxy")?;
        let addr = listener.local_addr().context("the fault proxy's address")?;
        let net = Arc::new(Net::new());
        let task = tokio::spawn(serve(listener, addr, server, Arc::clone(&net)));
        Ok(Self { addr, net, task })
    }

    /// The address that clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Delays every byte, in both directions, by this much; later bytes do not overtake earlier ones.
    pub fn delay(&self, delay: Duration) {
        self.net.weather.send_modify(|w| w.delay = delay);
    }

    /// Holds back all bytes of one direction, as a partitioned network does, until [`Proxy::heal`] delivers them.
    ///
    /// Connections stay open and new ones are accepted: they just see silence.
    pub fn blackhole(&self, direction: Direction) {
        self.net.weather.send_modify(|w| *w.hold_mut(direction) = true);
    }

    /// Lifts delay, blackholes and refusal, and disarms what has not struck yet.
    pub fn heal(&self) {
        *self.net.once() = Once::default();
        self.net.weather.send_replace(Weather::default());
    }

    /// Resets every existing connection on both sides (RST).
    pub fn reset(&self) {
        self.net.resets.send_modify(|n| *n += 1);
    }

    /// Forgets every existing connection, as a balancer does whose table of flows was cut: what either side sends on
    /// one goes nowhere from now on, and nobody is told. New connections work.
    pub fn forget(&self) {
        self.net.forgotten.send_modify(|n| *n += 1);
    }

    /// Closes the listener, so that new connections are refused, or opens it again; existing connections stay.
    pub fn refuse(&self, refuse: bool) {
        self.net.weather.send_modify(|w| w.refuse = refuse);
    }

    /// Resets the connection on which the `bytes`-th byte from now, counted over all connections, goes this way; the
    /// bytes up to it are delivered.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        *self.net.once().cut_mut(direction) = Some(bytes);
    }

    /// Swallows the first answer to anything that a client sends from now on, and what follows it on that connection,
    /// which is reset `hold` after the answer. What the client sends is delivered.
    ///
    /// The client must have a connection already, or the bytes are those of a TLS handshake.
    pub fn swallow_next_reply(&self, hold: Duration) {
        let number = self.net.swallows.fetch_add(1, Ordering::SeqCst) + 1;
        self.net.once().swallow_reply = Some(Swallow { number, hold });
    }

    /// How many bytes of the server were swallowed so far: once it grows, the server has answered.
    pub fn swallowed(&self) -> u64 {
        self.net.swallowed.load(Ordering::SeqCst)
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> u64 {
        self.net.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.reset();
    }
}

// === impl Net ===

impl Net {
    fn new() -> Self {
        Self {
            weather: watch::Sender::new(Weather::default()),
            resets: watch::Sender::new(0),
            forgotten: watch::Sender::new(0),
            once: Mutex::default(),
            swallows: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    fn once(&self) -> MutexGuard<'_, Once> {
        self.once.lock().expect("no holder of the proxy's lock panics")
    }
}

// === impl Weather ===

impl Weather {
    fn hold(self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.hold_to_server,
            Direction::ToClient => self.hold_to_client,
        }
    }

    fn hold_mut(&mut self, direction: Direction) -> &mut bool {
        match direction {
            Direction::ToServer => &mut self.hold_to_server,
            Direction::ToClient => &mut self.hold_to_client,
        }
    }
}

// === impl Once ===

impl Once {
    fn cut_mut(&mut self, direction: Direction) -> &mut Option<u64> {
        match direction {
            Direction::ToServer => &mut self.cut_to_server,
            Direction::ToClient => &mut self.cut_to_client,
        }
    }
}

/// Accepts until it is aborted; closes the listener while connections are to be refused.
async fn serve(first: TcpListener, addr: SocketAddr, server: SocketAddr, net: Arc<Net>) {
    let mut weather = net.weather.subscribe();
    let mut listener = Some(first);
    loop {
        if weather.borrow_and_update().refuse {
            listener = None;
            let _ = weather.wait_for(|w| !w.refuse).await;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => rebind(addr).await,
        };
        tokio::select! {
            biased; // a client that connects after `refuse` is not let in
            _ = weather.changed() => {}
            accepted = open.accept() => if let Ok((client, _)) = accepted {
                let resets = net.resets.subscribe();
                tokio::spawn(connect(client, server, resets, Arc::clone(&net)));
            },
        }
        listener = Some(open);
    }
}

/// Binds the same port again, waiting while an outgoing connection of somebody has borrowed it.
async fn rebind(addr: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(crate::process::POLL).await,
        }
    }
}

async fn connect(client: TcpStream, server: SocketAddr, resets: watch::Receiver<u64>, net: Arc<Net>) {
    net.connections.fetch_add(1, Ordering::SeqCst);
    match TcpStream::connect(server).await {
        Ok(server) => link::run(client, server, resets, &net).await,
        Err(_) => drop(client.set_zero_linger()),
    }
}
