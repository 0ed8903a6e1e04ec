//! One client connection: its requests one after another, each judged, passed on and answered.
//!
//! It never closes while it owes an answer, never holds more of a client than one head and one body, and lets a
//! client that is refused finish sending, so that a reset does not overtake the answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::Shared;
use super::answer::{self, Manner};
use super::back::{Canonical, Pace};
use super::budget::{OWN, Share};
use super::chunked::Chunked;
use super::head::{self, Framing, Head, Scan};
use super::refusal::Refusal;
use super::rooms::Wish;
use super::standing::Rank;
use crate::api::{self, Answer, Glance, Probed};
use crate::sparse::Sparse;

/// Read beyond a request at most, if it is longer than what is its connection's own.
const READ: usize = 4 * 1024;
/// Between two looks at a client that sends much while it waits, and how many reads one look has.
const PAUSE: Duration = Duration::from_millis(20);
const READS: usize = 16;

/// How long a connection whose request found no room is not read: a flood that is refused is still a flood.
const PENANCE: Duration = Duration::from_secs(1);
/// How long a stream of events stays open.
const STREAM: Duration = Duration::from_secs(20);

static UNANSWERED: Sparse = Sparse::new();

/// Why a connection ends.
enum End {
    /// Nothing is owed: the client left, was idle too long, or cannot be reached.
    Silent,
    /// This refusal is the last answer.
    Refused(Refusal),
    /// Another connection takes the place of this one, which is told so if it was sending.
    Displaced,
}

/// Until when parts of a request may be on their way.
#[derive(Clone, Copy)]
struct Arrival {
    /// Until here they may wait for room: who got it no earlier would be blamed for being slow.
    room: Instant,
    end: Instant,
}

impl Arrival {
    fn within(time: Duration) -> Self {
        let now = Instant::now();
        Self { room: now + time / 2, end: now + time }
    }
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
    let share = Share::default();
    let (bytes, rank) = (Vec::new(), Rank::default());
    let mut connection =
        Connection { stream, bytes, share, head_only: false, overrun: false, refused: false, rank, shared };
    let end = loop {
        match connection.exchange().await {
            Ok(false) => {}
            Ok(true) => break Ok(()),
            Err(End::Silent) => return,
            Err(End::Displaced) => return connection.say_displaced(),
            Err(End::Refused(refusal)) => break connection.refuse(refusal).await,
        }
    };
    if end.is_ok() {
        let Connection { stream, shared, .. } = connection;
        drain(stream, shared.limits.linger_time).await;
    }
}

struct Connection {
    stream: TcpStream,
    /// Read, but not yet part of an answered request.
    bytes: Vec<u8>,
    /// Covers `bytes`.
    share: Share,
    /// What has arrived begins as a HEAD request: its refusal has no body either.
    head_only: bool,
    /// Something that it sent was dropped, so that nothing more of it can be understood.
    overrun: bool,
    /// There was no room for its last request.
    refused: bool,
    /// What it has shown of itself.
    rank: Rank,
    shared: Arc<Shared>,
}

impl Connection {
    /// One request and its answer; true when the connection is to end.
    async fn exchange(&mut self) -> Result<bool, End> {
        let (head, glance, body) = self.request().await?;
        let head_only = head.method == "HEAD";
        let Head { method, target, client, close, .. } = head;
        if glance.stream && method == "GET" {
            return Box::pin(self.events(Canonical { method, target, client, body })).await;
        }
        // Boxed, as the rest that only whoever has sent a whole request needs: those who have not may be thousands.
        let (answer, share) = Box::pin(self.answer(Canonical { method, target, client, body }, glance)).await?;
        let close = close || self.overrun || self.shared.stop.is_cancelled();
        self.send(answer, Manner { close, head_only }).await?;
        drop(share);
        // Others first: a client that has more to ask at once, and all the more one that was refused.
        if std::mem::take(&mut self.refused) {
            tokio::time::sleep(PENANCE).await;
        } else {
            tokio::task::yield_now().await;
        }
        Ok(close)
    }

    /// The next request, unless another connection needs this one's place.
    async fn request(&mut self) -> Result<(Head, Glance, Vec<u8>), End> {
        let (shared, asked_to_go) = (Arc::clone(&self.shared), Arc::new(Notify::new()));
        let _stood = shared.standing.stand(self.rank, &asked_to_go);
        let request = async {
            let head = self.head().await?;
            let glance = api::glance(&head.method, &head.target);
            let body = self.body(&head, glance.body).await?;
            Ok((head, glance, body))
        };
        tokio::select! {
            biased;
            request = request => request,
            () = asked_to_go.notified() => Err(End::Displaced),
        }
    }

    fn say_displaced(self) {
        if !self.bytes.is_empty() {
            let answer = Answer::message(503, "too many connections here");
            let manner = Manner { close: true, head_only: self.head_only };
            // Whoever does not take it gets a close.
            let _ = self.stream.try_write(&answer::bytes(&answer, manner));
        }
    }

    async fn head(&mut self) -> Result<Head, End> {
        self.first_byte().await?;
        let arrival = Arrival::within(self.shared.limits.head_time);
        let limit = self.shared.limits.head;
        let mut seen = 0;
        let end = loop {
            self.head_only = self.bytes.starts_with(b"HEAD ");
            match head::scan(&self.bytes, seen) {
                Scan::Complete(end) if end <= limit => break end,
                Scan::Partial if self.bytes.len() <= limit => {}
                Scan::BareLineFeed => return Err(Refusal::new(400, "a line ends without a carriage return").into()),
                Scan::Complete(_) | Scan::Partial => {
                    return Err(Refusal::new(431, "the request head is too large").into());
                }
            }
            seen = self.bytes.len();
            self.more(limit, arrival).await?;
        };
        let head = head::parse(&self.bytes[..end], &self.shared.hosts)?;
        self.bytes.drain(..end);
        self.settle();
        Ok(head)
    }

    /// Waits for the next request to begin; an idle connection holds no buffer. Empty lines before it are skipped, up to as
    /// many bytes as a head may have.
    async fn first_byte(&mut self) -> Result<(), End> {
        let mut skipped = 0;
        loop {
            let blank = head::leading_blank(&self.bytes);
            self.bytes.drain(..blank);
            skipped += blank;
            if skipped > self.shared.limits.head {
                return Err(Refusal::new(400, "too many empty lines before a request").into());
            }
            if !matches!(self.bytes[..], [] | [b'\r']) {
                return Ok(());
            }
            if self.bytes.is_empty() {
                self.bytes = Vec::new();
            }
            tokio::select! {
                ready = timeout(self.shared.limits.idle_time, self.stream.readable()) => ready.map_err(|_| End::Silent)??,
                () = self.shared.stop.cancelled() => return Err(End::Silent),
            }
            self.bytes.reserve_exact(OWN - self.bytes.len());
            match self.stream.try_read_buf(&mut self.bytes) {
                Ok(0) => return Err(End::Silent),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(End::Silent),
            }
        }
    }

    /// The body, or nothing once it has arrived, if nobody wants it.
    async fn body(&mut self, head: &Head, wanted: bool) -> Result<Vec<u8>, End> {
        let arrival = Arrival::within(self.shared.limits.body_time);
        match head.framing {
            Framing::Length(0) => Ok(Vec::new()),
            Framing::Length(length) => Box::pin(self.counted(length, head.expects_continue, wanted, arrival)).await,
            Framing::Chunked => Box::pin(self.chunked(head.expects_continue, wanted, arrival)).await,
        }
    }

    async fn counted(&mut self, length: u64, invited: bool, wanted: bool, arrival: Arrival) -> Result<Vec<u8>, End> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > self.shared.limits.body {
            return Err(Refusal::new(413, "the body is too large").into());
        }
        self.invite(invited).await?;
        if !wanted {
            return self.skip(length, arrival).await;
        }
        while self.bytes.len() < length {
            self.more(length, arrival).await?;
        }
        let rest = self.bytes.split_off(length);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    async fn skip(&mut self, mut length: usize, arrival: Arrival) -> Result<Vec<u8>, End> {
        loop {
            let here = length.min(self.bytes.len());
            self.bytes.drain(..here);
            length -= here;
            if length == 0 {
                return Ok(Vec::new());
            }
            self.more(OWN, arrival).await?;
        }
    }

    async fn chunked(&mut self, invited: bool, wanted: bool, arrival: Arrival) -> Result<Vec<u8>, End> {
        let most = self.shared.limits.body;
        let mut chunked = Chunked::new(most, wanted);
        self.invite(invited).await?;
        loop {
            let (used, done) = chunked.feed(&self.bytes)?;
            self.bytes.drain(..used);
            if done {
                return Ok(chunked.into_body());
            }
            // What is kept has left the buffer. Whatever it is going to be is paid for at once: parts of the budget that wait
            // for further parts would wait for ever.
            if chunked.kept() >= OWN {
                self.afford(most, arrival.room).await?;
            }
            self.more(OWN, arrival).await?;
        }
    }

    /// `100 Continue`, unless the body is on its way already.
    async fn invite(&mut self, expects_continue: bool) -> Result<(), End> {
        if expects_continue && self.bytes.is_empty() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        Ok(())
    }

    /// Reads once more of a request that has begun and has `most` bytes at the most.
    async fn more(&mut self, most: usize, arrival: Arrival) -> Result<(), End> {
        let wanted = if self.bytes.len() < OWN {
            OWN
        } else {
            self.afford(most, arrival.room).await?;
            // All that is paid for at once: a buffer that grew bit by bit would leave holes of every size behind.
            most.max(self.bytes.len()) + READ
        };
        self.bytes.reserve_exact(wanted - self.bytes.len());
        let read = timeout_at(arrival.end, self.stream.read_buf(&mut self.bytes));
        match read.await {
            Err(_) => Err(Refusal::new(408, "the request took too long to arrive").into()),
            Ok(Ok(0)) => Err(Refusal::new(400, "the request ended too early").into()),
            Ok(read) => Ok(read.map(drop)?),
        }
    }

    /// Takes what a request of so many bytes needs of the budget; all at once, so that no two wait for each other.
    async fn afford(&mut self, bytes: usize, deadline: Instant) -> Result<(), End> {
        let wanted = bytes + READ;
        match timeout_at(deadline, self.shared.budget.grow(&mut self.share, wanted)).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Refusal::new(503, "too much is being sent here at this time").into()),
        }
    }

    /// Gives back what the bytes that are still here do not need.
    fn settle(&mut self) {
        self.bytes.shrink_to(OWN);
        self.share.shrink(self.bytes.capacity());
    }

    async fn answer(&mut self, request: Canonical, glance: Glance) -> Result<(Answer, Share), End> {
        let shared = Arc::clone(&self.shared);
        let beat = match glance.probe {
            Some(_) => Some("/".to_owned()),
            None => shared.back.beats_for(&request).map(|name| name.to_string()),
        };
        self.rank = if beat.is_some() { Rank::Holder } else { Rank::Served };
        let wish = Wish {
            beat: beat.as_deref(),
            client: request.client.as_deref(),
            long: glance.wait.is_some(),
            bulky: glance.bulky,
        };
        let _place = match timeout(shared.limits.answer_time, shared.rooms.place(wish)).await {
            Ok(Ok(place)) => place,
            Ok(Err(why)) => {
                self.refused = true;
                return Ok((Answer::message(503, why), Share::default()));
            }
            Err(_) => return Ok((Answer::message(503, "too many large answers are awaited here"), Share::default())),
        };
        if glance.wait.is_none() {
            return Ok(asked(&shared, &request, glance, beat.is_some()).await);
        }
        tokio::select! {
            biased;
            answer = asked(&shared, &request, glance, beat.is_some()) => Ok(answer),
            () = self.hang_up() => {
                tracing::debug!(target = request.target, "a client hung up while it waited");
                Err(End::Silent)
            }
        }
    }

    /// Answers with a stream of events, which is the last thing on its connection.
    ///
    /// A stream that is open says nothing about its client, so it ends after a while, and the client shows that it lives by
    /// coming again.
    async fn events(&mut self, request: Canonical) -> Result<bool, End> {
        let begun = Instant::now();
        let glance = Glance::default();
        if request.target.contains('?') {
            return Err(Refusal::new(400, "Bad parameter: a stream has none.").into());
        }
        let (mut answer, _) = self.answer(request.clone(), glance).await?;
        if answer.status != 200 {
            self.send(answer, Manner { close: true, head_only: false }).await?;
            return Ok(true);
        }
        self.write(answer::EVENTS).await?;
        loop {
            self.write(&answer::event(&answer)).await?;
            let seen = answer.field("Msync-Version").unwrap_or_default().to_owned();
            let left = STREAM.saturating_sub(begun.elapsed());
            if left < Duration::from_secs(1) {
                return Ok(true);
            }
            let target = api::follow_up(&request.target, &seen, left);
            let stop = self.shared.stop.clone();
            let next = self.answer(Canonical { target, ..request.clone() }, Glance { wait: Some(left), ..glance });
            answer = tokio::select! {
                next = next => next?.0,
                () = stop.cancelled() => return Ok(true),
            };
            if answer.status != 200 || answer.field("Msync-Version") == Some(&seen) {
                return Ok(true);
            }
        }
    }

    /// Completes when the client has hung up, however much it sends before. It must not end its side while it waits.
    ///
    /// What it sends meanwhile is kept as far as a head may reach; what is more is dropped, since an end behind it would
    /// not be seen otherwise, and then this answer is the last one.
    async fn hang_up(&mut self) {
        let mut limit = OWN;
        let mut reads = 0;
        loop {
            if self.stream.readable().await.is_err() {
                return;
            }
            self.bytes.reserve_exact(OWN);
            match self.stream.try_read_buf(&mut self.bytes) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {}
            }
            let most = self.shared.limits.head;
            if self.bytes.len() > limit && self.shared.budget.try_grow(&mut self.share, most + OWN) {
                limit = most;
            }
            if self.bytes.len() > limit {
                self.bytes.truncate(limit);
                self.overrun = true;
                reads += 1;
                if reads % READS == 0 {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn refuse(&mut self, refusal: Refusal) -> io::Result<()> {
        tracing::debug!(status = refusal.status, refusal.message, "refused a request");
        self.bytes = Vec::new();
        self.settle();
        self.send(refusal.into(), Manner { close: true, head_only: self.head_only }).await
    }

    async fn send(&mut self, answer: Answer, manner: Manner) -> io::Result<()> {
        let [head, body] = answer::parts(answer, manner);
        self.write(&head).await?;
        if body.is_empty() { Ok(()) } else { self.write(&body).await }
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(self.shared.limits.write_time, self.stream.write_all(bytes)).await?
    }
}

/// Passes a request on, and waits as long as it may take.
async fn asked(shared: &Shared, request: &Canonical, glance: Glance, beat: bool) -> (Answer, Share) {
    let limit = shared.limits.answer_time + glance.wait.unwrap_or_default();
    let pace = Pace { long: glance.wait.is_some(), beat };
    let answer = async {
        match glance.probe {
            Some(Probed::Healthz) => shared.back.probe(request).await,
            Some(Probed::Readyz) | None => shared.back.ask(request, pace).await,
        }
    };
    let refused = |why| (Answer::message(503, why), Share::default());
    match timeout(limit, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            if let Some(unsaid) = UNANSWERED.say() {
                tracing::error!(%error, unsaid, "the inner server did not answer");
            }
            refused("the inner server did not answer")
        }
        Err(_) => refused("no answer in time"),
    }
}

/// Ends our side and drops what the client still sends, for a while.
pub(super) async fn drain(mut stream: TcpStream, time: Duration) {
    let drained = async {
        stream.shutdown().await?;
        let mut sink = vec![0; OWN];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // Both outcomes end here: the client had its time.
    let _ = timeout(time, drained).await;
}
