//! `tiny_http` behind the front: reads canonical requests from private unix sockets and answers them.
//!
//! Two servers, since `tiny_http` keeps a thread per kept connection: one for the few kept sockets, one for sockets
//! that carry a single request. A call that can be answered at once is answered by the thread that read it; any
//! other goes on as a task, so that a slow API server or a long wait costs no thread. It never sees bytes the front has
//! not judged. A request that the front has withdrawn, since its client hung up, is dropped wherever it is.

mod door;
mod reply;

pub(crate) use door::Door;

use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tiny_http::Request;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Name, Outcome, Raw};
use crate::metrics::Answered;
use crate::sparse::Sparse;
use reply::Reply;

static PANICS: Sparse = Sparse::new();
static UNMADE: Sparse = Sparse::new();

/// Threads that take requests, for each of the two servers.
const WORKERS: usize = 2;

/// The header that tells which announced request has arrived.
pub(crate) const ARRIVAL: &str = "Arrival";
/// The header that tells which client asks.
pub(crate) const CLIENT: &str = "Msync-Client-Id";

/// Answers calls: the seam between HTTP and locks.
pub trait Locks: Send + Sync + 'static {
    /// Does what the request asks; it answers in time by itself. Dropping the future gives the request up.
    fn call(&self, request: api::Request) -> impl Future<Output = Outcome> + Send + 'static;

    /// The lock that a request names, if it is of the client that holds it: said from memory and at once. Such requests have
    /// room of their own and go first.
    fn beats_for(&self, _request: Raw<'_>) -> Option<Name> {
        None
    }

    /// Takes note of an answer, and of how long it took.
    fn answered(&self, _answered: &Answered, _took: Duration) {}
}

/// The running servers; dropping it ends them and removes their sockets.
#[derive(Debug)]
pub struct Server {
    doors: Doors,
    threads: Vec<JoinHandle<()>>,
}

/// Where the front finds the servers.
#[derive(Clone)]
pub struct Doors(Arc<Inside>);

/// See [`Locks::beats_for`].
type BeatsFor = Box<dyn Fn(Raw<'_>) -> Option<Name> + Send + Sync>;

struct Inside {
    kept: Door,
    once: Door,
    closing: AtomicBool,
    beats_for: BeatsFor,
}

impl Server {
    /// Starts the servers, whose sockets are made in the first of these directories where that works.
    ///
    /// # Errors
    /// No socket can be made anywhere: that of the last directory, which the message names.
    pub fn start<L: Locks>(locks: &Arc<L>, directories: &[PathBuf], runtime: &Handle) -> io::Result<Self> {
        let (kept, once) = (Door::open(directories)?, Door::open(directories)?);
        let asked = Arc::clone(locks);
        let beats_for: BeatsFor = Box::new(move |raw| asked.beats_for(raw));
        let inside = Arc::new(Inside { kept, once, closing: AtomicBool::new(false), beats_for });
        let threads = [false, true].map(|once| {
            let (inside, locks, runtime) = (Arc::clone(&inside), Arc::clone(locks), runtime.clone());
            thread::Builder::new().name("tiny-http".into()).spawn(move || {
                let door = if once { &inside.once } else { &inside.kept };
                door.serve(&inside, &locks, &runtime);
            })
        });
        Ok(Self { doors: Doors(inside), threads: threads.into_iter().collect::<io::Result<_>>()? })
    }

    /// Where the front finds the servers.
    pub fn doors(&self) -> Doors {
        self.doors.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.doors.0.closing.store(true, Ordering::Release);
        self.doors.kept().reopen();
        self.doors.once().reopen();
        for thread in self.threads.drain(..) {
            // A panic in it was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Doors {
    /// The socket for connections that are kept.
    pub(crate) fn kept(&self) -> &Door {
        &self.0.kept
    }

    /// The socket for connections that carry one request.
    pub(crate) fn once(&self) -> &Door {
        &self.0.once
    }

    /// See [`Locks::beats_for`].
    pub(crate) fn beats_for(&self, request: Raw<'_>) -> Option<Name> {
        (self.0.beats_for)(request)
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Doors").field(&self.0.kept).field(&self.0.once).finish()
    }
}

impl Door {
    /// Serves until the sidecar closes; a server that ends before is replaced.
    fn serve<L: Locks>(&self, inside: &Inside, locks: &Arc<L>, runtime: &Handle) {
        loop {
            if let Some(server) = self.server() {
                thread::scope(|scope| {
                    for _ in 0..WORKERS {
                        scope.spawn(|| self.work(&server, locks, runtime));
                    }
                });
            }
            self.close();
            if inside.closing.load(Ordering::Acquire) {
                return;
            }
            if let Err(error) = self.renew() {
                if let Some(unsaid) = UNMADE.say() {
                    tracing::error!(%error, unsaid, "the inner server could not be started again");
                }
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }

    /// Takes requests until the server ends, then wakes the next worker, since an error is told to one of them only.
    fn work<L: Locks>(&self, server: &tiny_http::Server, locks: &Arc<L>, runtime: &Handle) {
        while let Ok(request) = server.recv() {
            // A kept socket announces nothing: its calls are short.
            let withdrawn = match field(&request, ARRIVAL).and_then(|id| id.parse().ok()) {
                Some(id) => self.arrived(id),
                None => Some(CancellationToken::new()),
            };
            let Some(withdrawn) = withdrawn else { continue };
            if catch_unwind(AssertUnwindSafe(|| handle(request, withdrawn, locks, runtime))).is_err()
                && let Some(unsaid) = PANICS.say()
            {
                tracing::error!(unsaid, "a request met a panic");
            }
        }
        server.unblock();
    }
}

fn field<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    let found = request.headers().iter().find(|header| header.field.equiv(name));
    found.map(|header| header.value.as_str())
}

fn handle<L: Locks>(mut request: Request, withdrawn: CancellationToken, locks: &Arc<L>, runtime: &Handle) {
    let mut body = Vec::new();
    if let Err(error) = request.as_reader().read_to_end(&mut body) {
        tracing::debug!(%error, "the front hung up");
        return;
    }
    let client = field(&request, CLIENT);
    let raw = Raw { method: request.method().as_str(), target: request.url(), client, body: &body };
    let (method, wait) = (known(raw.method), api::long_poll(raw.target).is_some());
    let read = api::read(raw);
    // Without its reader the request no longer holds a thread of the server.
    let reply = Reply::new(request.into_writer(), Arc::clone(locks), method, wait);
    match read {
        Err(answer) => reply.send(answer),
        Ok(call) => answer(reply, withdrawn, Box::pin(locks.call(call)), runtime),
    }
}

/// A method as a label of figures, of which there must be few.
fn known(method: &str) -> &'static str {
    ["GET", "HEAD", "PUT", "POST", "DELETE"].into_iter().find(|known| *known == method).unwrap_or("other")
}

type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Polls once here: a beat is answered from memory, and a task for it would cost two hand-overs between threads.
fn answer<L: Locks>(reply: Reply<L>, withdrawn: CancellationToken, mut outcome: Pending, runtime: &Handle) {
    let _inside = runtime.enter();
    if let Poll::Ready(outcome) = outcome.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return reply.send(api::write(&outcome));
    }
    drop(runtime.spawn(async move {
        match withdrawn.run_until_cancelled_owned(outcome).await {
            Some(outcome) => reply.send_from_task(api::write(&outcome)),
            None => reply.withdraw(),
        }
    }));
}
