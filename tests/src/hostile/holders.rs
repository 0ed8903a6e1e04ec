//! Clients that hold a lock each and beat at their pace, on a thread of their own, and note every answer that they must not
//! get.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::eventually;

/// Holders of each kind.
const OF_EACH: usize = 10;
/// Old clients give up after 10 s.
const PATIENCE: Duration = Duration::from_secs(9);

/// The holders, until stopped.
pub(super) struct Holders {
    stop: CancellationToken,
    thread: JoinHandle<Result<()>>,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug, Default)]
struct Notes {
    /// How many have their locks.
    had: usize,
    beats: u64,
    lost: Vec<String>,
}

/// How a client holds its lock.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// As old bindings do: a GET and a PUT every 10 s, each on a connection of its own.
    Old,
    /// With an id, every 10 s, on a connection that is kept.
    Kept,
    /// With an id and a ttl of 15 s, every 5 s, on connections of their own.
    Brief,
    /// Asks every 10 s who leads.
    Leader,
}

/// One client.
struct Holder {
    port: u16,
    kind: Kind,
    name: String,
    kept: Option<TcpStream>,
    token: Option<String>,
    notes: Arc<Mutex<Notes>>,
}

impl Holders {
    /// All have their locks when it returns, before any load is put on.
    pub(super) async fn start(port: u16) -> Result<Self> {
        let (stop, notes) = (CancellationToken::new(), Arc::<Mutex<Notes>>::default());
        let mut holders: Vec<Holder> = Vec::new();
        for at in 0..OF_EACH {
            for kind in [Kind::Old, Kind::Kept, Kind::Brief] {
                holders.push(Holder::new(port, kind, format!("held-{at}-{kind:?}").to_lowercase(), &notes));
            }
        }
        holders.push(Holder::new(port, Kind::Leader, "led".into(), &notes));
        let (stopped, runtime) = (stop.clone(), tokio::runtime::Builder::new_current_thread().enable_all().build()?);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let tasks: Vec<_> =
                    holders.into_iter().map(|holder| tokio::spawn(holder.run(stopped.clone()))).collect();
                for task in tasks {
                    task.await??;
                }
                Ok(())
            })
        });
        let count = 3 * OF_EACH + 1;
        let had = || notes.lock().unwrap_or_else(PoisonError::into_inner).had == count;
        eventually("all hold", PATIENCE * 4, async || had()).await?;
        Ok(Self { stop, thread, notes })
    }

    pub(super) fn so_far(&self) -> String {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{} beats, {} lost", notes.beats, notes.lost.len())
    }

    /// The good beats and the lost ones.
    pub(super) fn stop(self) -> Result<(u64, Vec<String>)> {
        self.stop.cancel();
        self.thread.join().map_err(|_| anyhow!("a holder panicked"))??;
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((notes.beats, std::mem::take(&mut notes.lost)))
    }
}

impl Holder {
    fn new(port: u16, kind: Kind, name: String, notes: &Arc<Mutex<Notes>>) -> Self {
        Self { port, kind, name, kept: None, token: None, notes: Arc::clone(notes) }
    }

    async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.beat().await {
            // The first one wins what nobody has; an election takes a moment.
            if begun.elapsed() > PATIENCE * 3 {
                return Err(error.context(format!("{} was never had", self.name)));
            }
            sleep(Duration::from_millis(200)).await;
        }
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).had += 1;
        while stop.run_until_cancelled(sleep(self.kind.pace())).await.is_some() {
            let (start, outcome) = (Instant::now(), self.beat().await);
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(()) => notes.beats += 1,
                Err(error) => {
                    notes.lost.push(format!("{} after {:?}: {error:#}", self.name, start.elapsed()));
                    // What it has next is another hold; this loss is told once.
                    self.token = None;
                }
            }
        }
        Ok(())
    }

    async fn beat(&mut self) -> Result<()> {
        let id = format!("Msync-Client-Id: {}\r\n", self.name);
        match self.kind {
            Kind::Old => {
                self.ask(&format!("GET /locks/{}", self.name), "Connection: close\r\n", true).await?;
                self.ask(&format!("PUT /locks/{}", self.name), "Connection: close\r\n", false).await
            }
            Kind::Kept => self.ask(&format!("PUT /locks/{}", self.name), &id, false).await,
            Kind::Brief => {
                self.ask(&format!("PUT /locks/{}?ttl=15", self.name), &format!("Connection: close\r\n{id}"), false)
                    .await
            }
            Kind::Leader => self.ask(&format!("GET /election/{}", self.name), "Connection: close\r\n", false).await,
        }
    }

    /// One request that must be answered in time with 200, under the same token as ever. What is looked at before it is had
    /// may be unknown.
    async fn ask(&mut self, line: &str, fields: &str, looks: bool) -> Result<()> {
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{fields}\r\n");
        let answer = timeout(PATIENCE, self.exchange(&request)).await.context("no answer in time")??;
        let status = answer.split(' ').nth(1).unwrap_or_default();
        if looks && status == "404" && self.token.is_none() {
            return Ok(());
        }
        let token = answer.lines().find_map(|field| field.strip_prefix("Msync-Fencing-Token: ")).map(str::to_owned);
        if status != "200" || token.is_none() || self.token.as_ref().is_some_and(|known| token.as_ref() != Some(known))
        {
            bail!("{line}: {answer:?}, with the token {:?}", self.token);
        }
        self.token = token;
        Ok(())
    }

    /// A kept connection may have been closed while it was idle; then, as every client does, once more on a new one.
    async fn exchange(&mut self, request: &str) -> Result<String> {
        if let Some(mut stream) = self.kept.take()
            && let Ok(answer) = exchange(&mut stream, request).await
        {
            self.kept = Some(stream);
            return Ok(answer);
        }
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.context("connect")?;
        let answer = exchange(&mut stream, request).await?;
        if matches!(self.kind, Kind::Kept) {
            self.kept = Some(stream);
        }
        Ok(answer)
    }
}

impl Kind {
    fn pace(self) -> Duration {
        match self {
            Self::Brief => Duration::from_secs(5),
            Self::Old | Self::Kept | Self::Leader => Duration::from_secs(10),
        }
    }
}

/// The head of the answer; its body is read to its end.
async fn exchange(stream: &mut TcpStream, request: &str) -> Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.context("closed without an answer")?);
    }
    let head = String::from_utf8(head)?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0").parse()?;
    stream.read_exact(&mut vec![0; length]).await?;
    Ok(head)
}
