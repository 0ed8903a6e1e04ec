//! A fork, with connections that parent and child share.

use std::time::Duration;

use anyhow::Result;
use tests::{
    cluster::{Cluster, LIMIT, child_client, ttl},
    process::{follow_parent, is_child},
};

use super::TTL;
use crate::memory::{forks::forks, own_runtime::block_on};

/// The child drops and releases copies; the parent's connections and holds are as they were, for longer than a ttl.
#[tokio::test]
async fn what_the_child_of_a_fork_does_with_its_copies_is_not_sent() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let mut program = cluster.child("cluster::forks::child_forks", "web-1", ttl(TTL).ttl())?.spawn()?;
    program.line_with("forked", LIMIT).await?;
    let before = cluster.record("dropped").await?;
    tokio::time::sleep(Duration::from_millis(TTL)).await;
    let after = cluster.record("dropped").await?;
    assert_eq!((before.engine, before.term), (after.engine, after.term), "it is still the parent's");
    program.line_with("the parent has kept and released its locks", LIMIT).await?;
    for lock in ["watched", "dropped", "released"] {
        cluster.until_gone(lock).await?;
    }
    Ok(())
}

#[test]
#[ignore = "a child of what_the_child_of_a_fork_does_with_its_copies_is_not_sent"]
fn child_forks() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let _lines = follow_parent();
    let client = block_on(child_client())?;
    forks(&client, || {
        println!("\nforked");
        std::thread::sleep(2 * ttl(TTL).ttl());
        Ok(())
    })
}
