//! A plain HTTP client: requests as bytes, answers as they are.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Old clients give up after this; no answer may take as long.
const PATIENCE: Duration = Duration::from_secs(9);

/// One answer, whose body is a JSON object or nothing.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn owner(&self) -> &str {
        self.body["spec"]["owner"].as_str().unwrap_or_default()
    }

    /// The fencing token, for whoever holds the lock.
    pub(crate) fn token(&self) -> Option<&str> {
        self.head.lines().find_map(|field| field.strip_prefix("Msync-Fencing-Token: "))
    }

    /// Seconds from now to the expiry that is shown.
    pub(crate) fn left(&self) -> f64 {
        let expiry = self.body["spec"]["expiry"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        expiry.expect("an expiry").duration_since(jiff::Timestamp::now()).as_secs_f64()
    }
}

/// Asks for one lock.
pub(crate) async fn ask(port: u16, method: &str, name: &str) -> Result<Reply> {
    send(port, &format!("{method} /locks/{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")).await
}

/// Asks for one lock as a client with an id, and waits as long as the target says.
pub(crate) async fn ask_as(port: u16, method: &str, target: &str, client: &str) -> Result<Reply> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let head = format!("{method} /locks/{target} HTTP/1.1\r\nHost: localhost\r\nMsync-Client-Id: {client}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    timeout(Duration::from_secs(310), read(&mut stream)).await.context("no answer")?
}

/// Sends these bytes on a connection of their own and reads one answer.
pub(crate) async fn send(port: u16, bytes: &str) -> Result<Reply> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(bytes.as_bytes()).await?;
        read(&mut stream).await
    };
    timeout(PATIENCE, exchange).await.with_context(|| format!("no answer within {PATIENCE:?} to {bytes:?}"))?
}

/// Reads one answer from a kept connection.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.context("closed without an answer")?);
    }
    let head = String::from_utf8(head)?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let length = head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.or((status == 204).then_some(0)).context("no length")?];
    stream.read_exact(&mut body).await?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
    ensure!(body.is_object() || body.is_null(), "a body that is no object: {body}");
    if status >= 500 {
        bail!("the sidecar answers {status}: {body}");
    }
    Ok(Reply { status, head, body })
}
