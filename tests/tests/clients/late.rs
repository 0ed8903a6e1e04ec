//! A way to the sidecar on which the first request is heard too late, as from a client that was frozen in the midst of it.

use std::net::Ipv4Addr;

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
    Connection: close\r\n\r\n{}";

/// The port of a proxy that answers 408 to the first request, as the sidecar does, and passes on all others.
pub(crate) async fn proxy(sidecar: u16) -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        if let Ok((mut first, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let Ok(byte) = first.read_u8().await else { break };
                head.push(byte);
            }
            // A failure shows at the client, which then does not complain of 408.
            let _ = first.write_all(LATE).await;
        }
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                if let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, sidecar)).await {
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    Ok(port)
}
