//! The thread on which clients with the real clock live: their drivers, inboxes, timers and calls, and the kube clients
//! that msync makes.
//!
//! A user's runtime may end with the test that made it, stand still because nobody drives it, be blocked by a computation,
//! or not exist at all; a lock must not notice. So there is one thread per process, with a current-thread runtime of tokio,
//! started at first use and never ended. It runs nothing of a user's: no body, no destructor of one.

use std::{
    future::pending,
    panic::resume_unwind,
    pin::pin,
    sync::{OnceLock, mpsc::sync_channel},
    thread::{self, ThreadId},
    time::Duration,
};

use futures::{
    Stream, StreamExt,
    future::Either,
    stream::{once, poll_fn},
};
use tokio::{
    runtime::{Builder, Handle, RuntimeFlavor},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

/// Where a client's background work runs: what keeps its locks alive and talks to its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Home {
    /// On a thread of msync's own. No runtime is needed, and one that ends, stands still or is blocked takes nothing away.
    Own,
    /// On the tokio runtime of whoever needs it first, for clocks that such a runtime moves. Where that has ended, a guard
    /// says [`RuntimeEnded`](crate::LossReason::RuntimeEnded).
    Caller,
}

static OWN: OnceLock<Own> = OnceLock::new();

/// The running thread.
struct Own {
    handle: Handle,
    thread: ThreadId,
    process: u32,
}

fn own() -> &'static Own {
    OWN.get_or_init(Own::start)
}

// === impl Own ===

impl Own {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("the system gives a poll descriptor");
        let handle = runtime.handle().clone();
        let run = move || runtime.block_on(pending::<()>());
        let thread = thread::Builder::new().name("msync".to_owned()).spawn(run).expect("the system gives a thread");
        Self { handle, thread: thread.thread().id(), process: std::process::id() }
    }
}

/// Returns the runtime of a home. A caller without one is taken in.
fn handle(home: Home) -> Handle {
    match home {
        Home::Own => own().handle.clone(),
        Home::Caller => Handle::try_current().unwrap_or_else(|_| own().handle.clone()),
    }
}

/// Starts a task at a home.
pub(crate) fn spawn<T: Send + 'static>(home: Home, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    handle(home).spawn(task)
}

/// Starts a task that ends when what this returns is dropped.
fn started<T: Send + 'static>(home: Home, task: impl Future<Output = T> + Send + 'static) -> JoinSet<T> {
    let mut tasks = JoinSet::new();
    tasks.spawn_on(task, &handle(home));
    tasks
}

/// Makes something that starts tasks of its own as soon as it is made.
pub(crate) fn within<T>(home: Home, make: impl FnOnce() -> T) -> T {
    let _context = handle(home).enter();
    make()
}

/// Makes a timer that any executor may poll.
#[expect(clippy::disallowed_methods, reason = "the timer behind the real clock")]
pub(crate) fn sleep(duration: Duration) -> tokio::time::Sleep {
    within(Home::Own, || tokio::time::sleep(duration))
}

/// Runs a future at a home, for a caller on any executor. Dropping what this returns drops the future.
pub(crate) async fn run<T: Send + 'static>(home: Home, future: impl Future<Output = T> + Send + 'static) -> T {
    match home {
        Home::Caller => future.await,
        Home::Own => match started(home, future).join_next().await.expect("one was started") {
            Ok(value) => value,
            Err(ended) => resume_unwind(ended.into_panic()), // the runtime never ends, and nobody else aborts the task
        },
    }
}

/// Runs what blocks its thread on one that nothing else runs on, for a caller on any executor. Dropping what this returns
/// does not stop it.
#[cfg(feature = "kube")]
pub(crate) async fn run_blocking<T: Send + 'static>(home: Home, work: impl FnOnce() -> T + Send + 'static) -> T {
    match handle(home).spawn_blocking(work).await {
        Ok(value) => value,
        Err(ended) => resume_unwind(ended.into_panic()), // nobody aborts it once it runs
    }
}

/// Polls a stream at a home, for a caller on any executor, from the first poll on. Dropping what this returns drops it.
pub(crate) fn stream<T: Send + 'static>(
    home: Home,
    stream: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = T> + Send {
    match home {
        Home::Caller => Either::Left(stream),
        Home::Own => Either::Right(once(async move { pumped(home, stream) }).flatten()),
    }
}

fn pumped<T: Send + 'static>(
    home: Home,
    stream: impl Stream<Item = T> + Send + 'static,
) -> impl Stream<Item = T> + Send {
    let (sender, mut items) = mpsc::channel(1);
    let pump = started(home, async move {
        let mut stream = pin!(stream);
        while let Some(item) = stream.next().await {
            if sender.send(item).await.is_err() {
                return;
            }
        }
    });
    poll_fn(move |cx| {
        let _ends_with_the_stream = &pump;
        items.poll_recv(cx)
    })
}

/// Blocks the thread until a task of the own thread has ended, at the most so long.
pub(crate) fn block_on(task: impl Future<Output = ()> + Send + 'static, most: Duration) {
    let (ended, end) = sync_channel::<()>(0);
    spawn(Home::Own, async move {
        task.await;
        drop(ended);
    });
    let _ = end.recv_timeout(most);
}

/// Says whether this thread may block until the own thread has done something.
///
/// With `foreign` that something needs a runtime of the user's as well, as the worker of a kube client does that was handed
/// in: it may be the one that this thread drives.
pub(crate) fn may_block(foreign: bool) -> bool {
    if thread::current().id() == own().thread || is_forked() {
        return false;
    }
    let drives_one = || Handle::try_current().is_ok_and(|user| user.runtime_flavor() == RuntimeFlavor::CurrentThread);
    !foreign || !(tokio::task::try_id().is_some() || drives_one())
}

/// What an error says in the child of a fork.
pub(crate) const FORKED: &str = "this process was forked from one that used msync, and a fork copies no threads: fork before \
                                 first use, or make the child another program (exec)";

/// Says whether what lives there is a copy, in a process forked from the one that started its thread.
pub(crate) fn is_forked_from(home: Home) -> bool {
    home == Home::Own && is_forked()
}

/// Says whether this process is a copy of the one that started the thread: a fork copies no threads.
fn is_forked() -> bool {
    OWN.get().is_some_and(|own| own.process != std::process::id())
}
