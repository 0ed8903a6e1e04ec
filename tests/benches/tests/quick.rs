//! The benchmark command itself: every section runs and gives its figures. What the numbers are is not judged: a busy machine
//! may have none to give in a second.

use std::{
    io::Write,
    process::{Command, Output},
};

/// What the command says when there is nothing to make a server of; with `CI` set the test bed makes that a failure.
const NO_SERVER: &str = "benchmarks need an API server of their own";

#[test]
fn every_section_runs_and_gives_its_figures() {
    let plots = std::env::temp_dir().join(format!("msync-benches-{}", std::process::id()));
    let ran = Command::new(env!("CARGO_BIN_EXE_benches")).args(["--quick", "--plots"]).arg(&plots).output().unwrap();
    let (said, told) = texts(&ran);
    if !ran.status.success() && told.contains(NO_SERVER) {
        let _ = writeln!(std::io::stderr(), "msync benches: SKIPPED: {NO_SERVER}");
        return;
    }
    assert!(ran.status.success(), "{said}\n{told}");
    let (_, table) = said.split_once("| | figure |").expect("a table");
    // All but h: its builds take minutes.
    for section in ["a", "b", "c", "d", "e", "f", "g", "i", "l", "q", "s", "*"] {
        let figures = table.lines().filter(|line| line.starts_with(&format!("| {section} |"))).count();
        assert!(figures >= 2, "section {section} has {figures} figures:\n{table}");
    }
    for plot in ["locks", "waiters", "tasks", "sessions"] {
        let svg = std::fs::read_to_string(plots.join(format!("growth-{plot}.svg"))).expect("a plot");
        assert!(svg.contains("<polyline") && svg.trim_end().ends_with("</svg>"), "{svg}");
    }
    std::fs::remove_dir_all(&plots).unwrap();
}

fn texts(ran: &Output) -> (String, String) {
    [&ran.stdout, &ran.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).into()
}
