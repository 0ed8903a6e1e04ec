//! What kube's own client does behind one's back, and this transport does not.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::AsyncReadExt;
use msync::unstable::transport::{Http, connect_over};
use tokio::time::timeout;

use crate::{
    LIMIT, get,
    server::{Manners, Server},
};

#[tokio::test]
async fn nothing_is_sent_twice() -> Result<()> {
    for http in [Http::Best, Http::One] {
        let server = Server::start(Manners::default()).await?;
        let mut config = server.config.clone();
        config.default_retry = true;
        let client = connect_over(http, config)?;
        let response = timeout(LIMIT, client.send(get("/busy")?)).await.context("no answer")??;
        assert_eq!(response.status(), 503);
        assert_eq!(server.requests(), 1, "{http:?}");
    }
    Ok(())
}

#[tokio::test]
async fn no_read_timeout_cuts_a_quiet_watch() -> Result<()> {
    for http in [Http::Best, Http::One] {
        let server = Server::start(Manners::default()).await?;
        let mut config = server.config.clone();
        config.read_timeout = Some(Duration::from_millis(200));
        let client = connect_over(http, config)?;
        let mut body = Box::pin(client.request_stream(get("/slow")?).await?);
        let mut text = String::new();
        timeout(LIMIT, body.read_to_string(&mut text)).await.context("no event")??;
        assert_eq!(text, "late", "{http:?}");
    }
    Ok(())
}
