//! A liveness probe: a leader that serves its health at `/healthz`.
//!
//! `cargo run --bin health`, then `curl -i http://127.0.0.1:8080/healthz`; `-- --store kube` on a cluster. A body that does not
//! yield after its leadership has ended turns 200 into 503, and the kubelet restarts the pod:
//!
//! ```yaml
//! livenessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 10, failureThreshold: 3}
//! ```
#![allow(clippy::disallowed_methods, reason = "an example shows real time to people")]

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use examples::{Args, Place};
use msync::Client;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// A probe that says nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<()> {
    let place = Place::open(Args::parse()).await?;
    let client = place.client("web-1")?;
    let listener = TcpListener::bind(("0.0.0.0", 8080)).await?;
    println!("serving http://{}/healthz", listener.local_addr()?);
    tokio::spawn(serve(listener, client.clone()));
    client.run_until_signal(lead(&client)).await?.transpose()?; // none: a signal came first
    Ok(())
}

/// Stands by, leads, stands by again.
async fn lead(client: &Client) -> Result<(), msync::Error> {
    let work = |term: msync::Lease| async move {
        println!("leading, with fencing token {}", term.token());
        loop {
            sleep(Duration::from_secs(1)).await;
        }
    };
    client.election("scheduler")?.lead(work).await
}

async fn serve(listener: TcpListener, client: Client) {
    while let Ok((stream, _)) = listener.accept().await {
        let client = client.clone();
        tokio::spawn(async move { timeout(PATIENCE, answer(stream, &client)).await });
    }
}

/// Answers one request, whatever it is about.
async fn answer(mut stream: TcpStream, client: &Client) -> std::io::Result<()> {
    let mut head = [0; 1024];
    let read = stream.read(&mut head).await?;
    let (status, body) = match client.health() {
        _ if !head[..read].starts_with(b"GET /healthz ") => ("404 Not Found", "only /healthz is here".to_owned()),
        Ok(()) => ("200 OK", "ok".to_owned()),
        Err(why) => ("503 Service Unavailable", why.to_string()),
    };
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await
}
