//! How many connections there are, and that nobody waits for a stream that is taken.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::{join_all, try_join_all};
use http::Response;
use kube::{Client, client::Body};
use msync::unstable::transport::{Http, connect_over};
use tests::eventually;
use tokio::{net::TcpListener, time::timeout};

use crate::{
    LIMIT, get,
    server::{Manners, Server},
};

/// A server that allows few streams, as `--http2-max-streams-per-connection=20` makes it.
fn narrow() -> Manners {
    Manners { streams: 20, ..Manners::default() }
}

fn client(server: &Server) -> Result<Client> {
    Ok(connect_over(Http::Best, server.config.clone())?)
}

/// The version of HTTP that a request came over.
async fn version(client: &Client) -> Result<String> {
    Ok(timeout(LIMIT, client.request_text(get("/")?)).await.context("no answer")??)
}

async fn watches(client: &Client, count: usize) -> Result<Vec<Response<Body>>> {
    let open = |_| async { Ok(timeout(LIMIT, client.send(get("/watch")?)).await.context("no watch")??) };
    try_join_all((0..count).map(open)).await
}

#[tokio::test]
async fn one_connection_carries_a_burst() -> Result<()> {
    let server = Server::start(Manners::default()).await?;
    let client = client(&server)?;
    for version in join_all((0..100).map(|_| version(&client))).await {
        assert_eq!(version?, "2");
    }
    assert_eq!(server.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn a_server_that_allows_few_streams_blocks_nothing() -> Result<()> {
    let server = Server::start(narrow()).await?;
    let client = client(&server)?;
    let open = watches(&client, 70).await?;
    for version in join_all((0..50).map(|_| version(&client))).await {
        assert_eq!(version?, "2");
    }
    assert!(server.connections() <= 7, "{} connections", server.connections());
    drop(open);
    Ok(())
}

#[tokio::test]
async fn the_next_connection_is_made_before_it_is_needed() -> Result<()> {
    let server = Server::start(narrow()).await?;
    let client = client(&server)?;
    let _most = watches(&client, 15).await?;
    assert_eq!(server.connections(), 1);
    let _more = watches(&client, 2).await?;
    eventually("a second connection", LIMIT, || async { server.connections() == 2 }).await
}

#[tokio::test]
async fn streams_that_end_make_room() -> Result<()> {
    let server = Server::start(narrow()).await?;
    let client = client(&server)?;
    for _ in 0..10 {
        drop(watches(&client, 12).await?);
        version(&client).await?;
    }
    assert_eq!(server.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn who_gives_up_makes_the_next_take_another_connection() -> Result<()> {
    let server = Server::start(Manners::default()).await?;
    let client = client(&server)?;
    version(&client).await?;
    assert!(timeout(Duration::from_millis(1200), client.send(get("/silent")?)).await.is_err());
    version(&client).await?;
    assert_eq!(server.connections(), 2);
    eventually("the silent one is closed", LIMIT, || async { server.open() == 1 }).await
}

#[tokio::test]
async fn who_gives_up_while_others_are_answered_does_not() -> Result<()> {
    let server = Server::start(Manners::default()).await?;
    let client = client(&server)?;
    let silent = timeout(Duration::from_millis(1200), client.send(get("/silent")?));
    let (given_up, answered) = tokio::join!(silent, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        version(&client).await
    });
    assert!(given_up.is_err());
    answered?;
    version(&client).await?;
    assert_eq!(server.connections(), 1);
    Ok(())
}

#[tokio::test]
async fn without_http2_it_speaks_http1() -> Result<()> {
    let server = Server::start(Manners { speaks: vec!["http/1.1"], ..Manners::default() }).await?;
    let client = client(&server)?;
    for version in join_all((0..5).map(|_| version(&client))).await {
        assert_eq!(version?, "1.1");
    }
    Ok(())
}

#[tokio::test]
async fn http1_is_spoken_on_demand() -> Result<()> {
    let server = Server::start(Manners::default()).await?;
    let client = connect_over(Http::One, server.config.clone())?;
    assert_eq!(version(&client).await?, "1.1");
    Ok(())
}

#[tokio::test]
async fn who_gives_up_over_http1_leaves_no_idle_connection() -> Result<()> {
    let server = Server::start(Manners::default()).await?;
    let client = connect_over(Http::One, server.config.clone())?;
    for version in join_all((0..5).map(|_| version(&client))).await {
        version?;
    }
    assert!(timeout(Duration::from_millis(1200), client.send(get("/silent")?)).await.is_err());
    eventually("no connection is open", LIMIT, || async { server.open() == 0 }).await?;
    version(&client).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_goodbye_is_met_again() -> Result<()> {
    let server = Server::start(Manners::default()).await?;
    let client = client(&server)?;
    let _watch = watches(&client, 1).await?;
    server.say_goodbye();
    // Which of the two comes first is the network's affair: a request meets the old connection or the new one.
    eventually("a second connection", LIMIT, || async { version(&client).await.is_ok() && server.connections() == 2 })
        .await
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once_and_tried_again() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    drop(listener);
    for http in [Http::Best, Http::One] {
        let nobody = Server::start(Manners::default()).await?;
        let mut config = nobody.config.clone();
        config.cluster_url = format!("https://{addr}").parse()?;
        let client = connect_over(http, config)?;
        let error = client.request_text(get("/")?).await.expect_err("nobody listens").to_string();
        let told = format!("cannot connect to https://{addr}: ");
        assert!(error.trim_start_matches("ServiceError: ").starts_with(&told), "{error}");
        assert!(error.contains("Connection refused"), "{error}");
    }
    let Ok(listener) = TcpListener::bind(addr).await else { return Ok(()) }; // somebody has borrowed the port
    let server = Server::on(listener, Manners::default())?;
    let client = client(&server)?;
    version(&client).await?;
    Ok(())
}
