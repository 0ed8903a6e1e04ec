//! One proxied connection: two pumps, each a queue between a reader and a writer, so that delay costs no throughput.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Direction, Net, Weather};

/// Chunks under way at a time; enough for a delayed watch, few enough to push back.
const QUEUE: usize = 256;

/// What the two pumps of a connection share.
#[derive(Debug, Default)]
struct Mute {
    /// The number of the latest armed fault that bytes of the client met; 0 if there was none.
    asked: AtomicU64,
    /// The server's bytes are swallowed.
    on: AtomicBool,
    hold: Mutex<Option<Duration>>,
    began: Notify,
}

/// Why a connection ended.
enum End {
    /// One side closed it: the other side sees an orderly end too.
    Closed,
    /// A fault: both sides see a reset.
    Reset,
    /// A fault: neither side sees anything.
    Forgotten,
}

/// Forwards both ways until either side closes or a fault resets the connection.
pub(super) async fn run(mut client: TcpStream, mut server: TcpStream, mut resets: watch::Receiver<u64>, net: &Net) {
    // Without this the kernel would delay small writes by itself.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mute = Mute::default();
    let mut forgotten = net.forgotten.subscribe();
    let end = {
        let (client_read, client_write) = client.split();
        let (server_read, server_write) = server.split();
        tokio::select! {
            end = pump(Direction::ToServer, client_read, server_write, net, &mute) => end,
            end = pump(Direction::ToClient, server_read, client_write, net, &mute) => end,
            () = mute.expired() => End::Reset,
            _ = resets.changed() => End::Reset,
            _ = forgotten.changed() => End::Forgotten,
        }
    };
    if matches!(end, End::Forgotten) {
        // Both sides may write until their buffers are full, and are acknowledged; nobody reads it.
        let _ = resets.changed().await;
    }
    if matches!(end, End::Reset | End::Forgotten) {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

async fn pump(direction: Direction, read: ReadHalf<'_>, write: WriteHalf<'_>, net: &Net, mute: &Mute) -> End {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let fill = fill(read, sender, net.weather.subscribe());
    let drain = drain(direction, write, receiver, net, mute);
    tokio::pin!(drain);
    tokio::select! {
        end = &mut drain => end,
        // The reader ends first and closes the queue, which the writer then drains: bytes before an end are not lost.
        read = fill => match (read, drain.await) {
            (Ok(()), end) => end,
            (Err(_), _) => End::Reset,
        },
    }
}

async fn fill(
    mut read: ReadHalf<'_>,
    queue: mpsc::Sender<(Instant, Vec<u8>)>,
    weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = read.read(&mut buffer).await?;
        let due = Instant::now() + weather.borrow().delay;
        if n == 0 || queue.send((due, buffer[..n].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}

async fn drain(
    direction: Direction,
    mut write: WriteHalf<'_>,
    mut queue: mpsc::Receiver<(Instant, Vec<u8>)>,
    net: &Net,
    mute: &Mute,
) -> End {
    let mut weather = net.weather.subscribe();
    while let Some((due, chunk)) = queue.recv().await {
        sleep_until(due).await;
        // The sender lives in `net`.
        let _ = weather.wait_for(|w| !w.hold(direction)).await;
        match direction {
            Direction::ToServer => mute.asks(net),
            Direction::ToClient if mute.swallows(chunk.len(), net) => continue,
            Direction::ToClient => {}
        }
        let (part, cut) = up_to_the_cut(direction, &chunk, net);
        if write.write_all(part).await.is_err() || cut {
            return End::Reset;
        }
    }
    End::Closed
}

/// The part of the chunk that may pass, and whether the connection ends there.
fn up_to_the_cut<'c>(direction: Direction, chunk: &'c [u8], net: &Net) -> (&'c [u8], bool) {
    let mut once = net.once();
    let cut = once.cut_mut(direction);
    let Some(left) = *cut else { return (chunk, false) };
    let passed = usize::try_from(left).unwrap_or(usize::MAX);
    if chunk.len() >= passed {
        *cut = None;
        return (&chunk[..passed], true);
    }
    *cut = Some(left - chunk.len() as u64);
    (chunk, false)
}

// === impl Mute ===

impl Mute {
    /// Notes that the next answer is one to the bytes that pass now. A connection that gets no answer, since it is just
    /// being closed, must not use up the fault.
    fn asks(&self, net: &Net) {
        if let Some(armed) = net.once().swallow_reply {
            self.asked.store(armed.number, Ordering::SeqCst);
        }
    }

    /// Whether the server's bytes are swallowed; counts them if so. The first answer takes the armed fault.
    fn swallows(&self, bytes: usize, net: &Net) -> bool {
        let asked = self.asked.load(Ordering::SeqCst);
        if let Some(struck) = net.once().swallow_reply.take_if(|armed| armed.number == asked) {
            *self.hold.lock().expect("no holder of the mute's lock panics") = Some(struck.hold);
            self.on.store(true, Ordering::SeqCst);
            self.began.notify_one();
        }
        let muted = self.on.load(Ordering::SeqCst);
        if muted {
            net.swallowed.fetch_add(bytes as u64, Ordering::SeqCst);
        }
        muted
    }

    /// Returns when a reply was swallowed and held for its time; never without one.
    async fn expired(&self) {
        self.began.notified().await;
        let hold = self.hold.lock().expect("no holder of the mute's lock panics").unwrap_or_default();
        sleep(hold).await;
    }
}
