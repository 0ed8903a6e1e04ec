//! The status page in a headless Chromium, where there is one.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use tests::{eventually, skipped, testbed::TestServer};

use crate::{
    http::{Reply, ask_as, send},
    process::{Place, Sidecar},
};

const LIMIT: Duration = Duration::from_secs(20);

/// Draws the page; Debian's flags for a container without a display, and none of the browser's own traffic.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    // The page asks anew each second: time enough for the first answer, and an end.
    "--virtual-time-budget=3500",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_shows_who_holds_what_and_who_waits() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    if Command::new("chromium").arg("--version").output().is_err() {
        skipped("the status page in a browser: there is no chromium (Debian: apt-get install chromium)");
        return Ok(());
    }
    let place = Place::new(server).await?;
    let a = Sidecar::started(place.prepared("web-7f9c-a").args(["--elections", "elected,not-asked-for"])).await?;
    let b = place.sidecar("web-7f9c-b", None).await?;
    let waiting = fill(&a, &b).await?;
    let drawn = draw(a.port()).await?;
    for shown in [
        "Locks of <span id=\"owner\">web-7f9c-a</span>",
        ">3 held, 2 requests wait, leads 1 of 2<",
        ">elected<",
        ">leads<",
        ">never<",
        ">invoices<",
        ">client without id<",
        ">ttl 300&nbsp;s<",
        "<li>web-7f9c-b</li>",
        ">web-7f9c-b</td>",
        "<li>place 1: importer, ",
        "updated ",
    ] {
        ensure!(drawn.contains(shown), "{shown} is not in {drawn}");
    }
    ensure!(!drawn.contains(">the sidecar does not answer"), "{drawn}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

/// Holds three locks in `a`, with waiters here and in `b`, and waits for one of `b`.
async fn fill(a: &Sidecar, b: &Sidecar) -> Result<Vec<tokio::task::JoinHandle<Result<Reply>>>> {
    ensure!(a.put("cache-warmer?ttl=300").await? == 200);
    ensure!(ask_as(a.port(), "PUT", "invoices?ttl=300", "biller").await?.status == 200);
    ensure!(ask_as(a.port(), "PUT", "nightly-report.eu-central?ttl=300", "reports").await?.status == 200);
    ensure!(b.put("scheduler?ttl=300").await? == 200);
    let (here, there) = (a.port(), b.port());
    let waiting = vec![
        tokio::spawn(ask_for_ever(a.port())),
        tokio::spawn(ask_as(there, "PUT", "invoices?wait=300", "biller")),
        tokio::spawn(ask_as(here, "PUT", "invoices?wait=300", "importer")),
        tokio::spawn(ask_as(here, "PUT", "scheduler?wait=120", "importer")),
    ];
    eventually("the sidecar sees all that wait", LIMIT, async || {
        let listing = send(here, "GET /locks HTTP/1.1\r\nHost: localhost\r\n\r\n").await.map(|reply| reply.body);
        listing.is_ok_and(|listing| {
            let locks = &listing["locks"];
            locks[1]["queue"][0] == "web-7f9c-b"
                && locks[1]["waiting"][0].is_object()
                && locks[3]["owner"] == "web-7f9c-b"
                && listing["elections"][0]["leads"] == true
        })
    })
    .await?;
    Ok(waiting)
}

/// As the leader's client does; a browser may take its time.
async fn ask_for_ever(port: u16) -> Result<Reply> {
    loop {
        send(port, "GET /election/elected HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// The page's elements after its script has run; pictures of both themes, wide and narrow, are left in the target directory,
/// to be looked at.
async fn draw(port: u16) -> Result<String> {
    let profile = tempfile::tempdir()?;
    let target = std::path::Path::new(env!("CARGO_BIN_EXE_tested-sidecar")).ancestors().nth(2).context("the target")?;
    let browser = |wanted: Vec<String>| {
        let mut browser = Command::new("chromium");
        browser.args(FLAGS).arg(format!("--user-data-dir={}", profile.path().display())).args(wanted);
        browser.arg(format!("http://localhost:{port}/"));
        tokio::task::spawn_blocking(move || browser.output())
    };
    for (theme, scheme) in [("dark", 0), ("light", 1)] {
        for (width, size) in [("wide", "1180,760"), ("narrow", "500,1100")] {
            let picture = target.join(format!("msync-testbed/sidecar-page-{theme}-{width}.png"));
            let wanted = vec![
                format!("--screenshot={}", picture.display()),
                format!("--blink-settings=preferredColorScheme={scheme}"),
                format!("--window-size={size}"),
            ];
            let output = browser(wanted).await??;
            let size = std::fs::metadata(&picture).map(|file| file.len()).unwrap_or_default();
            ensure!(size > 10_000, "a picture of {size} bytes: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let output = browser(vec!["--dump-dom".into()]).await??;
    Ok(String::from_utf8(output.stdout)?)
}
