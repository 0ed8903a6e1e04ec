//! `tiny_http` behind the front: reads canonical requests from private unix sockets and answers them.
//!
//! Two servers, since `tiny_http` keeps a thread per kept connection: one for the few kept sockets, one for sockets
//! that carry a single request. A call that can be answered at once is answered by the thread that read it; any
//! other goes on as a task, so that a slow API server or a long wait costs no thread. It never sees bytes the front has
//! not judged. A request that the front has withdrawn, since its client hung up, is dropped wherever it is.

#![allow(clippy::disallowed_methods, reason = "measures how long answers take, and judges no lock")]

use std::collections::HashMap;
use std::fmt;
use std::fs::{DirBuilder, Permissions};
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tiny_http::{HTTPVersion, Header, Request, Response};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Answer, Outcome, Raw};
use crate::metrics::Answered;

/// Threads that take requests, for each of the two servers.
const WORKERS: usize = 2;

/// The header that tells which announced request has arrived.
pub(crate) const ARRIVAL: &str = "Arrival";
/// The header that tells which client asks.
pub(crate) const CLIENT: &str = "Msync-Client-Id";
/// A body up to this fits into a socket's buffer, whatever the kernel's settings.
const SMALL: usize = 64 * 1024;
/// Requests on their way to being read at once. `tiny_http` starts a thread for each that finds none waiting.
const ARRIVING: usize = 16;

/// Answers calls: the seam between HTTP and locks.
pub trait Locks: Send + Sync + 'static {
    /// Does what the request asks; it answers in time by itself. Dropping the future gives the request up.
    fn call(&self, request: api::Request) -> impl Future<Output = Outcome> + Send + 'static;

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
#[derive(Debug, Clone)]
pub struct Doors(Arc<Inside>);

#[derive(Debug)]
struct Inside {
    directory: PathBuf,
    kept: Door,
    once: Door,
    closing: AtomicBool,
}

/// One private socket and the server behind it.
pub(crate) struct Door {
    path: PathBuf,
    server: Mutex<Option<Arc<tiny_http::Server>>>,
    arriving: Arc<Semaphore>,
    announced: Mutex<HashMap<u64, Announced>>,
    ids: AtomicU64,
}

/// A request that the front waits for an answer to.
struct Announced {
    /// Until it has been read.
    place: Option<OwnedSemaphorePermit>,
    withdrawn: CancellationToken,
}

/// A request announced to a [`Door`]; dropping it withdraws the request, on its way or while it waits for its answer.
pub(crate) struct Arrival<'a> {
    door: &'a Door,
    id: u64,
}

impl Arrival<'_> {
    /// What the request must say in its header [`ARRIVAL`].
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if let Some(announced) = self.door.announced().remove(&self.id) {
            announced.withdrawn.cancel();
        }
    }
}

impl Server {
    /// Starts the servers in a new private directory below `parent`.
    ///
    /// # Errors
    /// The directory or a socket in it cannot be made.
    pub fn start<L: Locks>(locks: &Arc<L>, parent: &Path, runtime: &Handle) -> io::Result<Self> {
        let directory = private_directory(parent)?;
        let (kept, once) = (Door::open(directory.join("kept"))?, Door::open(directory.join("once"))?);
        let inside = Arc::new(Inside { directory, kept, once, closing: AtomicBool::new(false) });
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
        if let Err(error) = std::fs::remove_dir_all(&self.doors.0.directory) {
            tracing::debug!(%error, "the directory of the private sockets could not be removed");
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
}

impl Door {
    /// The socket's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the server begin anew, after its acceptor ended. Connections that it kept are dead then.
    pub(crate) fn reopen(&self) {
        if let Some(server) = self.server() {
            server.unblock();
        }
    }

    /// Waits until few enough requests are on their way, so that a burst of them starts few threads.
    pub(crate) async fn expect_arrival(&self) -> Arrival<'_> {
        let place = Arc::clone(&self.arriving).acquire_owned().await.expect("this semaphore is never closed");
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let announced = Announced { place: Some(place), withdrawn: CancellationToken::new() };
        self.announced().insert(id, announced);
        Arrival { door: self, id }
    }

    /// What tells that the request is withdrawn; `None` if it is already.
    fn arrived(&self, id: u64) -> Option<CancellationToken> {
        let mut announced = self.announced();
        let announced = announced.get_mut(&id)?;
        announced.place = None;
        Some(announced.withdrawn.clone())
    }

    fn announced(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Announced>> {
        self.announced.lock().expect("no thread panics while it holds this lock")
    }

    fn open(path: PathBuf) -> io::Result<Self> {
        let server = Mutex::new(Some(Arc::new(bind(&path)?)));
        let arriving = Arc::new(Semaphore::new(ARRIVING));
        Ok(Self { path, server, arriving, announced: Mutex::default(), ids: AtomicU64::new(0) })
    }

    /// Serves until the sidecar closes; a server that ends before is replaced.
    fn serve<L: Locks>(&self, inside: &Inside, locks: &Arc<L>, runtime: &Handle) {
        loop {
            let server = self.server();
            if let Some(server) = &server {
                thread::scope(|scope| {
                    for _ in 0..WORKERS {
                        scope.spawn(|| self.work(server, locks, runtime));
                    }
                });
            }
            *self.slot() = None;
            drop(server);
            if inside.closing.load(Ordering::Acquire) {
                return;
            }
            self.renew();
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
            if catch_unwind(AssertUnwindSafe(|| handle(request, withdrawn, locks, runtime))).is_err() {
                tracing::error!("a request met a panic");
            }
        }
        server.unblock();
    }

    fn server(&self) -> Option<Arc<tiny_http::Server>> {
        self.slot().clone()
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<tiny_http::Server>>> {
        self.server.lock().expect("no thread panics while it holds this lock")
    }

    fn renew(&self) {
        // The old socket's file is gone or dead; binding says what matters.
        let _ = std::fs::remove_file(&self.path);
        match bind(&self.path) {
            Ok(server) => {
                *self.slot() = Some(Arc::new(server));
            }
            Err(error) => {
                tracing::error!(%error, "the inner server could not be started again");
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Door").field("path", &self.path).finish_non_exhaustive()
    }
}

fn bind(path: &Path) -> io::Result<tiny_http::Server> {
    tiny_http::Server::http_unix(path).map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

fn field<'a>(request: &'a Request, name: &'static str) -> Option<&'a str> {
    let found = request.headers().iter().find(|header| header.field.equiv(name));
    found.map(|header| header.value.as_str())
}

fn handle<L: Locks>(mut request: Request, withdrawn: CancellationToken, locks: &Arc<L>, runtime: &Handle) {
    let begun = Instant::now();
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
    let reply = Reply { writer: Some(request.into_writer()), locks: Arc::clone(locks), method, wait, begun };
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

/// The answer that a request is owed; dropped without one, by a panic, it says so.
struct Reply<L: Locks> {
    writer: Option<Box<dyn Write + Send>>,
    locks: Arc<L>,
    method: &'static str,
    wait: bool,
    begun: Instant,
}

impl<L: Locks> Reply<L> {
    fn send(mut self, answer: Answer) {
        self.respond(answer);
    }

    /// A large answer may have to wait for the front, which must not wait for this thread then.
    fn send_from_task(self, answer: Answer) {
        if answer.body.len() <= SMALL {
            self.send(answer);
        } else {
            drop(tokio::task::spawn_blocking(move || self.send(answer)));
        }
    }

    /// Nobody is there any more to hear it.
    fn withdraw(mut self) {
        self.writer = None;
    }

    fn respond(&mut self, answer: Answer) {
        let Some(writer) = self.writer.take() else { return };
        let answered = Answered { method: self.method, wait: self.wait, status: answer.status };
        respond(writer, answer);
        self.locks.answered(&answered, self.begun.elapsed());
    }
}

impl<L: Locks> Drop for Reply<L> {
    fn drop(&mut self) {
        self.respond(Answer::message(500, "this request met a defect of the sidecar"));
    }
}

fn respond(mut writer: Box<dyn Write + Send>, answer: Answer) {
    // The front reads answers by their length, however long.
    let response = Response::from_data(answer.body).with_status_code(answer.status);
    let mut response = response.with_chunked_threshold(usize::MAX);
    let kind = ("Content-Type", answer.kind.media_type().to_owned());
    for (name, value) in answer.fields.into_iter().chain([kind]) {
        response.add_header(Header::from_bytes(name, value).expect("our own fields are ASCII"));
    }
    let written = response.raw_print(&mut writer, HTTPVersion(1, 1), &[], false, None).and_then(|()| writer.flush());
    if let Err(error) = written {
        tracing::debug!(%error, "the front hung up");
    }
}

/// A directory that nobody else may enter, under a name that nobody guesses.
fn private_directory(parent: &Path) -> io::Result<PathBuf> {
    let nonce = getrandom::u64().map_err(io::Error::other)?;
    let path = parent.join(format!("msync-sidecar-{nonce:016x}"));
    DirBuilder::new().mode(0o700).create(&path)?;
    // The mode given above passes through the umask, which can only take bits away: the owner's are needed.
    std::fs::set_permissions(&path, Permissions::from_mode(0o700))?;
    Ok(path)
}
