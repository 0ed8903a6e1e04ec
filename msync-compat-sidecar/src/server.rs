//! `tiny_http` behind the front: reads canonical requests from private unix sockets and answers them.
//!
//! Two servers, since `tiny_http` keeps a thread per kept connection: one for the few kept sockets, one for sockets
//! that carry a single request. A call that can be answered at once is answered by the thread that read it; any
//! other goes on as a task, so that a slow API server costs no thread. It never sees bytes the front has not judged.

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
use std::time::Duration;

use tiny_http::{HTTPVersion, Header, Request, Response};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::{self, Answer, Call, Outcome};

/// Threads that take requests, for each of the two servers.
const WORKERS: usize = 2;

/// The header that tells which announced request has arrived.
pub(crate) const ARRIVAL: &str = "Arrival";
/// Requests on their way to being read at once. `tiny_http` starts a thread for each that finds none waiting.
const ARRIVING: usize = 16;

/// Answers calls: the seam between HTTP and locks.
pub trait Locks: Send + Sync + 'static {
    /// Does what the call asks; it answers in time by itself.
    fn call(&self, call: Call) -> impl Future<Output = Outcome> + Send + 'static;
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
    announced: Mutex<HashMap<u64, OwnedSemaphorePermit>>,
    ids: AtomicU64,
}

/// A request announced to a [`Door`]; dropping it withdraws the announcement.
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
        self.door.arrived(self.id);
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
                door.serve(&inside, &*locks, &runtime);
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
        self.announced.lock().expect("no thread panics while it holds this lock").insert(id, place);
        Arrival { door: self, id }
    }

    fn arrived(&self, id: u64) {
        self.announced.lock().expect("no thread panics while it holds this lock").remove(&id);
    }

    fn open(path: PathBuf) -> io::Result<Self> {
        let server = Mutex::new(Some(Arc::new(bind(&path)?)));
        let arriving = Arc::new(Semaphore::new(ARRIVING));
        Ok(Self { path, server, arriving, announced: Mutex::default(), ids: AtomicU64::new(0) })
    }

    /// Serves until the sidecar closes; a server that ends before is replaced.
    fn serve<L: Locks>(&self, inside: &Inside, locks: &L, runtime: &Handle) {
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
    fn work<L: Locks>(&self, server: &tiny_http::Server, locks: &L, runtime: &Handle) {
        while let Ok(request) = server.recv() {
            let id = request.headers().iter().find(|header| header.field.equiv(ARRIVAL));
            if let Some(id) = id.and_then(|header| header.value.as_str().parse().ok()) {
                self.arrived(id);
            }
            if catch_unwind(AssertUnwindSafe(|| handle(request, locks, runtime))).is_err() {
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

fn handle<L: Locks>(mut request: Request, locks: &L, runtime: &Handle) {
    let mut body = Vec::new();
    if let Err(error) = request.as_reader().read_to_end(&mut body) {
        tracing::debug!(%error, "the front hung up");
        return;
    }
    let call = api::read(request.method().as_str(), request.url(), &body);
    // Without its reader the request no longer holds a thread of the server.
    let reply = Reply(Some(request.into_writer()));
    match call {
        Err(answer) => reply.send(answer),
        Ok(call) => answer(reply, Box::pin(locks.call(call)), runtime),
    }
}

type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Polls once here: a beat is answered from memory, and a task for it would cost two hand-overs between threads.
fn answer(reply: Reply, mut outcome: Pending, runtime: &Handle) {
    let _inside = runtime.enter();
    match outcome.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => reply.send(api::write(&outcome)),
        Poll::Pending => drop(runtime.spawn(async move { reply.send(api::write(&outcome.await)) })),
    }
}

/// The answer that a request is owed; dropped without one, by a panic, it says so.
struct Reply(Option<Box<dyn Write + Send>>);

impl Reply {
    fn send(mut self, answer: Answer) {
        if let Some(writer) = self.0.take() {
            respond(writer, answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(writer) = self.0.take() {
            respond(writer, Answer::message(500, "this request met a defect of the sidecar"));
        }
    }
}

/// An answer fits into the socket's buffer, and the front always reads: this does not block.
fn respond(mut writer: Box<dyn Write + Send>, answer: Answer) {
    let mut response = Response::from_data(answer.body).with_status_code(answer.status);
    if let Some(allow) = answer.allow {
        let header = Header::from_bytes("Allow", allow.as_bytes()).expect("a list of methods is ASCII");
        response.add_header(header);
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
