//! Speed and size, as figures: `cargo test --release -p tests --test sidecar -- --ignored --nocapture speed`.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use tests::testbed::{Options, TestServer};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    http::read,
    process::{Place, Sidecar},
};

const CONNECTIONS: usize = 8;
const RATE: u32 = 2000;
const LENGTH: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a benchmark: needs a quiet machine and a release build"]
async fn speed_and_size() -> Result<()> {
    let Some(server) = TestServer::start(Options::default()).await? else { return Ok(()) };
    let place = Place::new(&server).await?;
    drop(place.sidecar("installer", None).await?);
    let start = Instant::now();
    let sidecar = place.sidecar("a", None).await?;
    println!("ready after {:?}, the resource being installed", start.elapsed());
    println!("resident when idle: {} KiB", resident(sidecar.process.pid())?);
    paced(&server, &sidecar).await?;
    let bare = bare_server()?;
    for round in 0..3 {
        let (ours, bares) = (flood(sidecar.port()).await?, flood(bare).await?);
        println!("round {round}: {ours:.0} beats/s, bare tiny_http {bares:.0}/s, ratio {:.2}", ours / bares);
    }
    println!("resident after that: {} KiB", resident(sidecar.process.pid())?);
    println!("binary: {} bytes", std::fs::metadata(env!("CARGO_BIN_EXE_tested-sidecar"))?.len());
    Ok(())
}

/// Beats at a steady rate; the time of each answer counts from when its request was due, so the lateness of the
/// client's own timer, a millisecond or two, is in it.
async fn paced(server: &TestServer, sidecar: &Sidecar) -> Result<()> {
    let port = sidecar.port();
    beats(port, 1, None).await?;
    let before = server.lock_requests().await?;
    let pace = Duration::from_secs(1) * u32::try_from(CONNECTIONS)? / RATE;
    let count = usize::try_from(LENGTH.as_secs() * u64::from(RATE))? / CONNECTIONS;
    let mut runs = Vec::new();
    for _ in 0..CONNECTIONS {
        runs.push(tokio::spawn(beats(port, count, Some(pace))));
        // Not in step with each other, as clients are not.
        tokio::time::sleep(pace * 5 / 4).await;
    }
    let mut times = Vec::new();
    for run in runs {
        times.extend(run.await??);
    }
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 1000];
    println!("{} beats at {RATE}/s: p50 {:?}, p99 {:?}, p99.9 {:?}", times.len(), at(500), at(990), at(999));
    println!("requests to the API server before {before:?}, after {:?}", server.lock_requests().await?);
    Ok(())
}

async fn beats(port: u16, count: usize, pace: Option<Duration>) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(count);
    let mut ticks = pace.map(interval);
    if let Some(ticks) = &mut ticks {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    }
    for _ in 0..count {
        let due = match &mut ticks {
            Some(ticks) => ticks.tick().await,
            None => Instant::now(),
        };
        stream.write_all(b"PUT /locks/bench HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await?;
        ensure!(read(&mut stream).await?.status == 200);
        times.push(due.elapsed());
    }
    Ok(times)
}

/// As many beats as eight connections can send, one after the other on each.
async fn flood(port: u16) -> Result<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let runs: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    count += beats(port, 500, None).await?.len();
                }
                anyhow::Ok(count)
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    over.store(true, Ordering::Relaxed);
    let mut count = 0;
    for run in runs {
        count += run.await??;
    }
    Ok(f64::from(u32::try_from(count)?) / start.elapsed().as_secs_f64())
}

/// A handler that answers each request with a Lock, and nothing around it.
fn bare_server() -> Result<u16> {
    let server = tiny_http::Server::http("127.0.0.1:0").map_err(anyhow::Error::from_boxed)?;
    let port = server.server_addr().to_ip().expect("an address").port();
    let server = Arc::new(server);
    let body = r#"{"metadata":{"name":"bench","namespace":"default","resourceVersion":"1"},"kind":"Lock","apiVersion":"metaparticle.io/v1","spec":{"owner":"a","expiry":"2026-11-22T17:47:04.332Z"}}"#;
    for _ in 0..CONNECTIONS {
        let server = Arc::clone(&server);
        std::thread::spawn(move || {
            while let Ok(request) = server.recv() {
                let _ = request.respond(tiny_http::Response::from_string(body));
            }
        });
    }
    Ok(port)
}

pub(crate) fn resident(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    Ok(line.split_whitespace().next().unwrap_or("0").parse()?)
}
