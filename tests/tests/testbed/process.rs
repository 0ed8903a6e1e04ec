use anyhow::Result;
use tests::{
    eventually,
    process::{ChildProcess, Spawn, follow_parent, is_alive, is_child},
};
use tokio::time::timeout;

use crate::{LIMIT, SILENCE};

fn echo() -> Result<ChildProcess> {
    Spawn::this_test("process::child_echoes")?.spawn()
}

#[tokio::test]
#[ignore = "a child of the other tests"]
async fn child_echoes() {
    if !is_child() {
        return;
    }
    let mut lines = follow_parent();
    println!("\nready");
    while let Some(line) = lines.recv().await {
        println!("echo {line}");
    }
}

#[tokio::test]
async fn child_hears_and_answers() -> Result<()> {
    let mut child = echo()?;
    child.say("hello")?;
    assert_eq!(child.line_with("echo", LIMIT).await?, "echo hello");
    Ok(())
}

#[tokio::test]
async fn stopped_child_is_silent_until_it_is_resumed() -> Result<()> {
    let mut child = echo()?;
    child.line_with("ready", LIMIT).await?;
    child.stop().await?;
    child.say("hello")?;
    assert!(timeout(SILENCE, child.line()).await.is_err());
    child.resume()?;
    assert_eq!(child.line_with("echo", LIMIT).await?, "echo hello");
    Ok(())
}

#[tokio::test]
async fn child_ends_with_its_lease() -> Result<()> {
    let mut child = echo()?;
    child.line_with("ready", LIMIT).await?;
    child.end_lease();
    assert_eq!(child.wait(LIMIT).await?.code(), Some(3));
    Ok(())
}

#[tokio::test]
async fn dropped_child_is_killed_even_when_stopped() -> Result<()> {
    let mut child = echo()?;
    child.line_with("ready", LIMIT).await?;
    child.stop().await?;
    let pid = child.pid();
    drop(child);
    assert!(!is_alive(pid));
    Ok(())
}

#[tokio::test]
async fn child_can_be_asked_to_end() -> Result<()> {
    let mut child = echo()?;
    child.line_with("ready", LIMIT).await?;
    child.terminate()?;
    assert!(!child.wait(LIMIT).await?.success());
    Ok(())
}

#[tokio::test]
async fn stopped_grandchild_ends_when_its_parent_is_killed() -> Result<()> {
    let mut parent = Spawn::this_test("process::child_stops_a_child")?.spawn()?;
    let line = parent.line_with("stopped ", LIMIT).await?;
    let grandchild = line.trim_start_matches("stopped ").parse()?;
    assert!(is_alive(grandchild));
    parent.kill()?;
    eventually("the grandchild is gone", LIMIT, || async { !is_alive(grandchild) }).await
}

#[tokio::test]
#[ignore = "a child of stopped_grandchild_ends_when_its_parent_is_killed"]
async fn child_stops_a_child() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let mut lines = follow_parent();
    let mut child = echo()?;
    child.line_with("ready", LIMIT).await?;
    child.stop().await?;
    println!("\nstopped {}", child.pid());
    lines.recv().await;
    Ok(())
}
