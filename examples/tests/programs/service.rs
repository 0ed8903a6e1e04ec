//! A web service whose leader reconciles.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use tests::{cluster::Cluster, process::ChildProcess};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{LIMIT, ends_well, in_memory, pod};

const PROGRAM: &str = env!("CARGO_BIN_EXE_service");

async fn address_of(child: &mut ChildProcess) -> Result<String> {
    let line = child.line_with("listening on ", LIMIT).await?;
    Ok(line.split_once("listening on ").context("it says where")?.1.to_owned())
}

async fn get(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn the_service_serves_reconciles_and_ends_in_order() -> Result<()> {
    let mut service = in_memory(PROGRAM).args(["--listen", "127.0.0.1:0", "--msync-owner", "web"]).spawn()?;
    let address = address_of(&mut service).await?;
    service.line_with("reconciled", LIMIT).await?;
    let answer = get(&address).await?;
    ensure!(answer.contains("hello from web, holding [\"reconciler\"]"), "{answer}");
    service.terminate()?;
    service.line_with("ended in order: true", LIMIT).await?;
    ends_well(service).await
}

#[tokio::test]
async fn of_three_services_one_reconciles_and_the_next_goes_on() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let mut services = BTreeMap::new();
    for name in ["web-1", "web-2", "web-3"] {
        let mut service = pod(&cluster, PROGRAM, name)?.args(["--listen", "127.0.0.1:0"]).spawn()?;
        let address = address_of(&mut service).await?;
        services.insert(name.to_owned(), (service, address));
    }
    cluster.until_waiting("reconciler", 2).await?;
    for left in [2, 1, 0] {
        let leader = cluster.record("reconciler").await?.engine.owner().to_owned();
        let (mut service, _) = services.remove(&leader).context("one of them leads")?;
        service.line_with("reconciled", LIMIT).await?;
        for (name, (_, address)) in &services {
            let answer = get(address).await?;
            ensure!(answer.contains(&format!("hello from {name}, holding []")), "a follower serves as well: {answer}");
        }
        service.terminate()?;
        service.line_with("ended in order: true", LIMIT).await?;
        ends_well(service).await?;
        if left > 0 {
            cluster.until_waiting("reconciler", left - 1).await?;
        }
    }
    Ok(())
}
