//! A server of PostgreSQL of the test's own, where the machine has the programs (Debian's package `postgresql`).

use std::{
    env, fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};
use tempfile::TempDir;

/// The user that it runs as where the test is root, which PostgreSQL refuses to be: `nobody`.
const NOBODY: u32 = 65534;

/// A server on a socket of its own, which ends with this.
pub(crate) struct Postgres {
    dir: TempDir,
    bin: PathBuf,
}

// === impl Postgres ===

impl Postgres {
    /// Starts one; none where there is none to start.
    pub(crate) fn start() -> Result<Option<Self>> {
        let Some(bin) = bin() else { return Ok(None) };
        let this = Self { dir: TempDir::with_prefix("pg")?, bin };
        if is_root() {
            chown(this.dir.path(), Some(NOBODY), Some(NOBODY))?;
        }
        this.run(&["initdb", "--auth=trust", "--username=msync", "--no-sync", "--pgdata=data"])?;
        let socket = this.dir.path().display();
        let options = format!("--options=-c listen_addresses='' -c unix_socket_directories='{socket}' -c fsync=off");
        this.run(&["pg_ctl", "--wait", "--pgdata=data", "--log=log", &options, "start"])?;
        Ok(Some(this))
    }

    pub(crate) fn url(&self) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgresql://msync@{socket}/postgres")
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        let program = self.bin.join(words[0]);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            let id = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
            command.args(id).arg("--clear-groups").arg(program);
            command
        } else {
            Command::new(program)
        };
        let log = self.dir.path().join("said");
        let said = fs::File::create(&log)?; // a file: the server would keep a pipe open
        // A locale that a person's terminal names may not be on this machine.
        command.env("LC_ALL", "C");
        let status =
            command.args(&words[1..]).current_dir(self.dir.path()).stdout(said.try_clone()?).stderr(said).status()?;
        ensure!(status.success(), "{words:?}: {}", fs::read_to_string(log)?);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["pg_ctl", "--mode=immediate", "--pgdata=data", "stop"]) {
            eprintln!("PostgreSQL was not stopped: {error}");
        }
    }
}

/// Where the programs are: in the path, or where Debian keeps those of each version.
fn bin() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let in_path = env::split_paths(&path).find(|dir| has_all(dir));
    in_path.or_else(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        versions.filter_map(Result::ok).map(|version| version.path().join("bin")).find(|dir| has_all(dir))
    })
}

fn has_all(dir: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"].iter().all(|program| dir.join(program).exists())
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}
