//! A server of Postgres of this test's own, from the programs that Debian's package installs. It listens on a socket in its
//! directory only, and goes with it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

/// Whose the server is where the tests run as root, which Postgres refuses to.
const NOBODY: u32 = 65534;

/// A running server; dropping it ends it.
pub(crate) struct Server {
    process: Child,
    directory: TempDir,
}

/// Starts a server; `None`, said loudly, where there is none to start. With `CI` set that is a failure.
pub(crate) fn server() -> Option<Server> {
    if let Some(programs) = programs() {
        return Some(Server::start(&programs));
    }
    let why = "there is no PostgreSQL (Debian: apt-get install postgresql)";
    assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "CI is set: {why}");
    let _ = writeln!(std::io::stderr(), "SKIPPED fencing in PostgreSQL: {why}");
    None
}

/// Where `initdb` and `postgres` are: in the PATH, or where Debian keeps the newest.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut found: Vec<PathBuf> = versions.chain(std::env::split_paths(&path)).collect();
    found.retain(|folder| folder.join("initdb").exists() && folder.join("postgres").exists());
    found.into_iter().max()
}

// === impl Server ===

impl Server {
    fn start(programs: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let run = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(directory.path()).env_clear().stdin(Stdio::null());
            if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
            chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("the directory can be given away");
        }
        let data = directory.path().join("data");
        let made = run("initdb").args(["--no-sync", "--auth=trust", "--username=msync", "-D"]).arg(&data).output();
        let made = made.expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut command = run("postgres");
        command.arg("-D").arg(&data).arg("-k").arg(directory.path()).args([
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]);
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("postgres runs");
        let mut lines = BufReader::new(process.stderr.take().expect("it was asked for")).lines().map_while(Result::ok);
        let mut said = Vec::new();
        while said.last().is_none_or(|line: &String| !line.contains("ready to accept connections")) {
            said.push(lines.next().unwrap_or_else(|| panic!("postgres ended:\n{}", said.join("\n"))));
        }
        std::thread::spawn(move || lines.for_each(drop)); // or it would wait for a reader
        Self { process, directory }
    }

    /// Opens a connection of its own.
    pub(crate) async fn connect(&self) -> Client {
        let mut config = Config::new();
        config.host_path(self.directory.path()).user("msync").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await.expect("it accepts connections");
        tokio::spawn(connection);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::QUIT); // at once: nobody needs the data
        let _ = self.process.wait();
    }
}
