//! Speed as a regression test: instructions, since times are noise on a shared machine.
//!
//! Start-up cancels, because what is counted is the difference between a run and one of twice the length. The baseline
//! holds for the compiler it was counted with; another one is told what it counts, and skipped. To take a new baseline,
//! put the printed lines into `baseline.txt`.

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, bail, ensure};

const BASELINE: &str = include_str!("../baseline.txt");

/// What a count may exceed its baseline by.
const TOLERANCE: f64 = 0.10;

/// What is counted, and how often it is repeated: a renewal's run lets paused time pass, which costs as well.
const WORKS: [(&str, u64); 2] = [("acquire-release", 500), ("renewal", 500)];

#[test]
fn instructions_stay_within_a_tenth_of_the_baseline() -> Result<()> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        let why = "no valgrind (Debian: apt-get install valgrind)";
        ensure!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "CI is set, so nothing is to be skipped: {why}");
        loudly(&format!("SKIPPED instruction counts: {why}"));
        return Ok(());
    }
    let (compiler, program) = (compiler()?, build()?);
    if let Some(why) = crash_of_valgrind(&program)? {
        loudly(&format!("NOT COUNTED: valgrind cannot run on this processor: {why}"));
        return Ok(());
    }
    let baseline = baseline(&compiler)?;
    let mut slower = Vec::new();
    for (work, times) in WORKS {
        let counted = per_repetition(&program, work, times)?;
        match baseline.get(work) {
            None => loudly(&format!("NOT COMPARED, no baseline for this compiler: {compiler} | {work} | {counted:.0}")),
            Some(known) => {
                let ratio = counted / known;
                println!("{work}: {counted:.0} instructions, {ratio:.3} of the baseline");
                if ratio > 1.0 + TOLERANCE {
                    slower.push(format!("{work}: {counted:.0} instructions, the baseline is {known:.0} ({ratio:.2})"));
                }
                if ratio < 1.0 - TOLERANCE {
                    loudly(&format!("faster, take a new baseline: {compiler} | {work} | {counted:.0}"));
                }
            }
        }
    }
    ensure!(slower.is_empty(), "{}", slower.join("; "));
    Ok(())
}

/// The difference between N and 2 N repetitions, by N.
fn per_repetition(program: &Path, work: &str, times: u64) -> Result<f64> {
    let [once, twice] = [times, 2 * times].map(|times| instructions(program, work, times));
    let (once, twice) = (once?, twice?);
    ensure!(twice > once, "{work}: {twice} instructions for twice the work of {once}");
    #[allow(clippy::cast_precision_loss, reason = "billions are exact")]
    Ok((twice - once) as f64 / times as f64)
}

/// Tells how valgrind dies of a signal where the program alone runs well: of an instruction that it does not know.
fn crash_of_valgrind(program: &Path) -> Result<Option<String>> {
    let (work, _) = WORKS[0];
    let alone = Command::new(program).args([work, "1"]).output().context("run the program")?;
    ensure!(alone.status.success(), "{work} 1: {}", String::from_utf8_lossy(&alone.stderr));
    let ran = callgrind(program, work, 1)?;
    let said = String::from_utf8_lossy(&ran.stderr);
    Ok(ran.status.code().is_none().then(|| format!("{}: {said}", ran.status)))
}

fn callgrind(program: &Path, work: &str, times: u64) -> Result<Output> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    valgrind.args([work, &times.to_string()]).output().context("run valgrind")
}

fn instructions(program: &Path, work: &str, times: u64) -> Result<u64> {
    let ran = callgrind(program, work, times)?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "valgrind {work} {times}: {said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")).context("callgrind counts")?;
    collected.1.trim().parse().with_context(|| format!("a count: {}", collected.1))
}

/// Builds the program as it ships: unoptimised, tokio would hide us.
fn build() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "-p", "instructions", "--bin", "instructions"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", &target)
        // Flags of the outer build, such as those of coverage, are not what ships.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("run cargo")?;
    ensure!(built.success(), "the counted program does not build");
    Ok(target.join("release/instructions"))
}

/// The compiler and the machine it compiles for, as the baseline names them.
fn compiler() -> Result<String> {
    let said = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output()?;
    let said = String::from_utf8(said.stdout)?;
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name));
    match (field("release: "), field("host: ")) {
        (Some(release), Some(host)) => Ok(format!("{release} {host}")),
        _ => bail!("rustc does not say what it is: {said}"),
    }
}

fn baseline(compiler: &str) -> Result<HashMap<String, f64>> {
    let mut counts = HashMap::new();
    for line in BASELINE.lines().filter(|line| !line.starts_with('#')) {
        let [whose, work, count] = line.split(" | ").collect::<Vec<_>>()[..] else {
            bail!("not a line of a baseline: {line}");
        };
        if whose == compiler {
            counts.insert(work.to_owned(), count.parse()?);
        }
    }
    Ok(counts)
}

/// Past libtest's capture, which would hide it.
fn loudly(line: &str) {
    let _ = writeln!(std::io::stderr(), "msync instructions: {line}");
}
