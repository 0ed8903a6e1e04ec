//! One client connection: its requests one after another, each judged, passed on and answered.
//!
//! It never closes while it owes an answer, never holds more of a client than one head and one body, and lets a
//! client that is refused finish sending, so that a reset does not overtake the answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::Shared;
use super::answer::{self, Manner};
use super::back::Canonical;
use super::chunked::Chunked;
use super::head::{self, Framing, Head, Refusal, Scan};
use crate::api::{self, Answer};

const READ: usize = 4 * 1024;

/// Why a connection ends.
enum End {
    /// Nothing is owed: the client left, was idle too long, or cannot be reached.
    Silent,
    /// This refusal is the last answer.
    Refused(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Silent
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut connection = Connection { stream, bytes: Vec::new(), head_only: false, shared };
    let end = loop {
        match connection.exchange().await {
            Ok(false) => {}
            Ok(true) => break Ok(()),
            Err(End::Silent) => return,
            Err(End::Refused(refusal)) => break connection.refuse(refusal).await,
        }
    };
    if end.is_ok() {
        drain(connection.stream, connection.shared.limits.linger_time).await;
    }
}

struct Connection {
    stream: TcpStream,
    /// Read, but not yet part of an answered request.
    bytes: Vec<u8>,
    /// What has arrived begins as a HEAD request: its refusal has no body either.
    head_only: bool,
    shared: Arc<Shared>,
}

impl Connection {
    /// One request and its answer; true when the connection is to end.
    async fn exchange(&mut self) -> Result<bool, End> {
        let head = self.head().await?;
        let body = self.body(&head).await?;
        let close = head.close || self.shared.stop.is_cancelled();
        let head_only = head.method == "HEAD";
        let Head { method, target, client, .. } = head;
        let answer = self.answer(Canonical { method, target, client, body }).await?;
        self.send(&answer, Manner { close, head_only }).await?;
        Ok(close)
    }

    async fn head(&mut self) -> Result<Head, End> {
        self.first_byte().await?;
        let deadline = Instant::now() + self.shared.limits.head_time;
        let mut seen = 0;
        let end = loop {
            self.head_only = self.bytes.starts_with(b"HEAD ");
            match head::scan(&self.bytes, seen) {
                Scan::Complete(end) if end <= self.shared.limits.head => break end,
                Scan::Partial if self.bytes.len() <= self.shared.limits.head => {}
                Scan::BareLineFeed => return Err(Refusal::new(400, "a line ends without a carriage return").into()),
                Scan::Complete(_) | Scan::Partial => {
                    return Err(Refusal::new(431, "the request head is too large").into());
                }
            }
            seen = self.bytes.len();
            self.more(deadline).await?;
        };
        let head = head::parse(&self.bytes[..end], &self.shared.hosts)?;
        self.bytes.drain(..end);
        Ok(head)
    }

    /// Waits for the next request to begin; an idle connection holds no buffer.
    async fn first_byte(&mut self) -> Result<(), End> {
        loop {
            let blank = head::leading_blank(&self.bytes);
            self.bytes.drain(..blank);
            if !self.bytes.is_empty() {
                return Ok(());
            }
            self.bytes = Vec::new();
            tokio::select! {
                ready = timeout(self.shared.limits.idle_time, self.stream.readable()) => ready.map_err(|_| End::Silent)??,
                () = self.shared.stop.cancelled() => return Err(End::Silent),
            }
            self.bytes.reserve(READ);
            match self.stream.try_read_buf(&mut self.bytes) {
                Ok(0) => return Err(End::Silent),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(End::Silent),
            }
        }
    }

    async fn body(&mut self, head: &Head) -> Result<Vec<u8>, End> {
        let deadline = Instant::now() + self.shared.limits.body_time;
        match head.framing {
            Framing::Length(0) => Ok(Vec::new()),
            Framing::Length(length) => self.counted(length, head.expects_continue, deadline).await,
            Framing::Chunked => self.chunked(head.expects_continue, deadline).await,
        }
    }

    async fn counted(&mut self, length: u64, expects_continue: bool, deadline: Instant) -> Result<Vec<u8>, End> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > self.shared.limits.body {
            return Err(Refusal::new(413, "the body is too large").into());
        }
        self.invite(expects_continue).await?;
        while self.bytes.len() < length {
            self.more(deadline).await?;
        }
        let rest = self.bytes.split_off(length);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    async fn chunked(&mut self, expects_continue: bool, deadline: Instant) -> Result<Vec<u8>, End> {
        let mut chunked = Chunked::new(self.shared.limits.body);
        self.invite(expects_continue).await?;
        loop {
            let (used, done) = chunked.feed(&self.bytes)?;
            self.bytes.drain(..used);
            if done {
                return Ok(chunked.into_body());
            }
            self.more(deadline).await?;
        }
    }

    /// `100 Continue`, unless the body is on its way already.
    async fn invite(&mut self, expects_continue: bool) -> Result<(), End> {
        if expects_continue && self.bytes.is_empty() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        Ok(())
    }

    /// Reads once more of a request that has begun.
    async fn more(&mut self, deadline: Instant) -> Result<(), End> {
        self.bytes.reserve(READ);
        let read = timeout_at(deadline, self.stream.read_buf(&mut self.bytes));
        match read.await {
            Err(_) => Err(Refusal::new(408, "the request took too long to arrive").into()),
            Ok(Ok(0)) => Err(Refusal::new(400, "the request ended too early").into()),
            Ok(read) => Ok(read.map(drop)?),
        }
    }

    async fn answer(&mut self, request: Canonical) -> Result<Answer, End> {
        let shared = Arc::clone(&self.shared);
        let Ok(_one_of_few) = shared.pending.try_acquire() else {
            return Ok(Answer::message(503, "too many requests are waiting here"));
        };
        let Some(wait) = api::long_poll(&request.target) else {
            return Ok(asked(&shared, &request, None).await);
        };
        let Ok(_one_of_fewer) = shared.long_polls.try_acquire() else {
            return Ok(Answer::message(503, "too many requests wait for locks here"));
        };
        tokio::select! {
            biased;
            answer = asked(&shared, &request, Some(wait)) => Ok(answer),
            () = self.hang_up() => {
                tracing::debug!(target = request.target, "a client hung up while it waited");
                Err(End::Silent)
            }
        }
    }

    /// Completes when the client has hung up, and keeps what it sends before. It must not end its side while it waits.
    async fn hang_up(&mut self) {
        // Who sends so much before it has its answer is not looked after any more.
        while self.bytes.len() <= self.shared.limits.head {
            if self.stream.readable().await.is_err() {
                return;
            }
            self.bytes.reserve(READ);
            match self.stream.try_read_buf(&mut self.bytes) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {}
            }
        }
        std::future::pending::<()>().await;
    }

    async fn refuse(&mut self, refusal: Refusal) -> io::Result<()> {
        tracing::debug!(status = refusal.status, refusal.message, "refused a request");
        self.send(&refusal.into(), Manner { close: true, head_only: self.head_only }).await
    }

    async fn send(&mut self, answer: &Answer, manner: Manner) -> io::Result<()> {
        self.write(&answer::bytes(answer, manner)).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(self.shared.limits.write_time, self.stream.write_all(bytes)).await?
    }
}

/// Passes a request on, and waits as long as it may take.
async fn asked(shared: &Shared, request: &Canonical, wait: Option<Duration>) -> Answer {
    let limit = shared.limits.answer_time + wait.unwrap_or_default();
    match timeout(limit, shared.back.ask(request, wait.is_some())).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::error!(%error, "the inner server did not answer");
            Answer::message(503, "the inner server did not answer")
        }
        Err(_) => Answer::message(503, "no answer in time"),
    }
}

/// Ends our side and drops what the client still sends, for a while.
pub(super) async fn drain(mut stream: TcpStream, time: Duration) {
    let drained = async {
        stream.shutdown().await?;
        let mut sink = vec![0; READ];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // Both outcomes end here: the client had its time.
    let _ = timeout(time, drained).await;
}
