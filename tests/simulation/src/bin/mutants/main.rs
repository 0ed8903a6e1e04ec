//! Breaks the protocol on purpose, rule by rule, in a scratch copy, and shows who notices: the unit tests, the simulation.
//!
//! `cargo run --release -p simulation --bin mutants -- [acquisitions] [name]` prints a table; a mutant that nobody kills
//! is an error unless the table of mutants says why it is harmless. Never touches the sources themselves.

mod table;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
    time::Instant,
};

use table::{MUTANTS, Mutant};

/// What happened to one mutant.
struct Fate {
    failed_tests: usize,
    broken: Option<String>,
    acquisitions: String,
    seconds: u64,
}

fn main() -> io::Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let acquisitions = arguments.next().unwrap_or_else(|| "2000000".to_owned());
    let only = arguments.next();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let scratch = root.join("target/mutants");
    let mut survivors = 0;
    println!("| mutant | unit tests that fail | simulation | acquisitions | seconds |\n|---|---|---|---|---|");
    for mutant in MUTANTS.iter().filter(|mutant| only.as_deref().is_none_or(|only| mutant.name.contains(only))) {
        let fate = try_mutant(mutant, &root, &scratch, &acquisitions)?;
        survivors += u32::from(fate.failed_tests == 0 && fate.broken.is_none() && mutant.harmless.is_none());
        let seen = fate.broken.or_else(|| mutant.harmless.map(|why| format!("survives: {why}")));
        let seen = seen.unwrap_or_else(|| "SURVIVES".to_owned());
        let Fate { failed_tests, acquisitions, seconds, .. } = fate;
        println!("| {} | {failed_tests} | {seen} | {acquisitions} | {seconds} |", mutant.name);
    }
    Ok(if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[allow(clippy::disallowed_methods, reason = "how long a mutant lives is real time")]
fn try_mutant(mutant: &Mutant, root: &Path, scratch: &Path, acquisitions: &str) -> io::Result<Fate> {
    copy(root, scratch)?;
    apply(mutant, scratch)?;
    let tests = cargo(scratch, &["test", "-p", "msync", "--no-default-features", "--lib", "--", "protocol", "record"])?;
    let failed = text(&tests).lines().filter(|line| line.starts_with("test ") && line.ends_with("FAILED")).count();
    let built = cargo(scratch, &["build", "--release", "-p", "simulation", "--bin", "simulation"])?;
    assert!(built.status.success(), "{} does not compile:\n{}", mutant.name, text(&built));
    let start = Instant::now();
    let run = Command::new(scratch.join("target/release/simulation")).args([acquisitions, "1", "1"]).output()?;
    let told = text(&run);
    let made = told.lines().find_map(|line| line.trim().strip_prefix("acquisitions: "));
    let broken = if run.status.success() { None } else { Some(first_words(&told)) };
    let acquisitions = made.unwrap_or("0").trim_end_matches(',').to_owned();
    Ok(Fate { failed_tests: failed, broken, acquisitions, seconds: start.elapsed().as_secs() })
}

/// Keeps `seed 17: at 3 us: S2` of what a run says, without the rest.
fn first_words(told: &str) -> String {
    let line = told.lines().find(|line| line.starts_with("seed ")).unwrap_or_else(|| told.trim());
    let words: Vec<&str> = line.splitn(4, ": ").collect();
    let promise = words.get(2).copied().unwrap_or("a panic");
    format!("{promise} ({})", words.first().copied().unwrap_or_default())
}

fn apply(mutant: &Mutant, scratch: &Path) -> io::Result<()> {
    let path = scratch.join(mutant.file);
    let source = fs::read_to_string(&path)?;
    let found = source.matches(mutant.from).count();
    assert_eq!(found, 1, "{}: its text stands {found} times in {}", mutant.name, mutant.file);
    fs::write(&path, source.replacen(mutant.from, mutant.to, 1))
}

/// Copies what the simulation needs; files that are the same keep their date, so that little is built anew.
fn copy(root: &Path, scratch: &Path) -> io::Result<()> {
    for part in ["msync", "msync-macros", "tests/simulation", ".cargo"] {
        copy_tree(&root.join(part), &scratch.join(part))?;
    }
    refresh(&fs::read(root.join("Cargo.lock"))?, &scratch.join("Cargo.lock"))?;
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let shortened = |line: &str| match line.split_once('=') {
        Some(("members ", _)) => r#"members = ["msync", "msync-macros", "tests/simulation"]"#.to_owned(),
        Some(("default-members ", _)) => String::new(),
        _ => line.to_owned(),
    };
    let lines: Vec<String> = manifest.lines().map(shortened).collect();
    refresh(lines.join("\n").as_bytes(), &scratch.join("Cargo.toml"))
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path: PathBuf = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            refresh(&fs::read(&path)?, &target)?;
        }
    }
    Ok(())
}

fn refresh(content: &[u8], target: &Path) -> io::Result<()> {
    if fs::read(target).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(target, content)
}

fn cargo(scratch: &Path, arguments: &[&str]) -> io::Result<Output> {
    Command::new("cargo").args(arguments).current_dir(scratch).env("CARGO_TARGET_DIR", scratch.join("target")).output()
}

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}
