//! A fork after the first use is refused in the child, and harms nobody: what it has are copies.

use std::{
    process::exit,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use fork::{Fork, waitpid_nohang};
use msync::{Client, Error, LockGuard, MemoryStore};
use rustix::process::{Pid, Signal, kill_process};
use tests::{
    memory::ttl,
    process::{Spawn, follow_parent, is_child},
};

use super::own_runtime::block_on;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// What the parent of a fork does meanwhile, and then its child: it says a line for each thing that is as it must be.
pub(crate) fn forks(client: &Client, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let [watched, dropped, released] = ["watched", "dropped", "released"].map(|name| {
        let lock = client.lock(name).expect("a valid name");
        block_on(lock.acquire()).expect("nobody else has it")
    });
    match fork::fork()? {
        Fork::Child => {
            let code = match in_the_child(client, &watched, dropped, released) {
                Ok(()) => 0,
                Err(error) => {
                    println!("in the child: {error:#}");
                    1
                }
            };
            exit(code);
        }
        Fork::Parent(child) => {
            meanwhile()?;
            ensure!(ended(child)? == 0, "the child of the fork has failed");
            for guard in [watched, dropped, released] {
                guard.check()?;
                block_on(guard.release())?;
            }
            println!("\nthe parent has kept and released its locks");
            Ok(())
        }
    }
}

fn in_the_child(client: &Client, watched: &LockGuard, dropped: LockGuard, released: LockGuard) -> Result<()> {
    watched.check()?;
    drop(dropped);
    refused(block_on(released.release()))?;
    refused(block_on(client.lock("dropped")?.acquire()))?;
    refused(block_on(client.lock("free")?.try_acquire()))?;
    refused(block_on(client.election("free")?.campaign()))?;
    let until = Instant::now() + watched.remaining();
    while watched.check().is_ok() {
        ensure!(Instant::now() < until + Duration::from_secs(5), "the copy of a guard says held for ever");
        sleep(Duration::from_millis(5));
    }
    ensure!(Instant::now() >= until, "it was lost before its deadline");
    refused(block_on(client.sweep().run()))?;
    refused(block_on(Client::try_default()))?;
    block_on(client.shutdown());
    Ok(())
}

fn refused<T>(tried: Result<T, Error>) -> Result<()> {
    match tried {
        Err(error) if error.to_string().contains("forked") => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => anyhow::bail!("it was not refused"),
    }
}

/// Returns the status of a child; one that hangs is killed.
fn ended(child: i32) -> Result<i32> {
    let over = Instant::now() + LIMIT;
    while Instant::now() < over {
        if let Some(status) = waitpid_nohang(child)? {
            return Ok(status);
        }
        sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_raw(child).expect("it is one"), Signal::KILL)?;
    anyhow::bail!("the child of the fork hangs")
}

#[tokio::test]
async fn in_the_child_of_a_fork_nothing_is_acquired_or_released_and_a_guard_says_lost_at_its_deadline() -> Result<()> {
    let mut program = Spawn::this_test("memory::forks::child_forks")?.spawn()?;
    program.line_with("the parent has kept and released its locks", 2 * LIMIT).await?;
    Ok(())
}

#[test]
#[ignore = "a child of in_the_child_of_a_fork_nothing_is_acquired_or_released_and_a_guard_says_lost_at_its_deadline"]
fn child_forks() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let _lines = follow_parent();
    let client = Client::builder().owner("a").timing(ttl(2)).memory(&MemoryStore::new()).build();
    forks(&client, || Ok(()))
}
