//! A web service: every replica answers, the leader reconciles. At SIGTERM requests in flight are answered, then the body of
//! the leader is dropped, and then the next one leads. `cargo run --bin service -- --msync-store memory`
use std::time::Duration;

use axum::{Router, extract::State, routing::get};
use clap::Parser;
use msync::{Client, Lease};
use tokio::{net::TcpListener, signal::unix, time::interval};

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    #[command(flatten)]
    locks: msync::Args,
}

async fn reconcile(term: Lease) {
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        println!("reconciled under fencing token {}", term.token());
    }
}

async fn hello(State(client): State<Client>) -> String {
    format!("hello from {}, holding {:?}\n", client.owner(), client.held())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let client = options.locks.client().await?;
    let election = client.election("reconciler")?;
    let leading = tokio::spawn(async move { election.lead(reconcile).await });
    let listener = TcpListener::bind(options.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let app = Router::new().route("/", get(hello)).with_state(client.clone());
    let mut sigterm = unix::signal(unix::SignalKind::terminate())?;
    let signal = async move { sigterm.recv().await.unwrap_or_default() };
    axum::serve(listener, app).with_graceful_shutdown(signal).await?; // drains
    client.shutdown().await; // not before: it ends the bodies of requests as well
    let ended = leading.await?.expect_err("it reconciles for ever");
    println!("ended in order: {}", ended.is_shut_down());
    Ok(())
}
