//! `openapi.yaml` against a running sidecar, by schemathesis: no answer that it does not describe, and no 5xx.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::{
    http::send,
    process::{Sidecar, prepared},
    python::environment,
};

const PACKAGES: [&str; 1] = ["schemathesis==4.32.5"];
/// For what is generated at random, beside the fixed cases.
const SECONDS: &str = "20";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_of_the_requests_is_kept() -> Result<()> {
    let Some(python) = environment("schemathesis-4.32.5", &PACKAGES)? else { return Ok(()) };
    let sidecar = Sidecar::started(prepared("contract").args(["--store", "memory"])).await?;
    let giving = tokio::spawn(give_back(sidecar.port()));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../msync-compat-sidecar");
    let mut tester = Command::new(python);
    let scratch = tempfile::tempdir()?;
    // Not by its script, which names the place where the environment was made.
    tester
        .args(["-m", "schemathesis.cli"])
        .current_dir(scratch.path())
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"));
    tester.arg("run").arg(folder.join("openapi.yaml")).args(["--url", &format!("http://localhost:{}", sidecar.port())]);
    tester.args(["--no-color", "--max-time", SECONDS, "--continue-on-failure", "--generation-database", "none"]);
    let output = tokio::task::spawn_blocking(move || tester.output()).await??;
    ensure!(!giving.is_finished(), "the sidecar did not answer: {:?}", giving.await);
    giving.abort();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.contains("13 selected / 13 total"), "{said}");
    Ok(())
}

/// Releases, for its holder, whatever others wait for: generated requests may wait for five minutes.
async fn give_back(port: u16) -> Result<()> {
    loop {
        let listing = send(port, "GET /locks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?.body;
        for lock in listing["locks"].as_array().into_iter().flatten() {
            if lock["held"] == true && lock["waiting"][0].is_object() {
                let client = lock["client"].as_str().map_or(String::new(), |id| format!("Msync-Client-Id: {id}\r\n"));
                let name = lock["name"].as_str().unwrap_or_default();
                let request = format!("DELETE /locks/{name} HTTP/1.1\r\nHost: localhost\r\n{client}\r\n");
                let status = send(port, &request).await?.status;
                // Its holder may have given it back itself.
                ensure!([204, 403, 404].contains(&status), "{status} to {request}");
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}
