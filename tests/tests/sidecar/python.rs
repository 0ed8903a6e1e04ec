//! The Python binding `metaparticle-sync` 0.2.0, unmodified, as its registry gives it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tests::{skipped, testbed::build_once};

use crate::process::Sidecar;

/// The package, and the one it needs without saying so.
const PACKAGES: [&str; 2] = ["metaparticle-sync==0.2.0", "six"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_binding_locks_and_leads() -> Result<()> {
    let Some(python) = environment("metaparticle-sync-0.2.0", &PACKAGES)? else { return Ok(()) };
    let sidecar = Sidecar::in_memory("python").await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sidecar/binding.py");
    let base = format!("http://localhost:{}", sidecar.ports[1]);
    let run = move || Command::new(python).arg(script).arg(base).output();
    let output = tokio::task::spawn_blocking(run).await??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains("all is well"), "{said}");
    Ok(())
}

/// The interpreter of an environment with these packages; `None`, said loudly, where it cannot be had.
pub(crate) fn environment(name: &str, packages: &[&str]) -> Result<Option<PathBuf>> {
    if Command::new("python3").arg("--version").output().is_err() {
        skipped(&format!("what needs {name}: there is no python3"));
        return Ok(None);
    }
    let target = Path::new(env!("CARGO_BIN_EXE_tested-sidecar")).ancestors().nth(2).context("the target directory")?;
    let directory = target.join("msync-testbed").join(format!("python-{name}"));
    let interpreter = directory.join("bin/python");
    let made = build_once(&directory.join("complete"), |complete| {
        run(Command::new("python3").args(["-m", "venv"]).arg(&directory))?;
        run(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
        std::fs::write(complete, "").context("mark the environment")
    });
    match made {
        Ok(()) => Ok(Some(interpreter)),
        Err(error) => {
            skipped(&format!("what needs {name}: {error:#}"));
            Ok(None)
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
