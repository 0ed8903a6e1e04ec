//! The sidecar's `/metrics` has its own figures and the library's.

use std::time::Duration;

use anyhow::Result;
use msync::listener::{FIGURES, Figure};
use tests::{ask, eventually, process::Spawn};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_sidecar_shows_the_figures_of_the_library_beside_its_own() -> Result<()> {
    let program = Spawn::program(env!("CARGO_BIN_EXE_tested-sidecar"));
    let mut sidecar = program.args(["--store", "memory", "--ports", "0,0", "--owner", "web-1"]).spawn()?;
    let started: serde_json::Value = serde_json::from_str(&sidecar.line_with("\"ports\"", LIMIT).await?)?;
    let port: u16 = serde_json::from_value(started["ports"][0].clone())?;
    assert!(ask(port, "PUT /locks/invoices", &[]).await?.starts_with("HTTP/1.1 200"));
    let held = async || {
        ask(port, "GET /metrics", &[]).await.is_ok_and(|text| text.contains("msync_held{name=\"invoices\"} 1"))
    };
    eventually("the lock is counted", LIMIT, held).await?;
    let text = ask(port, "GET /metrics", &[]).await?;
    // A family without a series is not shown: nobody leads here.
    let shown = |figure: &&Figure| !figure.name.starts_with("leader_election_");
    for figure in FIGURES.iter().filter(shown) {
        let name = figure.name.strip_suffix("_total").unwrap_or(figure.name);
        assert!(text.contains(&format!("# TYPE {name} {}\n", figure.kind)), "{name}: {text}");
    }
    assert!(text.contains("msync_sidecar_locks_held 1\n"), "{text}");
    assert_eq!(text.matches("# EOF\n").count(), 1, "{text}");
    Ok(())
}
