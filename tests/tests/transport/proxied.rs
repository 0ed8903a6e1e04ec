//! Through an HTTP proxy, as `HTTPS_PROXY` asks for one.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use msync::unstable::transport::{Http, connect_over};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    LIMIT, get,
    server::{Manners, Server},
};

/// A proxy that lets those through who say who they are.
async fn proxy(tunnels: Arc<AtomicUsize>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let tunnels = Arc::clone(&tunnels);
            tokio::spawn(async move { tunnel(client, &tunnels).await });
        }
    });
    Ok(addr)
}

async fn tunnel(client: TcpStream, tunnels: &AtomicUsize) -> Result<()> {
    let mut client = BufReader::new(client);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let server = head.first().and_then(|line| line.split(' ').nth(1)).context("CONNECT host:port HTTP/1.1")?.to_owned();
    // user:p@ss
    let known = head.iter().any(|line| line.eq_ignore_ascii_case("proxy-authorization: Basic dXNlcjpwQHNz"));
    if !known {
        return Ok(client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await?);
    }
    tunnels.fetch_add(1, Ordering::SeqCst);
    let mut server = TcpStream::connect(server).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[tokio::test]
async fn calls_go_through_the_proxy_over_http2() -> Result<()> {
    let tunnels = Arc::new(AtomicUsize::new(0));
    let proxy = proxy(Arc::clone(&tunnels)).await?;
    let server = Server::start(Manners::default()).await?;
    for (http, version) in [(Http::Best, "2"), (Http::One, "1.1")] {
        let mut config = server.config.clone();
        config.proxy_url = Some(format!("http://user:p%40ss@{proxy}").parse()?);
        let client = connect_over(http, config)?;
        assert_eq!(timeout(LIMIT, client.request_text(get("/")?)).await??, version);
    }
    assert_eq!(tunnels.load(Ordering::SeqCst), 2);
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() -> Result<()> {
    let proxy = proxy(Arc::default()).await?;
    let server = Server::start(Manners::default()).await?;
    let mut config = server.config.clone();
    config.proxy_url = Some(format!("http://user:wrong@{proxy}").parse()?);
    let client = connect_over(Http::Best, config)?;
    let error = timeout(LIMIT, client.request_text(get("/")?)).await?.expect_err("it is not let through").to_string();
    ensure!(error.contains(&format!("cannot connect to the proxy http://{proxy} (proxy-url), or by it to")), "{error}");
    ensure!(!error.contains("wrong"), "a secret is told: {error}");
    Ok(())
}
