//! Lanes: the HTTP/2 connections of one client, of which it has one for as long as one is enough.
//!
//! hyper's pool keeps a single HTTP/2 connection per server, opens as many as there are requests before it has it, and
//! lets a request wait while all streams that the server allows are taken, which with watches may be for ever. Here the
//! streams are counted: when few are left the next connection is made in the background, and a request waits only if
//! there is no room at all. Who gives up a request that was not answered makes its lane suspect, so that the next one
//! takes another and does not wait until pings have shown that the peer is gone.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use http::{Request, Response, Uri};
use http_body::{Frame, SizeHint};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http2::{self, SendRequest},
    rt::Executor,
};
use hyper_util::{client::legacy::connect::Connection, rt::TokioTimer};
use kube::client::Body;
use tower::ServiceExt;

use super::{
    Broken, PATIENCE, PING_AFTER, PING_TIMEOUT,
    dial::{Dial, OnRuntime},
    socket::Socket,
};
use crate::clock::{BootClock, Clock, Moment};

/// What a server allows before its settings have come: nothing, so a change shows that they have.
const UNSET: usize = 0;

/// How long settings are waited for. They are the first thing that a server sends, so one without is none.
const SETTINGS_TIMEOUT: Duration = Duration::from_secs(5);

/// How often they are looked for, since hyper does not say when they come.
const SETTINGS_POLL: Duration = Duration::from_millis(1);

/// How often a request is handed to a connection that turns out to have ended before it was sent.
const TRIES: usize = 3;

/// The HTTP/2 connections to one server.
#[derive(Clone)]
pub(super) struct Lanes(Arc<Inner>);

struct Inner {
    dial: Dial,
    server: Uri,
    runtime: OnRuntime,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lanes: Vec<Arc<Lane>>,
    /// The connection that is being made.
    opening: Option<Opening>,
    /// The server has no HTTP/2.
    only_http1: bool,
}

type Opening = Shared<BoxFuture<'static, Result<(), Broken>>>;

/// One connection.
struct Lane {
    requests: SendRequest<Body>,
    /// How many streams the server allows at once.
    limit: usize,
    use_: Mutex<Use>,
}

/// What is known of a connection.
struct Use {
    streams: usize,
    /// When something last came from the server.
    heard: Moment,
    /// Somebody has given up waiting for an answer, and nothing has come since.
    suspect: bool,
}

/// A stream of a lane, taken until this is dropped.
struct Stream {
    lane: Arc<Lane>,
    begun: Moment,
    answered: bool,
}

/// Where a request may go.
enum Way {
    Stream(Stream),
    Wait(Opening),
    Http1,
}

/// What became of a request.
pub(super) enum Sent {
    Answered(Response<Streamed>),
    /// Not sent: the server has no HTTP/2.
    OnlyHttp1(Request<Body>),
}

/// The body of an answer, which keeps its stream.
pub(super) struct Streamed {
    body: Incoming,
    stream: Option<Stream>,
}

// === impl Lanes ===

impl Lanes {
    pub(super) fn new(dial: Dial, server: Uri, runtime: OnRuntime) -> Self {
        Self(Arc::new(Inner { dial, server, runtime, state: Mutex::default() }))
    }

    /// Sends a request and returns its answer. Gives the stream up when dropped.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Sent, Broken> {
        for _ in 0..TRIES {
            let Some(mut stream) = self.stream().await? else { return Ok(Sent::OnlyHttp1(request)) };
            let answer = stream.lane.requests.clone().try_send_request(request).await;
            stream.answered();
            match answer {
                Ok(response) => {
                    return Ok(Sent::Answered(response.map(|body| Streamed { body, stream: Some(stream) })));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Broken::of(&error.into_error())),
                },
            }
        }
        Err(Broken("every connection ended before the request could be sent".to_owned()))
    }

    /// Takes a stream; `None` where there is no HTTP/2.
    async fn stream(&self) -> Result<Option<Stream>, Broken> {
        loop {
            match self.way() {
                Way::Stream(stream) => return Ok(Some(stream)),
                Way::Http1 => return Ok(None),
                Way::Wait(opening) => opening.await?,
            }
        }
    }

    /// Chooses the oldest lane with room, so that what is not needed empties.
    fn way(&self) -> Way {
        let mut state = self.0.state();
        if state.only_http1 {
            return Way::Http1;
        }
        state.lanes.retain(|lane| !lane.requests.is_closed() && !lane.is_deserted());
        let stream = state.lanes.iter().find_map(Lane::take);
        match stream {
            Some(stream) if state.has_room() => Way::Stream(stream),
            Some(stream) => {
                drop(self.open(&mut state)); // nobody has to wait for it
                Way::Stream(stream)
            }
            None => Way::Wait(self.open(&mut state)),
        }
    }

    /// Begins to make a connection, unless one is being made. It goes on if nobody waits for it any more.
    fn open(&self, state: &mut State) -> Opening {
        if let Some(opening) = &state.opening {
            return opening.clone();
        }
        let (done, opened) = tokio::sync::oneshot::channel();
        let opened =
            opened.map(|told| told.unwrap_or_else(|_| Err(Broken("the runtime of the client has ended".to_owned()))));
        let opening = opened.boxed().shared();
        state.opening = Some(opening.clone());
        let inner = Arc::clone(&self.0);
        self.0.runtime.execute(async move {
            let opened = inner.connect().await;
            let result = inner.opened(opened);
            let _ = done.send(result);
        });
        opening
    }
}

// === impl Inner ===

impl Inner {
    /// Makes a connection; `None` if it speaks HTTP/1.1, and is of no use here.
    async fn connect(&self) -> Result<Option<Lane>, Broken> {
        let socket =
            self.dial.clone().oneshot(self.server.clone()).await.map_err(|error| Broken::of(error.as_ref()))?;
        if !socket.connected().is_negotiated_h2() {
            return Ok(None);
        }
        self.shake_hands(socket).await.map(Some)
    }

    async fn shake_hands(&self, socket: Socket) -> Result<Lane, Broken> {
        let (requests, connection) = http2::Builder::new(self.runtime.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_max_send_streams(UNSET)
            .handshake::<_, Body>(socket)
            .await
            .map_err(|error| Broken::of(&error))?;
        let give_up = BootClock.now() + SETTINGS_TIMEOUT;
        while connection.current_max_send_streams() == UNSET {
            if BootClock.now() >= give_up || requests.is_closed() {
                return Err(Broken(format!("{} opens HTTP/2 and sends no settings", self.server)));
            }
            BootClock.sleep_until(BootClock.now() + SETTINGS_POLL).await;
        }
        let limit = connection.current_max_send_streams();
        self.runtime.execute(async move {
            match connection.await {
                Ok(()) => tracing::debug!("a connection to the API server has ended"),
                Err(error) => tracing::debug!(%error, "a connection to the API server has ended"),
            }
        });
        Ok(Lane::new(requests, limit))
    }

    /// Notes a connection that was made, or was not.
    fn opened(&self, made: Result<Option<Lane>, Broken>) -> Result<(), Broken> {
        let mut state = self.state();
        state.opening = None;
        match made {
            Ok(Some(lane)) => {
                tracing::debug!(server = %self.server, streams = lane.limit, "connected to the API server");
                state.lanes.push(Arc::new(lane));
            }
            Ok(None) => state.only_http1 = true,
            Err(why) => return Err(why),
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    /// Says whether so many streams are left that the next connection need not be thought of: a fifth of one.
    fn has_room(&self) -> bool {
        let room = |lane: &Arc<Lane>| {
            let used = lane.used();
            if used.suspect { 0 } else { lane.limit.saturating_sub(used.streams) }
        };
        let least = self.lanes.iter().map(|lane| lane.limit / 5).min().unwrap_or(0);
        self.lanes.iter().map(room).fold(0, usize::saturating_add) >= least
    }
}

// === impl Lane ===

impl Lane {
    fn new(requests: SendRequest<Body>, limit: usize) -> Self {
        let new = Use { streams: 0, heard: BootClock.now(), suspect: false };
        Self { requests, limit, use_: Mutex::new(new) }
    }

    /// Takes a stream, if there is one and the peer seems to live.
    fn take(self: &Arc<Self>) -> Option<Stream> {
        let mut used = self.used();
        if used.suspect || used.streams >= self.limit {
            return None;
        }
        used.streams += 1;
        Some(Stream { lane: Arc::clone(self), begun: BootClock.now(), answered: false })
    }

    /// Says whether nobody waits on it for a peer that seems to be gone. Kept, such lanes would become ever more while
    /// something between us and a dead server goes on answering pings.
    fn is_deserted(&self) -> bool {
        let used = self.used();
        used.suspect && used.streams == 0
    }

    fn heard(&self) {
        let mut used = self.used();
        used.heard = BootClock.now();
        used.suspect = false;
    }

    fn used(&self) -> MutexGuard<'_, Use> {
        self.use_.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Stream ===

impl Stream {
    fn answered(&mut self) {
        self.answered = true;
        self.lane.heard();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let now = BootClock.now();
        let mut used = self.lane.used();
        used.streams -= 1;
        let silent = used.heard < self.begun && now.since(self.begun) >= PATIENCE;
        if !self.answered && silent && !used.suspect {
            used.suspect = true;
            tracing::debug!("a connection to the API server is silent: what comes next takes another");
        }
    }
}

// === impl Streamed ===

impl Streamed {
    pub(super) fn plain(body: Incoming) -> Self {
        Self { body, stream: None }
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                if let Some(stream) = &self.stream {
                    stream.lane.heard();
                }
            }
            // It has ended: the stream is free before anybody drops this.
            Poll::Ready(_) => self.stream = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
