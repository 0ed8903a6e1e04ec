//! What hostile clients do. Each load ends at its time, and is bounded in connections and in requests.

use std::{fmt, net::Ipv4Addr, time::Duration};

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::dice::Dice;

/// Between two requests of one connection, so that a load is a flood by its connections.
const PACE: Duration = Duration::from_millis(500);
/// New connections at once.
const BATCH: usize = 100;

/// One kind of load, by so many connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    kind: Kind,
    connections: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Bodies of 64 KiB that lack a byte.
    HalfBodies,
    /// Bodies of nearly 64 KiB in chunks of any size, whose end never comes.
    HalfChunks,
    /// Heads of up to 16 KiB that never end.
    HalfHeads,
    /// Many requests with long answers that nobody reads.
    Unread,
    /// Locks that nobody had, by many clients.
    NewNames,
    /// Waits for held locks, and hang-ups behind bytes that nobody reads.
    Ghosts,
    /// Connections that say nothing, or end at once.
    Storm,
    /// One client that waits as often as it can.
    Greedy,
    /// Beats of one lock, all at once.
    Hammer,
    /// Bytes that are no requests, and empty lines.
    Garbage,
    /// Streams of events that are left.
    Streams,
    /// Deletions of what others hold.
    Thieves,
}

const KINDS: [(Kind, u64); 12] = [
    (Kind::HalfBodies, 3000),
    (Kind::HalfChunks, 3000),
    (Kind::HalfHeads, 3000),
    (Kind::Unread, 1000),
    (Kind::NewNames, 1000),
    (Kind::Ghosts, 800),
    (Kind::Storm, 2000),
    (Kind::Greedy, 1500),
    (Kind::Hammer, 800),
    (Kind::Garbage, 600),
    (Kind::Streams, 600),
    (Kind::Thieves, 300),
];

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {:?}", self.connections, self.kind)
    }
}

impl Load {
    pub(super) fn drawn(dice: &mut Dice) -> Self {
        let (kind, most) = *dice.pick(&KINDS);
        Self { kind, connections: usize::try_from(50 + dice.below(most)).unwrap_or(50) }
    }

    /// Until its end. What becomes of a hostile client is no matter.
    pub(super) async fn run(self, port: u16, seed: u64, end: Instant) {
        let mut dice = Dice::new(seed);
        let mut clients = Vec::new();
        for at in 0..self.connections {
            let seed = dice.roll();
            clients.push(tokio::spawn(async move {
                let client = Client { port, at, dice: Dice::new(seed), end };
                // A client that takes no end of its own is left by this one.
                let _ = timeout(end.saturating_duration_since(Instant::now()), client.act(self.kind)).await;
            }));
            if at % BATCH == BATCH - 1 {
                sleep(Duration::from_millis(20)).await;
            }
        }
        join_all(clients).await;
    }
}

/// One connection after another.
struct Client {
    port: u16,
    at: usize,
    dice: Dice,
    end: Instant,
}

impl Client {
    async fn act(mut self, kind: Kind) {
        while Instant::now() < self.end {
            // Refused, reset, closed: all the same to it.
            let _ = self.once(kind).await;
            sleep(PACE).await;
        }
    }

    async fn once(&mut self, kind: Kind) -> std::io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        match kind {
            Kind::HalfBodies => {
                stream.write_all(b"POST /locks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n").await?;
                stream.write_all(&vec![b' '; 65_535]).await?;
                self.idle(&mut stream).await
            }
            Kind::HalfChunks => {
                stream
                    .write_all(b"POST /locks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await?;
                stream.write_all(&self.chunks()).await?;
                self.idle(&mut stream).await
            }
            Kind::HalfHeads => {
                let length = self.number(16_000);
                stream.write_all(b"GET /locks/a HTTP/1.1\r\nX: ").await?;
                stream.write_all(&vec![b'x'; length]).await?;
                self.idle(&mut stream).await
            }
            Kind::Unread => {
                let target = *self.dice.pick(&["/metrics", "/locks", "/", "/locks/held-1-old"]);
                // Clients without an id are one client, so without one this would be the holder that floods itself.
                let id = "Msync-Client-Id: reader";
                let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{id}\r\n\r\n").repeat(50);
                stream.write_all(request.as_bytes()).await?;
                sleep(self.dice.millis(500, 6_000)).await;
                Ok(())
            }
            Kind::NewNames => self.new_names(&mut stream).await,
            Kind::Ghosts => self.ghost(stream).await,
            Kind::Storm => {
                if self.dice.below(2) == 0 {
                    sleep(self.dice.millis(0, 3_000)).await;
                }
                Ok(())
            }
            Kind::Greedy => {
                let request = request("PUT", "held-1-old?wait=30", Some("greedy"));
                stream.write_all(request.as_bytes()).await?;
                self.idle(&mut stream).await
            }
            Kind::Hammer => self.repeat(&mut stream, &request("PUT", "hammered", None)).await,
            Kind::Thieves => self.repeat(&mut stream, &request("DELETE", "held-2-kept", Some("thief"))).await,
            Kind::Garbage => self.garbage(&mut stream).await,
            Kind::Streams => {
                stream.write_all(b"GET /election/led/stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
                sleep(self.dice.millis(0, 3_000)).await;
                Ok(())
            }
        }
    }

    fn number(&mut self, below: u64) -> usize {
        usize::try_from(self.dice.below(below)).unwrap_or_default()
    }

    /// All chunks of one size, without the last.
    fn chunks(&mut self) -> Vec<u8> {
        let most = *self.dice.pick(&[8, 60_000]);
        let size = 1 + self.number(most);
        let chunk = [format!("{size:x}\r\n").as_bytes(), &vec![b' '; size], b"\r\n"].concat();
        chunk.repeat(60_000 / size)
    }

    /// Reads until the sidecar ends it.
    async fn idle(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        stream.read_to_end(&mut Vec::new()).await.map(drop)
    }

    async fn repeat(&mut self, stream: &mut TcpStream, request: &str) -> std::io::Result<()> {
        let mut answer = vec![0; 4096];
        for _ in 0..20 {
            stream.write_all(request.as_bytes()).await?;
            if stream.read(&mut answer).await? == 0 {
                break;
            }
            sleep(PACE).await;
        }
        Ok(())
    }

    async fn new_names(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        let name = format!("new-{}-{:x}?ttl=5", self.at, self.dice.roll());
        let id = self.dice.below(2) == 0;
        let id = id.then(|| format!("c-{}", self.at));
        stream.write_all(request("PUT", &name, id.as_deref()).as_bytes()).await?;
        stream.read(&mut [0; 1024]).await.map(drop)
    }

    async fn ghost(&mut self, mut stream: TcpStream) -> std::io::Result<()> {
        let held = *self.dice.pick(&["held-0-old", "held-3-kept", "held-5-brief", "hammered"]);
        let id = format!("ghost-{}", self.dice.below(500));
        stream.write_all(request("PUT", &format!("{held}?wait=60&ttl=3600"), Some(&id)).as_bytes()).await?;
        let junk = vec![b'x'; self.number(40_000)];
        stream.write_all(&junk).await?;
        sleep(self.dice.millis(0, 2_000)).await;
        if self.dice.below(2) == 0 {
            stream.shutdown().await?;
        }
        Ok(())
    }

    async fn garbage(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        let length = self.number(4_000);
        let bytes: Vec<u8> = match self.dice.below(3) {
            0 => (0..length).map(|_| u8::try_from(self.dice.below(256)).unwrap_or_default()).collect(),
            1 => b"\r\n".repeat(length),
            _ => b"POST /locks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n".to_vec(),
        };
        stream.write_all(&bytes).await?;
        self.idle(stream).await
    }
}

fn request(method: &str, target: &str, client: Option<&str>) -> String {
    let id = client.map_or(String::new(), |client| format!("Msync-Client-Id: {client}\r\n"));
    format!("{method} /locks/{target} HTTP/1.1\r\nHost: localhost\r\n{id}Content-Length: 0\r\n\r\n")
}
