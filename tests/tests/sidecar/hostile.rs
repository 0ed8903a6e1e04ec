//! What local clients may do to a sidecar, as a process of its own: floods, half requests, hang-ups, an end that never
//! comes. The loads are those that once broke it.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use tests::{
    eventually,
    hostile::{Plan, run},
    process::ChildProcess,
    testbed::{Options, TestServer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{
    http::{ask_as, read, send},
    process::{Place, Sidecar, prepared},
};

/// One load at a time: what each of them is judged by is what the machine has left for it.
static ALONE: Mutex<()> = Mutex::const_new(());
const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(60);
/// The shipped limit of the container is 128 MiB.
const MOST: u64 = 100 * 1024;

async fn connected(sidecar: &Sidecar) -> Result<TcpStream> {
    Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, sidecar.port())).await?)
}

fn status_of(process: &ChildProcess, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the field")?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}

/// The most memory that it ever had, in KiB.
fn peak(sidecar: &Sidecar) -> Result<u64> {
    status_of(&sidecar.process, "VmHWM:")
}

/// As many connections as the descriptors of this process allow beside what else it does, up to `count`.
async fn connections(sidecar: &Sidecar, count: usize) -> Result<Vec<TcpStream>> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(connected(sidecar).await?);
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_thousand_bodies_that_lack_a_byte_fit_into_the_shipped_limit() -> Result<()> {
    let _alone = ALONE.lock().await;
    let sidecar = Sidecar::in_memory("a").await?;
    let mut all = connections(&sidecar, 9000).await?;
    let body = vec![b' '; 64 * 1024 - 1];
    let sending = all.iter_mut().map(async |stream| {
        let head = b"POST /locks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65536\r\n\r\n";
        let sent = async { stream.write_all(head).await.and(stream.write_all(&body).await) };
        // Most of it waits in the kernel until the sidecar refuses it.
        let _ = tokio::time::timeout(6 * SECOND, sent).await;
    });
    let beating = async {
        for _ in 0..5 {
            // Late, perhaps, on a busy machine, but it is served.
            eventually("a beat is answered", LIMIT, async || {
                sidecar.put("beaten").await.is_ok_and(|status| status == 200)
            })
            .await?;
            sleep(SECOND).await;
        }
        anyhow::Ok(())
    };
    let (_, beaten) = tokio::join!(join_all(sending), beating);
    beaten?;
    let peak = peak(&sidecar)?;
    println!("peak with 9,000 bodies of 64 KiB less a byte: {peak} KiB");
    ensure!(peak < MOST, "{peak} KiB");
    drop(all);
    ensure!(sidecar.put("after").await? == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_thousand_who_never_read_their_figures_fit_into_the_shipped_limit() -> Result<()> {
    let _alone = ALONE.lock().await;
    let sidecar = Sidecar::in_memory("a").await?;
    let mut all = connections(&sidecar, 3000).await?;
    let many = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let sending = all.iter_mut().map(async |stream| {
        let _ = tokio::time::timeout(3 * SECOND, stream.write_all(&many)).await;
    });
    join_all(sending).await;
    sleep(5 * SECOND).await;
    ensure!(sidecar.put("beaten").await? == 200);
    let peak = peak(&sidecar)?;
    println!("peak with 3,000 connections that pipeline /metrics and never read: {peak} KiB");
    ensure!(peak < MOST, "{peak} KiB");
    drop(all);
    eventually("its descriptors are given back", LIMIT, async || descriptors(&sidecar).is_ok_and(|count| count < 300))
        .await
}

fn descriptors(sidecar: &Sidecar) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{}/fd", sidecar.process.pid()))?.count())
}

async fn put_on(stream: &mut TcpStream, name: &str) -> Result<u16> {
    let request = format!("PUT /locks/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(read(stream).await?.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twenty_thousand_names_as_many_are_held_as_fit_and_the_others_clearly_refused() -> Result<()> {
    let _alone = ALONE.lock().await;
    let sidecar = Sidecar::in_memory("a").await?;
    let putting = (0..10).map(async |part| {
        let mut stream = connected(&sidecar).await?;
        let (mut held, mut refused) = (0, 0);
        for name in 0..2000 {
            // A busy machine may take its time for the engine's part.
            loop {
                let request = format!("PUT /locks/n-{part}-{name}?ttl=3600 HTTP/1.1\r\nHost: localhost\r\n\r\n");
                stream.write_all(request.as_bytes()).await?;
                match read(&mut stream).await {
                    Ok(_) => held += 1,
                    Err(error) if format!("{error}").contains("as many locks as it may: 1000") => refused += 1,
                    Err(_) => continue,
                }
                break;
            }
        }
        anyhow::Ok((held, refused))
    });
    let parts = join_all(putting).await.into_iter().collect::<Result<Vec<(usize, usize)>>>()?;
    let held: usize = parts.iter().map(|(held, _)| held).sum();
    let refused: usize = parts.iter().map(|(_, refused)| refused).sum();
    // Requests that come at the same time may pass the limit by their number.
    ensure!((1_000..1_010).contains(&held) && held + refused == 20_000, "{held} held, {refused} refused");
    let peak = peak(&sidecar)?;
    println!("peak with {held} held names on the store in memory: {peak} KiB");
    ensure!(peak < MOST, "{peak} KiB");
    let mut stream = connected(&sidecar).await?;
    ensure!(put_on(&mut stream, "n-3-7").await? == 200, "who holds keeps");
    Ok(())
}

/// Puts so many locks, which others then may not disturb.
async fn hold(sidecar: &Sidecar, holders: usize) -> Result<()> {
    for at in 0..holders {
        ensure!(sidecar.put(&held(at)).await? == 200);
    }
    Ok(())
}

fn held(at: usize) -> String {
    format!("held-{at}")
}

/// Each holder beats, `rounds` times, out of step with the others.
async fn beat(sidecar: &Sidecar, holders: usize, rounds: usize) -> Result<()> {
    let beating = (0..holders).map(async |at| {
        sleep(Duration::from_millis(5) * u32::try_from(at)?).await;
        for _ in 0..rounds {
            ensure!(sidecar.put(&held(at)).await? == 200, "a beat of {} was refused", held(at));
        }
        anyhow::Ok(())
    });
    join_all(beating).await.into_iter().collect()
}

/// Puts new names on all connections. Some may be told 503, and that is an answer as well.
async fn flood(connections: &mut [TcpStream], rounds: usize) {
    let flooding = connections.iter_mut().enumerate().map(async |(at, stream)| {
        for round in 0..rounds {
            let _ = put_on(stream, &format!("new-{at}-{round}")).await;
        }
    });
    join_all(flooding).await;
}

/// 2,500 connections that put new names, beside 125 holders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beats_have_room_beside_a_flood_of_new_names() -> Result<()> {
    let _alone = ALONE.lock().await;
    let sidecar = Sidecar::in_memory("a").await?;
    hold(&sidecar, 125).await?;
    let mut connections = connections(&sidecar, 2500).await?;
    tokio::join!(flood(&mut connections, 3), beat(&sidecar, 125, 5)).1
}

/// The same while the API server answers nobody: until the leases of the holders come near their ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beats_have_room_beside_a_flood_of_new_names_while_the_api_server_is_frozen() -> Result<()> {
    let _alone = ALONE.lock().await;
    let Some(server) = TestServer::start(Options::default()).await? else { return Ok(()) };
    let sidecar = Place::new(&server).await?.sidecar("a", None).await?;
    hold(&sidecar, 163).await?;
    let mut connections = connections(&sidecar, 2500).await?;
    server.freeze().await?;
    let beaten = tokio::select! {
        // No name that is new can be had, so this ends before the flood unless all of it is refused at once.
        () = async { flood(&mut connections, 1).await; std::future::pending().await } => unreachable!("it has no end"),
        beaten = beat(&sidecar, 163, 3) => beaten,
    };
    server.thaw().await?;
    beaten
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_that_hangs_up_behind_unread_bytes_is_granted_nothing() -> Result<()> {
    let sidecar = Sidecar::in_memory("a").await?;
    ensure!(ask_as(sidecar.port(), "PUT", "x", "holder").await?.status == 200);
    let mut ghost = connected(&sidecar).await?;
    ghost.write_all(b"PUT /locks/x?wait=60&ttl=3600 HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let listing = "GET /locks HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let waits =
        async || send(sidecar.port(), listing).await.map(|reply| reply.body["locks"][0]["waiting"][0].is_object());
    eventually("it waits", LIMIT, async || waits().await.is_ok_and(|waits| waits)).await?;
    ghost.write_all(&vec![b'x'; 17 * 1024]).await?;
    drop(ghost);
    eventually("it waits no longer", LIMIT, async || waits().await.is_ok_and(|waits| !waits)).await?;
    ensure!(ask_as(sidecar.port(), "DELETE", "x", "holder").await?.status == 204);
    ensure!(ask_as(sidecar.port(), "PUT", "x", "next").await?.status == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_has_a_limit_that_the_log_tells() -> Result<()> {
    let log = tempfile::NamedTempFile::new()?;
    let spawn = prepared("a").env("MSYNC_LOG", "info").args(["--store", "memory", "--drain-seconds", "2"]);
    let mut sidecar = Sidecar::started(spawn.stderr_to(log.path())?).await?;
    ensure!(ask_as(sidecar.port(), "PUT", "x?ttl=3600", "who-never-lets-go").await?.status == 200);
    sidecar.process.terminate()?;
    let start = Instant::now();
    let status = sidecar.process.wait(LIMIT).await?;
    ensure!(status.success() && start.elapsed() >= 2 * SECOND, "{status}, after {:?}", start.elapsed());
    let said = std::fs::read_to_string(log.path())?;
    for wanted in ["limit=2s", "the limit for clients is over", "held=1"] {
        ensure!(said.contains(wanted), "{wanted:?} is not in {said}");
    }
    Ok(())
}

/// A cleaner of temporary files, while requests go both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_directory_has_to_stay_for_the_private_sockets() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let spawn = prepared("a").args(["--store", "memory", "--run-dir"]).arg(directory.path());
    let mut sidecar = Sidecar::started(spawn).await?;
    ensure!(is_empty(directory.path())?, "nothing is left of its making");
    directory.close()?;
    ensure!(ask_as(sidecar.port(), "PUT", "x", "holder").await?.status == 200);
    let port = sidecar.port();
    let waiting = tokio::spawn(async move { ask_as(port, "PUT", "x?wait=60", "waiter").await });
    let beats = (0..2000).map(async |at| sidecar.put(&format!("n-{}", at % 50)).await);
    for beats in join_all(beats).await {
        ensure!(beats? == 200);
    }
    for probe in ["/healthz", "/readyz"] {
        ensure!(send(port, &format!("GET {probe} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await?.status == 200);
    }
    ensure!(ask_as(port, "DELETE", "x", "holder").await?.status == 204);
    ensure!(waiting.await??.status == 200);
    sidecar.process.kill()?;
    Ok(())
}

fn is_empty(directory: &Path) -> Result<bool> {
    Ok(std::fs::read_dir(directory)?.next().is_none())
}

/// One line each and a number, not one for each of a flood.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_failures_is_few_lines() -> Result<()> {
    let log = tempfile::NamedTempFile::new()?;
    let spawn = prepared("a").env("MSYNC_LOG", "info").args(["--store", "memory"]);
    let sidecar = Sidecar::started(spawn.stderr_to(log.path())?).await?;
    for _ in 0..50 {
        let mut stream = connected(&sidecar).await?;
        for request in
            ["BREW / HTTP/9.9\r\n\r\n", "GET /locks/a HTTP/1.1\nHost: a\n\n", "PUT /locks/A HTTP/1.1\r\n\r\n"]
        {
            stream.write_all(request.as_bytes()).await?;
        }
        stream.shutdown().await?;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    let said = std::fs::read_to_string(log.path())?;
    ensure!(said.lines().count() < 20, "{said}");
    Ok(())
}

/// A short pass of the hostile hour.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_while_loses_no_beat_and_keeps_every_bound() -> Result<()> {
    let _alone = ALONE.lock().await;
    let program = env!("CARGO_BIN_EXE_tested-sidecar").into();
    let plan = Plan { program, seed: getrandom::u64()?, length: 10 * SECOND, verbose: true };
    println!("seed {}", plan.seed);
    let report = run(&plan).await?;
    println!("{report:#?}");
    report.judge(plan.length)
}
