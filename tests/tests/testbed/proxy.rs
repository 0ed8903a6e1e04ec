use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use tests::{
    eventually,
    proxy::{Direction, Proxy},
    testbed::{ADMIN, TestServer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use crate::{LIMIT, SILENCE, code, config_maps, make};

/// A server that sends back what it gets.
async fn echo_server() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    Ok(addr)
}

async fn proxied_echo() -> Result<(Proxy, TcpStream)> {
    let proxy = Proxy::start(echo_server().await?).await?;
    let mut stream = TcpStream::connect(proxy.addr()).await?;
    echoes(&mut stream, b"warm").await?;
    Ok((proxy, stream))
}

async fn echoes(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).await?;
    hears(stream, bytes).await
}

async fn hears(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    let mut buffer = vec![0; bytes.len()];
    timeout(LIMIT, stream.read_exact(&mut buffer)).await.context("no answer")??;
    assert_eq!(buffer, bytes);
    Ok(())
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read_u8()).await.is_err()
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let read = timeout(LIMIT, stream.read_u8()).await;
    matches!(read, Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn delay_applies_in_both_directions() -> Result<()> {
    let (proxy, mut stream) = proxied_echo().await?;
    let delay = Duration::from_millis(100);
    proxy.delay(delay);
    let sent = Instant::now();
    echoes(&mut stream, b"slow").await?;
    assert!(sent.elapsed() >= 2 * delay);
    Ok(())
}

#[tokio::test]
async fn blackholed_bytes_arrive_after_healing() -> Result<()> {
    for direction in [Direction::ToServer, Direction::ToClient] {
        let (proxy, mut stream) = proxied_echo().await?;
        proxy.blackhole(direction);
        stream.write_all(b"late").await?;
        assert!(is_silent(&mut stream).await);
        proxy.heal();
        hears(&mut stream, b"late").await?;
    }
    Ok(())
}

#[tokio::test]
async fn reset_strikes_existing_connections_only() -> Result<()> {
    let (proxy, mut stream) = proxied_echo().await?;
    proxy.reset();
    assert!(is_reset(&mut stream).await);
    let mut next = TcpStream::connect(proxy.addr()).await?;
    echoes(&mut next, b"next").await
}

#[tokio::test]
async fn refused_connections_leave_existing_ones_alone() -> Result<()> {
    let (proxy, mut stream) = proxied_echo().await?;
    proxy.refuse(true);
    let refused = || async { TcpStream::connect(proxy.addr()).await.is_err() };
    eventually("connections are refused", LIMIT, refused).await?;
    echoes(&mut stream, b"still").await?;
    proxy.refuse(false);
    eventually("connections are accepted", LIMIT, || async { !refused().await }).await
}

#[tokio::test]
async fn cut_delivers_the_bytes_before_it() -> Result<()> {
    let (proxy, mut stream) = proxied_echo().await?;
    proxy.cut_after(Direction::ToClient, 6);
    echoes(&mut stream, b"four").await?;
    stream.write_all(b"four").await?;
    let mut got = Vec::new();
    let end = timeout(LIMIT, stream.read_to_end(&mut got)).await?;
    // A reset may overtake the two bytes, as in a real network.
    assert!(end.is_err() && b"fo".starts_with(&got), "{got:?}");
    Ok(())
}

#[tokio::test]
async fn closed_server_closes_the_client() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(listener.local_addr()?).await?;
    let mut client = TcpStream::connect(proxy.addr()).await?;
    let (mut server, _) = listener.accept().await?;
    server.write_all(b"bye").await?;
    drop(server);
    hears(&mut client, b"bye").await?;
    assert_eq!(client.read(&mut [0]).await?, 0);
    Ok(())
}

#[tokio::test]
async fn swallowed_reply_follows_a_delivered_write() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let Ok(proxy) = server.proxy().await else { return Ok(()) };
    let api = config_maps(server.client_via(&proxy, ADMIN).await?, &server.namespace().await?);
    make(&api, "warm").await?; // so that the next bytes are not those of a handshake
    proxy.swallow_next_reply(SILENCE);
    let lost = timeout(LIMIT, make(&api, "delivered")).await?;
    assert!(matches!(lost, Err(kube::Error::HyperError(_) | kube::Error::Service(_))), "{lost:?}");
    assert!(proxy.swallowed() > 0);
    assert_eq!(code(make(&api, "delivered").await), 409);
    Ok(())
}

#[tokio::test]
async fn an_answer_slower_than_the_hold_is_swallowed_too() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(listener.local_addr()?).await?;
    let mut client = TcpStream::connect(proxy.addr()).await?;
    let (mut server, _) = listener.accept().await?;
    proxy.swallow_next_reply(Duration::from_millis(1));
    client.write_all(b"ask").await?;
    hears(&mut server, b"ask").await?;
    assert!(is_silent(&mut client).await, "it ended before there was an answer");
    server.write_all(b"answer").await?;
    assert!(is_reset(&mut client).await);
    assert_eq!(proxy.swallowed(), 6);
    Ok(())
}

#[tokio::test]
async fn a_connection_without_an_answer_leaves_the_fault_to_the_next() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(listener.local_addr()?).await?;
    let mut gone = TcpStream::connect(proxy.addr()).await?;
    let (mut servers_end, _) = listener.accept().await?;
    proxy.swallow_next_reply(Duration::from_millis(1));
    gone.write_all(b"bye").await?;
    drop(gone);
    hears(&mut servers_end, b"bye").await?;
    let mut client = TcpStream::connect(proxy.addr()).await?;
    let (mut server, _) = listener.accept().await?;
    client.write_all(b"ask").await?;
    hears(&mut server, b"ask").await?;
    server.write_all(b"answer").await?;
    assert!(is_reset(&mut client).await);
    assert_eq!(proxy.swallowed(), 6);
    Ok(())
}

#[tokio::test]
async fn kube_recovers_from_a_reset_of_idle_connections() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let Ok(proxy) = server.proxy().await else { return Ok(()) };
    let api = config_maps(server.client_via(&proxy, ADMIN).await?, &server.namespace().await?);
    make(&api, "first").await?;
    proxy.reset();
    let made = || async { make(&api, "second").await.is_ok() };
    eventually("the client has connected again", LIMIT, made).await?;
    assert!(proxy.connections() >= 2);
    Ok(())
}

#[tokio::test]
async fn a_forgotten_connection_is_silent_and_a_new_one_works() -> Result<()> {
    let (proxy, mut stream) = proxied_echo().await?;
    proxy.forget();
    stream.write_all(b"lost").await?;
    assert!(is_silent(&mut stream).await);
    echoes(&mut TcpStream::connect(proxy.addr()).await?, b"new").await?;
    proxy.reset();
    assert!(is_reset(&mut stream).await);
    Ok(())
}
