//! The image, built without a container engine, and its programs run in it.
//!
//! Building static programs takes minutes, so this is done where `MSYNC_IMAGE` asks for it, and said loudly elsewhere.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::loudly;

fn wanted() -> bool {
    let wanted = std::env::var_os("MSYNC_IMAGE").is_some_and(|value| !value.is_empty());
    if !wanted {
        loudly(
            "NOT ASKED FOR, the image: MSYNC_IMAGE=1 builds and runs it (buildah, musl-tools and the musl target of Rust are needed)",
        );
    }
    wanted
}

/// buildah with storage of its own.
struct Buildah {
    storage: tempfile::TempDir,
}

impl Buildah {
    fn run(&self, args: &[&str]) -> Result<String> {
        let (root, run) = (self.storage.path().join("root"), self.storage.path().join("run"));
        let output = Command::new("buildah")
            .arg("--root")
            .arg(root)
            .arg("--runroot")
            .arg(run)
            .args(args)
            .env("STORAGE_DRIVER", "vfs")
            .env("BUILDAH_ISOLATION", "chroot")
            .output()
            .context("run buildah")?;
        ensure!(output.status.success(), "buildah {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// The lists of parts of both programs: what they are made of, nothing that only tests need, and nothing of this machine.
fn parts(repository: &Path, said: &str) -> Result<()> {
    if !Command::new("cargo").args(["cyclonedx", "--version"]).output()?.status.success() {
        ensure!(said.contains("cargo install cargo-cyclonedx"), "it says what is missing: {said}");
        return Ok(());
    }
    for (program, part, other) in
        [("msync", "msync-cli", "msync-compat-sidecar"), ("msync-sidecar", "msync-compat-sidecar", "msync-cli")]
    {
        let text = std::fs::read_to_string(repository.join(format!("target/image/{program}.cdx.json")))?;
        let list: Value = serde_json::from_str(&text)?;
        assert_eq!((&list["bomFormat"], &list["metadata"]["component"]["name"]), (&"CycloneDX".into(), &part.into()));
        let names: Vec<_> =
            list["components"].as_array().context("parts")?.iter().filter_map(|one| one["name"].as_str()).collect();
        for name in ["msync", "kube", "ring", "tokio"] {
            ensure!(names.contains(&name), "{program} is made of {name}: {names:?}");
        }
        for name in [other, "tempfile", "tests", "stateright"] {
            ensure!(!names.contains(&name), "{program} is not made of {name}");
        }
        let here = repository.canonicalize()?;
        ensure!(!text.contains(&*here.to_string_lossy()), "{program}.cdx.json tells where it was built");
    }
    let left =
        Command::new("git").args(["status", "--porcelain", "--", "*.cdx.json"]).current_dir(repository).output()?;
    ensure!(left.stdout.is_empty(), "left behind: {}", String::from_utf8_lossy(&left.stdout));
    Ok(())
}

#[test]
fn the_image_has_both_programs_and_nothing_else_and_they_run_in_it() -> Result<()> {
    if !wanted() {
        return Ok(());
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = Command::new(repository.join("images/build")).output()?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    parts(&repository, &String::from_utf8_lossy(&built.stderr))?;
    let archive = repository.join(String::from_utf8(built.stdout)?.trim());
    let buildah = Buildah { storage: tempfile::tempdir()? };
    let container = buildah.run(&["from", &format!("oci-archive:{}", archive.display())])?;
    let container = container.trim();

    let config: Value = serde_json::from_str(&buildah.run(&["inspect", container])?)?;
    let config = &config["OCIv1"]["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"][0], "/msync-sidecar");
    let labels = &config["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");

    let root = buildah.run(&["mount", container])?;
    let mut files: Vec<_> =
        std::fs::read_dir(root.trim())?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
    files.sort();
    assert_eq!(files, ["msync", "msync-sidecar"]);
    for program in ["msync", "msync-sidecar"] {
        // Whatever the image lacks, such as a loader, would show here.
        let tried = Command::new("chroot")
            .arg("--userspec=65532:65532")
            .arg(root.trim())
            .args([&format!("/{program}"), "--version"])
            .output()?;
        let version = String::from_utf8(tried.stdout)?;
        ensure!(
            version.trim() == format!("{program} {}", env!("CARGO_PKG_VERSION")),
            "{program}: {version} {tried:?}",
            tried = tried.stderr
        );
    }
    let told = buildah.run(&[
        "run",
        container,
        "--",
        "/msync",
        "run",
        "x",
        "--store",
        "memory",
        "-q",
        "--",
        "/msync",
        "--version",
    ])?;
    assert_eq!(told.trim(), format!("msync {}", env!("CARGO_PKG_VERSION")), "with a warden, and without a shell");
    Ok(())
}
