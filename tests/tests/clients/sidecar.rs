//! A sidecar over a memory store, as a process of its own, and requests to it.

use std::{net::Ipv4Addr, path::Path};

use anyhow::{Context, Result};
use serde_json::Value;
use tests::process::{ChildProcess, Spawn};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::LIMIT;

/// A running sidecar; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) process: ChildProcess,
    pub(crate) port: u16,
}

// === impl Sidecar ===

impl Sidecar {
    /// One on a free port.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_on(0).await
    }

    /// One on this port.
    pub(crate) async fn start_on(port: u16) -> Result<Self> {
        let program = Spawn::program(Path::new(env!("CARGO_BIN_EXE_tested-sidecar")));
        let spawn =
            program.args(["--store", "memory", "--owner", "pod", "--log", "warn", "--ports", &port.to_string()]);
        let mut process = spawn.env("NO_COLOR", "1").spawn()?;
        let started: Value = serde_json::from_str(&process.line_with("\"ports\"", LIMIT).await?)?;
        let port = started["ports"][0].as_u64().context("a port")?.try_into()?;
        Ok(Self { process, port })
    }

    /// Status and body of one request.
    pub(crate) async fn ask(&self, method: &str, target: &str, client: &str) -> Result<(u16, Value)> {
        let exchange = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            let request = format!(
                "{method} {target} HTTP/1.1\r\nHost: localhost\r\nMsync-Client-Id: {client}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer)
        };
        let answer = timeout(LIMIT, exchange).await.with_context(|| format!("no answer to {method} {target}"))??;
        let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no head: {answer:?}"))?;
        let status = head.split(' ').nth(1).context("a status")?.parse()?;
        Ok((status, if body.is_empty() { Value::Null } else { serde_json::from_str(body)? }))
    }
}
