//! What a lock cannot do, with real processes: a holder is stopped between its check and its write. The same without any
//! server is in `memory/fence.rs`.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tests::{
    cluster::{Cluster, LIMIT, child_client, soon},
    process::{follow_parent, is_child},
};

use super::{TTL, millis};

const DIR: &str = "MSYNC_TEST_DIR";

/// Two resources: one takes whatever comes, the other no token below the greatest it has seen.
struct Registers(PathBuf);

// === impl Registers ===

impl Registers {
    fn write_unfenced(&self, who: &str) -> Result<()> {
        append(&self.0.join("unfenced"), who)
    }

    fn write_fenced(&self, token: u64, who: &str) -> Result<bool> {
        let guarded = File::create(self.0.join("fenced.lock"))?;
        guarded.lock()?;
        let greatest = self.fenced()?.iter().map(|(token, _)| *token).max();
        let admitted = greatest.is_none_or(|greatest| token >= greatest);
        if admitted {
            append(&self.0.join("fenced"), &format!("{token} {who}"))?;
        }
        Ok(admitted)
    }

    fn unfenced(&self) -> Result<Vec<String>> {
        lines(&self.0.join("unfenced"))
    }

    fn fenced(&self) -> Result<Vec<(u64, String)>> {
        let entry = |line: &String| {
            let (token, who) = line.split_once(' ')?;
            Some((token.parse().ok()?, who.to_owned()))
        };
        lines(&self.0.join("fenced"))?.iter().map(|line| entry(line).context("not an entry")).collect()
    }
}

fn append(file: &Path, line: &str) -> Result<()> {
    let mut file = File::options().create(true).append(true).open(file)?;
    Ok(file.write_all(format!("{line}\n").as_bytes())?)
}

fn lines(file: &Path) -> Result<Vec<String>> {
    let text = if file.exists() { fs::read_to_string(file)? } else { String::new() };
    Ok(text.lines().map(ToOwned::to_owned).collect())
}

#[tokio::test]
async fn a_stopped_process_spoils_what_compares_no_tokens_and_nothing_else() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let registers = Registers(dir.path().to_owned());
    let spawn = cluster.child("cluster::fence::child_writes_too_late", "frozen", millis(TTL))?;
    let mut frozen = spawn.env(DIR, dir.path()).spawn()?;
    frozen.line_with("checked", LIMIT).await?;
    frozen.stop().await?;
    let client = cluster.client("successor", tests::cluster::ttl(TTL)).await?;
    let guard = soon("taken over", client.lock("x")?.acquire()).await??;
    registers.write_unfenced("successor")?;
    assert!(registers.write_fenced(guard.token().get(), "successor")?);
    frozen.say("write")?;
    frozen.resume()?;
    let wrote = frozen.line_with("wrote", LIMIT).await?;
    assert_eq!(
        wrote, "wrote, admitted: false, held: false",
        "refused; and a check would have told, but it did not ask"
    );
    assert_eq!(registers.unfenced()?, ["successor", "frozen"], "the stale write is the last: dirty");
    assert_eq!(registers.fenced()?, [(guard.token().get(), "successor".to_owned())], "clean");
    guard.check()?;
    guard.release().await?;
    Ok(())
}

#[tokio::test]
#[ignore = "a child of a_stopped_process_spoils_what_compares_no_tokens_and_nothing_else"]
async fn child_writes_too_late() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let mut orders = follow_parent();
    let registers = Registers(std::env::var(DIR)?.into());
    let guard = child_client().await?.lock("x")?.acquire().await?;
    guard.check()?;
    println!("\nchecked");
    orders.recv().await.context("the order to write")?; // stopped meanwhile, as by a pause of the machine
    registers.write_unfenced("frozen")?;
    let admitted = registers.write_fenced(guard.token().get(), "frozen")?;
    println!("\nwrote, admitted: {admitted}, held: {}", guard.check().is_ok());
    Ok(())
}
