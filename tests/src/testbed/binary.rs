//! The Go programs `tests/apiserver`, `tests/etcdmutex`, `tests/leaderelection` and `tests/helm`, each built once per content of its sources.

use std::{
    fs::{self, File, TryLockError},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::loudly;

/// How often who waits for another's build says so.
const REPORT: Duration = Duration::from_secs(15);

/// The API server's binary, after building it if need be; `None` when it is not built and there is no Go.
pub(super) fn apiserver() -> Result<Option<PathBuf>> {
    go_program(
        "apiserver",
        "apiserver",
        ".",
        "about five minutes on two cores, and 1.5 GB of Go modules and build cache",
    )
}

/// The binary of a contender for one of etcd's own mutexes, after building it if need be; `None` when it is not built and
/// there is no Go.
///
/// # Errors
///
/// When it cannot be built.
pub fn etcdmutex() -> Result<Option<PathBuf>> {
    go_program("etcdmutex", "etcdmutex", ".", "half a minute on two cores")
}

/// The binary of a candidate by client-go's own leader election, after building it if need be; `None` when it is not built and
/// there is no Go.
///
/// # Errors
///
/// When it cannot be built.
pub fn leaderelection() -> Result<Option<PathBuf>> {
    go_program("leaderelection", "leaderelection", ".", "a minute on two cores")
}

/// Helm, after building it from its Go module if need be; `None` when it is not built and there is no Go.
///
/// # Errors
///
/// When it cannot be built.
pub fn helm() -> Result<Option<PathBuf>> {
    go_program("helm", "helm", "helm.sh/helm/v3/cmd/helm", "two minutes on two cores")
}

/// What renders kustomizations, after building it if need be; `None` when it is not built and there is no Go.
///
/// # Errors
///
/// When it cannot be built.
pub fn kustomize() -> Result<Option<PathBuf>> {
    go_program("kustomize", "helm", "./kustomize", "half a minute after Helm, of whose parts it is made")
}

/// Prometheus' tool that tries rules, from the PATH or where `.ci/tools` puts it; `None` when there is none.
pub fn promtool() -> Option<PathBuf> {
    let ours = target_dir().join("ci-tools/bin/promtool");
    [PathBuf::from("promtool"), ours]
        .into_iter()
        .find(|path| Command::new(path).arg("--version").output().is_ok_and(|output| output.status.success()))
}

fn go_program(name: &str, module: &str, package: &str, cost: &str) -> Result<Option<PathBuf>> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(module);
    let dir = target_dir().join("msync-testbed");
    let binary = dir.join(format!("{name}-{:016x}", hash_of(&sources)?));
    if !binary.exists() && !go_is_installed() {
        return Ok(None);
    }
    build_once(&binary, |output| go_build(&sources, package, output, cost))?;
    Ok(Some(binary))
}

/// Makes a file unless it exists. Of several processes one builds it, under a temporary name, while the others wait.
///
/// # Errors
///
/// When `build` fails; the next caller tries again.
pub fn build_once(file: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let dir = file.parent().context("the file is in a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let _lock = lock(&file.with_extension("lock"))?;
    if file.exists() {
        return Ok(()); // built while we waited
    }
    // Not the same name for all: the compiler of a process that was killed may still be writing.
    let unfinished = file.with_extension(format!("unfinished-{}", std::process::id()));
    if let Err(error) = build(&unfinished) {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    fs::rename(&unfinished, file).with_context(|| format!("rename to {}", file.display()))
}

/// Takes a lock that ends with its holder, however that ends.
fn lock(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    let (start, mut said) = (Instant::now(), 0);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
        }
        if start.elapsed() >= REPORT * said {
            let seconds = start.elapsed().as_secs();
            loudly(&format!("another process holds {}; waited {seconds} s so far", path.display()));
            said += 1;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn go_is_installed() -> bool {
    Command::new("go").arg("version").output().is_ok_and(|output| output.status.success())
}

fn go_build(sources: &Path, package: &str, output: &Path, cost: &str) -> Result<()> {
    loudly(&format!("building {}, once: {cost}", sources.display()));
    let start = Instant::now();
    // Stripped: half the size. A workspace file above the sources must not replace our go.mod.
    let status = Command::new("go")
        .args(["build", "-ldflags=-s -w", "-o"])
        .arg(output)
        .arg(package)
        .current_dir(sources)
        .env("GOWORK", "off")
        .status()
        .context("run go build")?;
    if !status.success() {
        bail!("go build of {} failed: {status}", sources.display());
    }
    loudly(&format!("built it in {} s", start.elapsed().as_secs()));
    Ok(())
}

/// A hash of names and contents of all sources. A new Rust release may hash otherwise: then it is built again.
fn hash_of(sources: &Path) -> Result<u64> {
    let entries = fs::read_dir(sources).with_context(|| format!("read {}", sources.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|ext| ext == "go" || ext == "mod" || ext == "sum"));
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        fs::read(&file).with_context(|| format!("read {}", file.display()))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// The target directory this executable lies in, which cargo marks with a file; else cargo's setting or default.
fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    if let Some(marked) = exe.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists()) {
        return marked.to_owned();
    }
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    }
}
