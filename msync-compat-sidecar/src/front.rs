//! The bounded front: accepts, judges and answers on behalf of `tiny_http`, which is unsafe on hostile input.
//!
//! Measured on `tiny_http` 0.12: a huge `Content-Length` aborts the process, a body that never arrives blocks a
//! responder, every stalled head costs a thread, heads have no limit, and exhausted descriptors end the acceptor. So
//! the front reads whole requests under [`Limits`] and passes canonical ones on over private unix sockets. It answers
//! everything that is wrong with HTTP itself, always with a JSON object, and never looks at locks.
#![allow(clippy::disallowed_methods, reason = "time-outs of sockets are real time, and judge no lock")]

mod answer;
mod back;
mod budget;
mod chunked;
mod connection;
mod head;
mod host;
mod limits;
mod refusal;
mod rooms;
mod standing;

pub use host::Hosts;
pub use limits::Limits;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Answer;
use crate::server::Doors;
use crate::sparse::Sparse;

/// How long a new connection waits for another to make room.
const ROOM: Duration = Duration::from_secs(1);

static UNACCEPTED: Sparse = Sparse::new();

/// What a socket may keep in the kernel, in each direction: what clients do not take, and what is not read yet, counts
/// against the memory of the container.
const IN_KERNEL: u32 = 16 * 1024;

/// What every connection shares.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    hosts: Hosts,
    back: back::Back,
    rooms: rooms::Rooms,
    budget: budget::Budget,
    standing: standing::Standing,
    stop: CancellationToken,
}

/// The front of one sidecar.
#[derive(Debug)]
pub struct Front {
    shared: Arc<Shared>,
    seats: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
    spare: Mutex<Option<TcpSocket>>,
}

impl Front {
    /// A front that passes good requests through `doors` and ends when `stop` is cancelled.
    pub fn new(doors: Doors, limits: Limits, hosts: Hosts, stop: CancellationToken) -> Self {
        let budget = budget::Budget::new(limits.bytes);
        Self {
            seats: Arc::new(Semaphore::new(limits.connections)),
            refusals: Arc::new(Semaphore::new(limits.turned_away)),
            tasks: TaskTracker::new(),
            spare: Mutex::new(TcpSocket::new_v4().ok()),
            shared: Arc::new(Shared {
                back: back::Back::new(doors, budget.clone()),
                budget,
                standing: standing::Standing::default(),
                rooms: rooms::Rooms::new(limits.beats, limits.pending, limits.long_polls()),
                limits,
                hosts,
                stop,
            }),
        }
    }

    /// Accepts on all `listeners` until stopped, then waits until every answer that is owed has been given.
    ///
    /// # Cancel safety
    /// Dropping the future stops accepting; connections that are open go on in the background.
    pub async fn run(self, listeners: Vec<TcpListener>) {
        let front = Arc::new(self);
        let accepting: Vec<_> =
            listeners.into_iter().map(|listener| tokio::spawn(Arc::clone(&front).accept(listener))).collect();
        for task in accepting {
            // An accept loop ends by the token only; a panic in it was reported already.
            let _ = task.await;
        }
        front.tasks.close();
        front.tasks.wait().await;
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shared.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => self.welcome(stream),
                Err(error) => self.recover(&error, &listener).await,
            }
        }
    }

    fn welcome(&self, stream: TcpStream) {
        // Without it a kept connection may lose 40 ms per answer to delayed acknowledgements.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a client left before it was served");
            return;
        }
        match Arc::clone(&self.seats).try_acquire_owned() {
            Ok(seat) => serve(&self.tasks, &self.shared, stream, seat),
            Err(_) => self.make_room(stream),
        }
    }

    /// Has another connection make room for this one, or turns it away.
    fn make_room(&self, stream: TcpStream) {
        let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        let (tasks, shared, seats) = (self.tasks.clone(), Arc::clone(&self.shared), Arc::clone(&self.seats));
        self.tasks.spawn(async move {
            // Those that came just before stand first: in a flood, whoever was served would be the only one to go.
            tokio::task::yield_now().await;
            let seat = if shared.standing.make_room() {
                tokio::time::timeout(ROOM, seats.acquire_owned()).await.ok().and_then(Result::ok)
            } else {
                None
            };
            match seat {
                Some(seat) => serve(&tasks, &shared, stream, seat),
                None => turned_away(stream).await,
            }
            drop(place);
        });
    }

    /// Out of descriptors: gives up the spare one to tell one client so, then waits a little.
    async fn recover(&self, error: &io::Error, listener: &TcpListener) {
        if let Some(unsaid) = UNACCEPTED.say() {
            tracing::warn!(%error, unsaid, "a connection could not be accepted");
        }
        let spare = self.spare().take();
        if spare.is_some() {
            drop(spare);
            let waiting = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
            if let Ok(Ok((stream, _))) = waiting {
                let manner = answer::Manner { close: true, head_only: false };
                let bytes = answer::bytes(&Answer::message(503, "out of descriptors"), manner);
                let _ = stream.try_write(&bytes);
            }
        }
        *self.spare() = TcpSocket::new_v4().ok();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Option<TcpSocket>> {
        self.spare.lock().expect("no thread panics while it holds this lock")
    }
}

fn serve(tasks: &TaskTracker, shared: &Arc<Shared>, stream: TcpStream, seat: OwnedSemaphorePermit) {
    let shared = Arc::clone(shared);
    tasks.spawn(async move {
        connection::serve(stream, shared).await;
        drop(seat);
    });
}

async fn turned_away(stream: TcpStream) {
    let answer = Answer::message(503, "too many connections here");
    let bytes = answer::bytes(&answer, answer::Manner { close: true, head_only: false });
    // It fits into the empty send buffer of a new connection; if not, the client gets a close.
    let _ = stream.try_write(&bytes);
    connection::drain(stream, Duration::from_millis(500)).await;
}

/// Listens on `port` of every address; port 0 takes a free one, the same for all.
///
/// An address family that this machine lacks is left out, as long as one address remains.
///
/// # Errors
/// A port that is taken, named in the message.
pub fn listen(addresses: &[IpAddr], port: u16) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for &address in addresses {
        let port = listeners.first().map_or(Ok(port), |first| first.local_addr().map(|bound| bound.port()))?;
        match listen_on(SocketAddr::new(address, port)) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_absent(&error) && address.is_ipv6() => {
                tracing::info!(%address, %error, "this address is not served");
            }
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("listen on {address} port {port}: {error}")));
            }
        }
    }
    Ok(listeners)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // What is accepted inherits both.
    socket.set_send_buffer_size(IN_KERNEL)?;
    socket.set_recv_buffer_size(IN_KERNEL)?;
    socket.bind(address)?;
    socket.listen(4096)
}

fn is_absent(error: &io::Error) -> bool {
    let unsupported = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unsupported)
}
