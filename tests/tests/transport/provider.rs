//! The cryptography of rustls, of which a process has one.

use std::sync::Arc;

use anyhow::{Result, ensure};
use msync::unstable::transport::connect;
use rustls::crypto::{CryptoProvider, ring};
use tests::process::Spawn;

use crate::{LIMIT, server::Server};

async fn run(child: &str) -> Result<()> {
    let mut child = Spawn::this_test(&format!("provider::{child}"))?.spawn()?;
    child.line_with("PASSED", LIMIT).await.map(drop)
}

#[tokio::test]
async fn a_provider_is_chosen_when_none_is_installed() -> Result<()> {
    run("child_without_a_provider").await
}

#[tokio::test]
async fn an_installed_provider_stays() -> Result<()> {
    run("child_with_a_provider").await
}

#[tokio::test]
#[ignore = "a process of the test above"]
async fn child_without_a_provider() -> Result<()> {
    let server = Server::start(crate::server::Manners::default()).await?;
    ensure!(CryptoProvider::get_default().is_none());
    connect(server.config.clone())?;
    ensure!(CryptoProvider::get_default().is_some());
    println!("PASSED");
    Ok(())
}

#[tokio::test]
#[ignore = "a process of the test above"]
async fn child_with_a_provider() -> Result<()> {
    let mut ours = ring::default_provider();
    ours.cipher_suites.truncate(1);
    CryptoProvider::install_default(ours).map_err(|_: Arc<_>| anyhow::anyhow!("there was one"))?;
    let server = Server::start(crate::server::Manners::default()).await?;
    connect(server.config.clone())?;
    let now = CryptoProvider::get_default().map(|provider| provider.cipher_suites.len());
    ensure!(now == Some(1), "{now:?} cipher suites");
    println!("PASSED");
    Ok(())
}
