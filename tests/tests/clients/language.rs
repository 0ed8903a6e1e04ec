//! How the client of each language is run.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};
use tests::skipped;

/// A language whose client can run here.
#[derive(Debug)]
pub(crate) struct Language {
    /// Its folder's name.
    pub(crate) name: &'static str,
    /// Program and first arguments.
    run: Vec<OsString>,
    /// Before the seconds that the work takes.
    work: &'static [&'static str],
}

// === impl Language ===

impl Language {
    /// A command that takes the lock and works for so many seconds.
    pub(crate) fn command(&self, lock: &str, seconds: f64) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.run[0]);
        command.args(&self.run[1..]).arg(lock).args(self.work).arg(seconds.to_string());
        command
    }
}

/// The languages that this machine has.
pub(crate) fn languages() -> &'static [Language] {
    static FOUND: OnceLock<Vec<Language>> = OnceLock::new();
    FOUND.get_or_init(|| {
        type Made = fn() -> Result<Vec<OsString>>;
        let all: [(&str, [&str; 2], Made, &[&str]); 5] = [
            ("python", ["python3", "--version"], || script("python3", "python/lock.py"), &[]),
            ("javascript", ["node", "--version"], || script("node", "javascript/lock.mjs"), &[]),
            ("go", ["go", "version"], go, &[]),
            ("java", ["javac", "--version"], java, &[]),
            ("shell", ["curl", "--version"], || script("sh", "shell/with-lock.sh"), &["sleep"]),
        ];
        let found = all.into_iter().filter_map(|(name, [program, version], run, work)| {
            if Command::new(program).arg(version).output().is_ok_and(|output| output.status.success()) {
                return Some(Language { name, run: run().expect("the client compiles"), work });
            }
            skipped(&format!("the {name} client: there is no {program}"));
            None
        });
        found.collect()
    })
}

#[allow(clippy::unnecessary_wraps, reason = "as what is compiled")]
fn script(program: &str, path: &str) -> Result<Vec<OsString>> {
    Ok(vec![program.into(), example(path).into()])
}

pub(crate) fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/clients").join(path)
}

/// The compiled client. The compiler's own cache makes the second time fast.
fn go() -> Result<Vec<OsString>> {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-client");
    compile(Command::new("go").arg("build").arg("-o").arg(&program).arg(example("go/lock.go")))?;
    Ok(vec![program.into()])
}

/// Compiled once, or each start would compile it anew.
fn java() -> Result<Vec<OsString>> {
    let classes = Path::new(env!("CARGO_TARGET_TMPDIR")).join("java-client");
    compile(Command::new("javac").arg("-d").arg(&classes).arg(example("java/Lock.java")))?;
    Ok(vec!["java".into(), "-cp".into(), classes.into(), "Lock".into()])
}

fn compile(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
