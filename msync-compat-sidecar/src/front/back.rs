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

use crate::api::{self, Answer, Kind};
use crate::server::{ARRIVAL, CLIENT, Door, Doors};

/// Kept sockets, and so threads of `tiny_http` that live on.
const KEPT: usize = 8;
/// How long a request waits for a kept socket before it opens its own.
const PATIENCE: Duration = Duration::from_millis(1);
/// An answer larger than this is no answer of ours.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// A request that the front has judged, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Canonical {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) client: Option<String>,
    pub(super) body: Vec<u8>,
}

/// The sockets to `tiny_http`.
#[derive(Debug)]
pub(super) struct Back {
    doors: Doors,
    turns: Semaphore,
    kept: Mutex<Vec<UnixStream>>,
    opening: tokio::sync::Mutex<()>,
}

impl Back {
    pub(super) fn new(doors: Doors) -> Self {
        Self { doors, turns: Semaphore::new(KEPT), kept: Mutex::default(), opening: tokio::sync::Mutex::default() }
    }

    /// The answer to one request, without a time limit of its own. One that may be long in coming takes no kept socket.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the request.
    pub(super) async fn ask(&self, request: &Canonical, long: bool) -> io::Result<Answer> {
        if long {
            return self.ask_once(request).await;
        }
        if let Some(turn) = self.turn().await
            && let Ok(answer) = self.ask_kept(request, turn).await
        {
            return Ok(answer);
        }
        self.ask_once(request).await
    }

    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.turns.try_acquire() {
            return Some(turn);
        }
        timeout(PATIENCE, self.turns.acquire()).await.ok()?.ok()
    }

    /// Over a kept socket. One that fails is dropped; the caller repeats a request that may be repeated.
    async fn ask_kept(&self, request: &Canonical, turn: SemaphorePermit<'_>) -> io::Result<Answer> {
        let idle = self.idle().pop();
        let mut socket = match idle {
            Some(socket) => socket,
            None => self.open_kept().await?,
        };
        let answer = exchange(&mut socket, &request.bytes(None)).await;
        match &answer {
            Ok(_) => self.idle().push(socket),
            // A second POST could find the lock of the first one and say that it exists already.
            Err(error) if request.method == "POST" => return Ok(Answer::message(503, &format!("try again: {error}"))),
            Err(_) => {}
        }
        drop(turn);
        answer
    }

    async fn ask_once(&self, request: &Canonical) -> io::Result<Answer> {
        let arrival = self.doors.once().expect_arrival().await;
        let mut socket = self.connect(self.doors.once()).await?;
        exchange(&mut socket, &request.bytes(Some(arrival.id()))).await
    }

    /// Opens one kept socket at a time, and only returns when a thread serves it: `tiny_http`'s pool counts a thread
    /// as waiting until it has woken, so two quick connections may queue for one thread, the second for ever.
    async fn open_kept(&self) -> io::Result<UnixStream> {
        let _alone = self.opening.lock().await;
        let mut socket = self.connect(self.doors.kept()).await?;
        exchange(&mut socket, b"GET /healthz HTTP/1.1\r\n\r\n").await?;
        Ok(socket)
    }

    /// A refused connection means that `tiny_http`'s acceptor is gone, which it tells nobody.
    async fn connect(&self, door: &Door) -> io::Result<UnixStream> {
        match UnixStream::connect(door.path()).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tracing::error!(?door, "the inner server is gone and is started again");
                door.reopen();
                self.idle().clear();
                tokio::time::sleep(Duration::from_millis(100)).await;
                UnixStream::connect(door.path()).await
            }
            other => other,
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<UnixStream>> {
        self.kept.lock().expect("no thread panics while it holds this lock")
    }
}

impl Canonical {
    /// A request that comes alone on its connection bears the id of its arrival.
    fn bytes(&self, alone: Option<u64>) -> Vec<u8> {
        let alone = alone.map_or(String::new(), |id| format!("Connection: close\r\n{ARRIVAL}: {id}\r\n"));
        let client = self.client.as_ref().map_or(String::new(), |client| format!("{CLIENT}: {client}\r\n"));
        let (method, target, length) = (&self.method, &self.target, self.body.len());
        let head = format!("{method} {target} HTTP/1.1\r\n{alone}{client}Content-Length: {length}\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

async fn exchange(socket: &mut UnixStream, request: &[u8]) -> io::Result<Answer> {
    socket.write_all(request).await?;
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(answer) = parse(&bytes)? {
            return Ok(answer);
        }
        if bytes.len() > MAX_ANSWER {
            return Err(broken());
        }
    }
}

/// The answer, once it is complete.
fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
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
    let Some(body) = bytes.get(start..start.saturating_add(length)) else { return Ok(None) };
    let body = String::from_utf8(body.to_vec()).map_err(|_| broken())?;
    let kind = field("content-type").map(Kind::of_media_type).unwrap_or_default();
    let fields = api::FIELDS.into_iter().filter_map(|name| Some((name, field(name)?.to_owned()))).collect();
    Ok(Some(Answer { status, fields, kind, body }))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "unreadable answer from the inner server")
}
