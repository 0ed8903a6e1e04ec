//! What the macros add to the time of `cargo build`: `cargo run --release -p benches --bin compile_time`.
//!
//! Writes three crates of fifty small async functions into the target directory: plain ones, ones that take their lock by
//! hand, and annotated ones. Builds each again and again in turns, and reports the fastest build of each: whatever else
//! the machine does only ever adds. Uses the registry's local copies only.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

const FUNCTIONS: u32 = 50;
const BUILDS: u32 = 9;

/// A crate's name, and how its functions begin and end.
const CRATES: [(&str, &str, &str); 3] = [
    ("plain", "", ""),
    (
        "by_hand",
        "let guard = msync::Client::builder().memory(&msync::MemoryStore::new()).build().lock(\"job\")?.acquire().await?;",
        "guard.release().await?;",
    ),
    ("annotated", "", ""),
];

fn main() -> Result<()> {
    let root = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    let place = root.join("target/compile-time");
    write_workspace(&root, &place)?;
    for command in ["check", "build"] {
        let fastest = fastest_of_each(&place, command)?;
        for ((name, ..), time) in CRATES.iter().zip(fastest) {
            let added = time.saturating_sub(fastest[0]);
            println!("cargo {command} of {FUNCTIONS} functions {name:<10} {time:>8.2?}, {added:>8.2?} more than plain");
        }
    }
    println!("goal: annotated is less than 500 ms more than plain");
    Ok(())
}

fn write_workspace(root: &Path, place: &Path) -> Result<()> {
    let members = CRATES.map(|(name, ..)| format!("{name:?}")).join(", ");
    fs::create_dir_all(place)?;
    fs::write(place.join("Cargo.toml"), format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n"))?;
    fs::copy(root.join("Cargo.lock"), place.join("Cargo.lock"))?;
    for (name, ..) in CRATES {
        let (dir, msync) = (place.join(name), root.join("msync").display().to_string());
        fs::create_dir_all(dir.join("src"))?;
        let manifest = format!(
            "[package]\nname = {name:?}\nedition = \"2024\"\n\n[dependencies]\n\
             msync = {{ path = {msync:?}, default-features = false, features = [\"macros\"] }}\n"
        );
        fs::write(dir.join("Cargo.toml"), manifest)?;
        // Cargo reads the manifests of all members, and wants to see what each builds.
        fs::write(dir.join("src/lib.rs"), "")?;
    }
    Ok(())
}

fn fastest_of_each(place: &Path, command: &str) -> Result<[Duration; 3]> {
    let mut fastest = [Duration::MAX; 3];
    for build in 0..=BUILDS {
        for (krate, fastest) in CRATES.iter().zip(&mut fastest) {
            let time = build_anew(place, command, krate, build)?;
            // The first of all builds the dependencies as well.
            if build > 0 {
                *fastest = time.min(*fastest);
            }
        }
    }
    Ok(fastest)
}

fn build_anew(place: &Path, command: &str, krate: &(&str, &str, &str), build: u32) -> Result<Duration> {
    let name = krate.0;
    let source: PathBuf = place.join(name).join("src/lib.rs");
    fs::write(&source, format!("// {command} {build}\n{}", functions(krate)))?;
    let start = Instant::now();
    let status = Command::new(env!("CARGO"))
        .args([command, "--quiet", "--offline", "-p", name])
        .current_dir(place)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_TARGET_DIR", place.join("target"))
        .status()
        .context("cargo does not run")?;
    ensure!(status.success(), "cargo {command} of {name} failed");
    Ok(start.elapsed())
}

fn functions((name, begin, end): &(&str, &str, &str)) -> String {
    let function = |n: u32| {
        let attribute =
            if *name == "annotated" { format!("#[msync::locked(\"job-{n}-{{id}}\")]\n") } else { String::new() };
        format!(
            "{attribute}pub async fn work_{n}(id: u64, text: String) -> Result<usize, msync::Error> {{\n    {begin}\n    \
             let sum = (0..id).map(|i| i ^ {n}).sum::<u64>();\n    let size = text.len() + sum as usize;\n    {end}\n    \
             Ok(size)\n}}\n"
        )
    };
    (0..FUNCTIONS).map(function).collect()
}
