//! Nothing outlives its lock: whoever is killed, whatever is left in the background.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};

use crate::child::{Notes, Running, alone, children, ended, is_gone, lives};

/// A command with a child in its group, and one that got away into a session of its own.
fn family(notes: &Notes) -> String {
    let notes = notes.path().display();
    format!(
        "sleep 600 & echo $! > {notes}/child; setsid sh -c 'echo $$ > {notes}/away; exec sleep 600' & \
         echo $$ > {notes}/command; wait"
    )
}

#[tokio::test]
async fn a_killed_msync_leaves_no_running_child_nor_grandchild() -> Result<()> {
    let notes = Notes::new()?;
    let running = Running::start(alone(&[], &family(&notes)))?;
    let family = [notes.pid("command").await?, notes.pid("child").await?, notes.pid("away").await?];
    assert!(family.into_iter().all(lives));
    running.signal(Signal::SIGKILL)?;
    for pid in family {
        is_gone(pid).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_killed_warden_ends_the_command_and_msync_says_so() -> Result<()> {
    let notes = Notes::new()?;
    let running = Running::start(alone(&[], &family(&notes)))?;
    let family = [notes.pid("command").await?, notes.pid("child").await?, notes.pid("away").await?];
    let warden = *children(running.pid()).first().context("a warden")?;
    kill(warden, Signal::SIGKILL)?;
    assert_eq!(running.end().await?.code, 137);
    assert!(!family.into_iter().any(lives), "before msync ended");
    Ok(())
}

/// Where both are killed at once nobody is left to end grandchildren; the command itself dies with its parent.
#[tokio::test]
async fn the_command_dies_with_both() -> Result<()> {
    let notes = Notes::new()?;
    let running = Running::start(alone(&[], &format!("echo $$ > {}/command; exec sleep 600", notes.path().display())))?;
    let command = notes.pid("command").await?;
    let warden = *children(running.pid()).first().context("a warden")?;
    running.signal(Signal::SIGSTOP)?;
    kill(warden, Signal::SIGKILL)?;
    running.signal(Signal::SIGKILL)?;
    is_gone(command).await
}

#[tokio::test]
async fn the_warden_is_not_found_under_the_name_of_msync() -> Result<()> {
    let notes = Notes::new()?;
    let running = Running::start(alone(&[], &family(&notes)))?;
    notes.pid("command").await?;
    let warden = *children(running.pid()).first().context("a warden")?;
    assert_eq!(std::fs::read_to_string(format!("/proc/{warden}/comm"))?.trim(), "warden");
    Ok(())
}

#[tokio::test]
async fn what_the_command_leaves_behind_is_told_to_end_and_then_killed() -> Result<()> {
    let notes = Notes::new()?;
    let script = format!(
        "sh -c 'trap \"echo told; exit\" TERM; echo $$ > {0}/hears; sleep 600 & wait' & \
         setsid sh -c 'trap \"\" TERM; echo $$ > {0}/deaf; sleep 600' & \
         while [ ! -s {0}/hears ] || [ ! -s {0}/deaf ]; do sleep 0.05; done; exit 5",
        notes.path().display()
    );
    let ended = ended(alone(&["--grace", "1s"], &script)).await?;
    assert_eq!((ended.code, ended.out.as_str()), (5, "told\n"), "{}", ended.err);
    assert!(!lives(notes.pid("hears").await?) && !lives(notes.pid("deaf").await?), "before msync ended");
    Ok(())
}
