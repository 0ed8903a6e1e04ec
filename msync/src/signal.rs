//! The end of a process by a signal: the first begins a shutdown in order, a second one ends the process.
//!
//! It listens at the client's home, so that it works under any executor, and beside a body that blocks one: just there a
//! second signal is wanted.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{Error, engine::Engine, runtime};

/// The exit code of a process that a signal ended, less the signal's number: the convention of shells.
const SIGNALLED: i32 = 128;

/// Waits for a signal, to shut an engine down. Dropped before the signal came, it leaves the engine as it is; dropped
/// later, it begins the shutdown.
pub(crate) struct Signalled {
    came: oneshot::Receiver<()>,
    begin: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<()>,
}

/// What its listener has of it.
struct Listener {
    came: oneshot::Sender<()>,
    begin: oneshot::Receiver<()>,
    /// Dropped at the end.
    _ended: oneshot::Sender<()>,
}

// === impl Signalled ===

impl Signalled {
    /// Listens from now on. The shutdown takes no longer than `most`.
    pub(crate) fn wait(engine: &Arc<Engine>, most: Duration) -> Result<Self, Error> {
        let signals = runtime::within(engine.home, Signals::new)
            .map_err(|error| Error::Store { context: "cannot listen to signals".into(), cause: Arc::new(error) })?;
        let ((told, came), (begin, begun), (end, ended)) = (oneshot::channel(), oneshot::channel(), oneshot::channel());
        let listener = Listener { came: told, begin: begun, _ended: end };
        runtime::spawn(engine.home, listener.run(signals, Arc::clone(engine), most));
        Ok(Self { came, begin: Some(begin), ended })
    }

    /// Lets the shutdown begin, at once or when the signal comes.
    pub(crate) fn begin(&mut self) {
        self.begin = None;
    }

    /// Completes at the signal.
    pub(crate) async fn came(&mut self) {
        if (&mut self.came).await.is_err() {
            std::future::pending::<()>().await; // a caller's runtime has ended, and took the listener with it
        }
    }

    /// Completes when the shutdown after the signal has come to its end.
    pub(crate) async fn ended(mut self) {
        self.begin();
        let _ = self.ended.await;
    }
}

// === impl Listener ===

impl Listener {
    async fn run(mut self, mut signals: Signals, engine: Arc<Engine>, most: Duration) {
        tokio::select! {
            biased;
            () = self.came.closed() => return, // first: both may be there when this thread comes to look
            _ = signals.next() => {}
        }
        if self.came.send(()).is_err() {
            return;
        }
        let shutdown = async {
            let _ = self.begin.await;
            engine.shut_down(most).await;
        };
        tokio::select! {
            () = shutdown => {}
            number = signals.next() => {
                tracing::warn!(signal = number, "a second signal came during the shutdown, and the process ends");
                std::process::exit(SIGNALLED + number);
            }
        }
    }
}

/// The signals that ask a process to end.
#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

// === impl Signals ===

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns the number of the next.
    async fn next(&mut self) -> i32 {
        use tokio::signal::unix::SignalKind;
        tokio::select! {
            Some(()) = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            Some(()) = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            else => std::future::pending().await,
        }
    }
}

/// Ctrl-c, where there are no signals.
#[cfg(not(unix))]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    /// Returns the number that it would have elsewhere.
    async fn next(&mut self) -> i32 {
        match self.0.recv().await {
            Some(()) => 2,
            None => std::future::pending().await,
        }
    }
}
