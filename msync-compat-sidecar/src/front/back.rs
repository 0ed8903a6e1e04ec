//! The way from the front to `tiny_http`: private unix sockets that carry canonical requests only.
//!
//! `tiny_http` gives each kept connection a thread for its life, and a connection that announces `Connection: close`
//! only for the reading of its request. So a few kept sockets carry the usual short calls; when all are busy, perhaps
//! with calls that wait for the API server, a request goes over a socket of its own. No call waits behind another.

use std::io;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::budget::{Budget, Share};
use crate::api::{self, Answer, Kind, Name, Raw};
use crate::server::{ARRIVAL, CLIENT, Door, Doors};
use crate::sparse::Sparse;

static GONE: Sparse = Sparse::new();

/// Kept sockets of each lane, and so threads of `tiny_http` that live on.
const KEPT: usize = 8;
/// How long a request waits for a kept socket before it opens its own.
const PATIENCE: Duration = Duration::from_millis(1);
/// An answer whose head is longer than this is no answer of ours.
const MAX_HEAD: usize = 8 * 1024;

/// A request that the front has judged, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Canonical {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) client: Option<String>,
    pub(super) body: Vec<u8>,
}

/// How a request is passed on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Its answer may be long in coming, so it takes no kept socket.
    pub(super) long: bool,
    /// It goes beside all that are no beats.
    pub(super) beat: bool,
}

/// The sockets to `tiny_http`.
#[derive(Debug)]
pub(super) struct Back {
    doors: Doors,
    lanes: [Lane; 2],
    budget: Budget,
    opening: tokio::sync::Mutex<()>,
}

/// Some kept sockets. Beats have a lane of their own.
#[derive(Debug)]
struct Lane {
    turns: Semaphore,
    kept: Mutex<Vec<UnixStream>>,
}

impl Lane {
    fn new() -> Self {
        Self { turns: Semaphore::new(KEPT), kept: Mutex::default() }
    }

    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Some(turn);
        }
        timeout(PATIENCE, self.turns.acquire()).await.ok()?.ok()
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<UnixStream>> {
        self.kept.lock().expect("no thread panics while it holds this lock")
    }
}

impl Back {
    pub(super) fn new(doors: Doors, budget: Budget) -> Self {
        Self { doors, lanes: [Lane::new(), Lane::new()], budget, opening: tokio::sync::Mutex::default() }
    }

    /// Of whom the request is; see [`crate::server::Locks::beats_for`].
    pub(super) fn beats_for(&self, request: &Canonical) -> Option<Name> {
        let Canonical { method, target, client, body } = request;
        self.doors.beats_for(Raw { method, target, client: client.as_deref(), body })
    }

    /// The answer to one request, without a time limit of its own, and what it takes of the budget.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the request.
    pub(super) async fn ask(&self, request: &Canonical, pace: Pace) -> io::Result<(Answer, Share)> {
        let lane = &self.lanes[usize::from(pace.beat)];
        if !pace.long
            && let Some(turn) = lane.turn().await
            && let Ok(answer) = self.ask_kept(request, lane, turn).await
        {
            return Ok(answer);
        }
        self.ask_once(request, pace.beat).await
    }

    /// As [`Back::ask`] for a beat, if requests are served on both ways; the answer of one way says nothing of the other.
    ///
    /// # Cancel safety
    /// As [`Back::ask`].
    pub(super) async fn probe(&self, request: &Canonical) -> io::Result<(Answer, Share)> {
        let lane = &self.lanes[1];
        self.ask_once(request, true).await?;
        match lane.turn().await {
            Some(turn) => self.ask_kept(request, lane, turn).await,
            None => self.ask_once(request, true).await,
        }
    }

    /// Over a kept socket. One that fails is dropped; the caller repeats a request that may be repeated.
    async fn ask_kept(
        &self,
        request: &Canonical,
        lane: &Lane,
        turn: SemaphorePermit<'_>,
    ) -> io::Result<(Answer, Share)> {
        let idle = lane.idle().pop();
        let mut socket = match idle {
            Some(socket) => socket,
            None => self.open_kept().await?,
        };
        let answer = self.exchange(&mut socket, request, None).await;
        match &answer {
            Ok(_) => lane.idle().push(socket),
            // A second POST could find the lock of the first one and say that it exists already.
            Err(error) if request.method == "POST" => {
                return Ok((Answer::message(503, &format!("try again: {error}")), Share::default()));
            }
            Err(_) => {}
        }
        drop(turn);
        answer
    }

    async fn ask_once(&self, request: &Canonical, beat: bool) -> io::Result<(Answer, Share)> {
        let arrival = self.doors.once().expect_arrival(beat).await;
        let mut socket = self.connect(self.doors.once()).await?;
        self.exchange(&mut socket, request, Some(arrival.id())).await
    }

    /// Opens one kept socket at a time, and only returns when a thread serves it: `tiny_http`'s pool counts a thread
    /// as waiting until it has woken, so two quick connections may queue for one thread, the second for ever.
    async fn open_kept(&self) -> io::Result<UnixStream> {
        let _alone = self.opening.lock().await;
        let mut socket = self.connect(self.doors.kept()).await?;
        let probe = Canonical { method: "GET".into(), target: "/healthz".into(), client: None, body: Vec::new() };
        self.exchange(&mut socket, &probe, None).await?;
        Ok(socket)
    }

    /// A connection that fails means that `tiny_http`'s acceptor is gone, which it tells nobody, or the socket's name is.
    async fn connect(&self, door: &Door) -> io::Result<UnixStream> {
        match connect(door).await {
            Err(error) if is_gone(&error) => {
                if let Some(unsaid) = GONE.say() {
                    tracing::error!(?door, %error, unsaid, "the inner server is gone and is started again");
                }
                door.reopen();
                self.lanes.iter().for_each(|lane| lane.idle().clear());
                tokio::time::sleep(Duration::from_millis(100)).await;
                connect(door).await
            }
            other => other,
        }
    }

    async fn exchange(
        &self,
        socket: &mut UnixStream,
        request: &Canonical,
        alone: Option<u64>,
    ) -> io::Result<(Answer, Share)> {
        socket.write_all(&request.head(alone)).await?;
        socket.write_all(&request.body).await?;
        // Whoever waits for minutes keeps no buffer for it.
        socket.readable().await?;
        let mut bytes = Vec::with_capacity(1024);
        let (start, mut answer, length) = loop {
            if socket.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = parse(&bytes)? {
                break head;
            }
            if bytes.len() > MAX_HEAD {
                return Err(broken());
            }
        };
        let Some(share) = self.budget.share(length).await else { return Err(broken()) };
        bytes.drain(..start);
        bytes.reserve_exact(length.saturating_sub(bytes.len()));
        while bytes.len() < length {
            if socket.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        bytes.truncate(length);
        answer.body = String::from_utf8(bytes).map_err(|_| broken())?;
        Ok((answer, share))
    }
}

async fn connect(door: &Door) -> io::Result<UnixStream> {
    match door.path() {
        Some(path) => UnixStream::connect(path).await,
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

impl Canonical {
    /// Everything before the body. A request that comes alone on its connection bears the id of its arrival.
    fn head(&self, alone: Option<u64>) -> Vec<u8> {
        let alone = alone.map_or(String::new(), |id| format!("Connection: close\r\n{ARRIVAL}: {id}\r\n"));
        let client = self.client.as_ref().map_or(String::new(), |client| format!("{CLIENT}: {client}\r\n"));
        let (method, target, length) = (&self.method, &self.target, self.body.len());
        format!("{method} {target} HTTP/1.1\r\n{alone}{client}Content-Length: {length}\r\n\r\n").into_bytes()
    }
}

/// Where the body starts, the answer without it, and its length, once the head is complete.
fn parse(bytes: &[u8]) -> io::Result<Option<(usize, Answer, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(start) = response.parse(bytes).map_err(|_| broken())? else { return Ok(None) };
    let field = |name: &str| {
        let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let status = response.code.ok_or_else(broken)?;
    let length = match field("content-length") {
        // The one answer that never has a body, and so no length.
        None if status == 204 => 0,
        length => length.and_then(|text| text.parse::<usize>().ok()).ok_or_else(broken)?,
    };
    let kind = field("content-type").map(Kind::of_media_type).unwrap_or_default();
    let fields = api::FIELDS.into_iter().filter_map(|name| Some((name, field(name)?.to_owned()))).collect();
    Ok(Some((start, Answer { status, fields, kind, body: String::new() }, length)))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unreadable answer from the inner server")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::{Outcome, Request};
    use crate::server::{Locks, Server};

    struct Well;

    impl Locks for Well {
        fn call(&self, _request: Request) -> impl Future<Output = Outcome> + Send + 'static {
            std::future::ready(Outcome::Well)
        }
    }

    fn request(target: &str) -> Canonical {
        Canonical { method: "GET".into(), target: target.into(), client: None, body: Vec::new() }
    }

    async fn until(what: &str, condition: impl AsyncFn() -> bool) {
        for _ in 0..3000 {
            if condition().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}");
    }

    /// Beats go on over the sockets that are kept, and so would a probe that asked only there.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_probe_fails_while_requests_that_wait_cannot_be_served_and_no_longer() {
        let parent = std::env::temp_dir().join(format!("msync-test-{:x}", getrandom::u64().unwrap()));
        std::fs::create_dir(&parent).unwrap();
        let handle = tokio::runtime::Handle::current();
        let server = Server::start(&Arc::new(Well), std::slice::from_ref(&parent), &handle).unwrap();
        let (back, beat) = (Back::new(server.doors(), Budget::new(1 << 20)), Pace { beat: true, long: false });
        let probed = async || back.probe(&request("/healthz")).await.is_ok_and(|(answer, _)| answer.status == 200);
        assert!(probed().await);
        std::fs::remove_dir(&parent).unwrap();
        back.doors.once().reopen();
        until("the door is closed", async || back.doors.once().path().is_none()).await;
        assert_eq!(back.ask(&request("/readyz"), beat).await.unwrap().0.status, 200, "beats go on");
        assert!(!probed().await);
        std::fs::create_dir(&parent).unwrap();
        until("it is made anew", async || probed().await).await;
        tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
        std::fs::remove_dir(&parent).unwrap();
    }
}
