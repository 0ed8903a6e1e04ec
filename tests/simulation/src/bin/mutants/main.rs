//! Breaks the library on purpose, rule by rule, in a scratch copy, and shows who notices: the unit tests, the simulation of
//! the core, the simulation of whole engines.
//!
//! `cargo run --release -p simulation --bin mutants -- [acquisitions] [name or first..end]…` prints a table, row by row, so
//! that a pass can be split; a mutant that nobody kills is an error unless the table of mutants says why it is harmless.
//! Never touches the sources themselves.

mod table;

use std::{
    env, fs, io,
    ops::Range,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
    time::Instant,
};

use table::{
    MUTANTS, Mutant, of_leases::OF_LEASES, of_sessions::OF_SESSIONS, of_the_engine::OF_THE_ENGINE,
    of_trouble::OF_TROUBLE,
};

/// Whole engines are simulated for this part of the acquisitions: they take so much longer.
const WHOLE_PART: u64 = 20;
/// A mutant changes one function: only the part of the crate that it is in is built anew, so there are many.
const PARTS: &str = "profile.release.package.msync.codegen-units=64";
/// What takes longer than this many seconds hangs: the mutant made a loop.
const LONGEST: &str = "300";

/// What a simulation made of a mutant.
struct Sentence {
    /// The promise it saw broken.
    broken: Option<String>,
    acquisitions: String,
}

fn main() -> io::Result<ExitCode> {
    let mut arguments = env::args().skip(1);
    let acquisitions: u64 = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(400_000);
    let chosen: Vec<String> = arguments.collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let scratch = root.join("target/mutants");
    let mut survivors = 0;
    println!("| mutant | unit tests | core | acquisitions | whole engines | acquisitions | seconds |");
    println!("|---|---|---|---|---|---|---|");
    let is_chosen =
        |number, mutant: &Mutant| chosen.is_empty() || chosen.iter().any(|choice| names(choice, number, mutant));
    for (_, mutant) in all().enumerate().filter(|(number, mutant)| is_chosen(*number, mutant)) {
        let killed = try_mutant(mutant, &root, &scratch, acquisitions)?;
        survivors += u32::from(!killed && mutant.harmless.is_none());
    }
    Ok(if survivors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All of them; their numbers are those of this order.
fn all() -> impl Iterator<Item = &'static Mutant> {
    MUTANTS.iter().chain(OF_TROUBLE).chain(OF_THE_ENGINE).chain(OF_LEASES).chain(OF_SESSIONS)
}

/// Says whether an argument means a mutant: by a part of its name, or by a range of rows.
fn names(choice: &str, number: usize, mutant: &Mutant) -> bool {
    let row = |text: &str| text.parse::<usize>().ok();
    let range = choice.split_once("..").and_then(|(first, end)| Some(Range { start: row(first)?, end: row(end)? }));
    range.map_or_else(|| mutant.name.contains(choice), |range| range.contains(&number))
}

/// Prints the row of a mutant, and says whether anybody has killed it.
#[allow(clippy::disallowed_methods, reason = "how long a mutant lives is real time")]
fn try_mutant(mutant: &Mutant, root: &Path, scratch: &Path, acquisitions: u64) -> io::Result<bool> {
    copy(root, scratch)?;
    apply(mutant, scratch)?;
    let start = Instant::now();
    let built = cargo(scratch, &["build", "--release", "--config", PARTS, "-p", "simulation", "--bin", "simulation"])?;
    if !built.status.success() {
        println!("| {} DOES NOT COMPILE | | | | | | |\n{}", mutant.name, text(&built));
        return Ok(false);
    }
    let failed = failing_tests(scratch)?;
    let budget = if mutant.is_of_the_core() { acquisitions } else { 0 };
    let cores = if mutant.of_sessions { "cores-with-sessions" } else { "cores" };
    let core = simulate(scratch, &[cores, &budget.to_string(), "1", "1"])?;
    let stage = match mutant {
        _ if mutant.is_of_leases() => "leases",
        _ if mutant.of_sessions => "sessions",
        _ => "whole",
    };
    let whole = simulate(scratch, &[stage, &(acquisitions / WHOLE_PART).to_string(), "1", "1"])?;
    let killed = failed > 0 || core.broken.is_some() || whole.broken.is_some();
    let note = match (killed, mutant.harmless) {
        (true, _) => String::new(),
        (false, Some(why)) => format!(" (survives: {why})"),
        (false, None) => " SURVIVES".to_owned(),
    };
    let survives = || "–".to_owned();
    let (seconds, name) = (start.elapsed().as_secs(), mutant.name);
    let (by_core, by_whole) = (core.broken.unwrap_or_else(survives), whole.broken.unwrap_or_else(survives));
    let (after, later) = (core.acquisitions, whole.acquisitions);
    println!("| {name}{note} | {failed} | {by_core} | {after} | {by_whole} | {later} | {seconds} |");
    Ok(killed)
}

/// Counts the unit tests of the protocol, the record and the engine that fail; one that hangs is one more.
fn failing_tests(scratch: &Path) -> io::Result<usize> {
    // Not optimised: built for a second of running.
    let quick = "profile.dev.package.msync.opt-level=0";
    let tests = ["test", "--config", quick, "-p", "msync", "--no-default-features", "--lib", "--"];
    let some = ["protocol", "record", "engine", "lock", "lease"];
    let run = cargo(scratch, &[tests.as_slice(), &some].concat())?;
    let told = text(&run);
    let hangs = run.status.code() == Some(124);
    assert!(hangs || told.contains("test result:"), "the unit tests did not run:\n{told}");
    Ok(usize::from(hangs) + told.lines().filter(|line| line.starts_with("test ") && line.ends_with("FAILED")).count())
}

fn simulate(scratch: &Path, arguments: &[&str]) -> io::Result<Sentence> {
    let simulation = scratch.join("target/release/simulation");
    let run = Command::new("timeout").arg(LONGEST).arg(simulation).args(arguments).output()?;
    let told = text(&run);
    let made = told.lines().find_map(|line| line.trim().strip_prefix("acquisitions: "));
    let broken = match run.status.code() {
        Some(0) => None,
        Some(124) => Some("hangs".to_owned()),
        _ => Some(first_words(&told)),
    };
    Ok(Sentence { broken, acquisitions: made.unwrap_or("0").trim_end_matches(',').to_owned() })
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
    refresh(with_members(&manifest).as_bytes(), &scratch.join("Cargo.toml"))
}

/// Leaves of the workspace what the scratch copy has.
fn with_members(manifest: &str) -> String {
    let (before, list) = manifest.split_once("members = [").expect("the workspace lists its members");
    let (_, after) = list.split_once(']').expect("the list of members ends");
    format!(r#"{before}members = ["msync", "msync-macros", "tests/simulation"]{after}"#)
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
    let target = scratch.join("target");
    let mut command = Command::new("timeout");
    command
        .args([LONGEST, "cargo"])
        .args(arguments)
        .current_dir(scratch)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_INCREMENTAL", "1")
        .output()
}

fn text(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The code that a mutant changes moves on: here it shows, and not in an hour.
    #[test]
    fn the_text_of_every_mutant_stands_once_in_its_file() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for mutant in all() {
            let source = fs::read_to_string(root.join(mutant.file)).unwrap();
            assert_eq!(source.matches(mutant.from).count(), 1, "{} in {}", mutant.name, mutant.file);
            assert_ne!(mutant.from, mutant.to, "{}", mutant.name);
        }
        let names: BTreeSet<&str> = all().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), all().count());
    }
}
