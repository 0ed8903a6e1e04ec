//! What docs/operations.md shows is run as it stands there.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::PostParams};
use serde_json::json;
use tests::{
    eventually, in_ci, loudly,
    testbed::{ADMIN, Options, TestServer},
};

use crate::child::{LIMIT, MSYNC, Running, ended};

/// What plays the part of a program that this machine may lack.
const WITHOUT_JQ: [(&str, &str); 2] = [
    ("jq -r .term", r#"sed -n 's/.*"term": "\([0-9a-f]*\)",$/\1/p' | head -n 1"#),
    ("jq .ttlMilliseconds", r#"sed -n 's/.*"ttlMilliseconds":\([0-9]*\).*/\1/p'"#),
];

/// A command of the page, and what it must say.
struct Example {
    command: String,
    says: Vec<String>,
    /// It runs on beside those after it.
    stays: bool,
}

/// The examples of the section on the command line, in their order.
fn examples() -> Result<Vec<Example>> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md"))?;
    let section = page.split("\n## ").find(|section| section.starts_with("The command line")).context("the section")?;
    let mut found: Vec<Example> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        for line in block.lines().take_while(|line| *line != "```") {
            match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(line), _) => {
                    let (command, stays) = line.strip_suffix(" &").map_or((line, false), |command| (command, true));
                    found.push(Example { command: command.to_owned(), says: Vec::new(), stays });
                }
                (None, Some(example)) => example.says.push(line.to_owned()),
                (None, None) => {}
            }
        }
    }
    Ok(found)
}

#[test]
fn every_verb_has_an_example() -> Result<()> {
    let (command, examples) = (msync_cli::command(), examples()?);
    for verb in command.get_subcommands().map(clap::Command::get_name) {
        let shown = format!("msync {verb} ");
        ensure!(examples.iter().any(|example| example.command.starts_with(&shown)), "{verb} is not shown");
    }
    Ok(())
}

#[tokio::test]
async fn each_example_does_what_the_page_says() -> Result<()> {
    let Some(server) = TestServer::start(Options::default()).await? else { return Ok(()) };
    let billing: Namespace = serde_json::from_value(json!({"metadata": {"name": "billing"}}))?;
    Api::all(server.client(ADMIN).await?).create(&PostParams::default(), &billing).await?;
    let programs = tempfile::tempdir()?;
    symlink(MSYNC, programs.path().join("msync"))?;
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH")?);
    let has_jq = Command::new("jq").arg("--version").output().is_ok();
    let mut beside = Vec::new();
    for mut example in examples()? {
        if !has_jq && example.command.contains("jq ") {
            assert!(!in_ci(), "CI is set, so the examples are run as they are: install jq");
            loudly("there is no jq: its part in docs/operations.md is played by sed");
            example.plays(&WITHOUT_JQ);
        }
        let mut shell = Command::new("bash");
        shell.args(["-c", &example.command]).env("PATH", &path).env("KUBECONFIG", server.kubeconfig(ADMIN)?);
        shell.env("LC_ALL", "C");
        if example.stays {
            beside.push(example.runs_on(shell).await?);
        } else {
            example.ends_well(shell).await?;
        }
    }
    Ok(())
}

// === impl Example ===

impl Example {
    fn plays(&mut self, parts: &[(&str, &str)]) {
        for (part, played) in parts {
            self.command = self.command.replace(part, played);
        }
    }

    async fn runs_on(&self, shell: Command) -> Result<Running> {
        let running = Running::start(shell)?;
        for part in &self.says {
            let said = async || running.out().contains(part) || running.err().contains(part);
            let in_time = eventually(part, LIMIT, said).await;
            in_time.with_context(|| format!("{}: {}{}", self.command, running.out(), running.err()))?;
        }
        Ok(running)
    }

    async fn ends_well(&self, shell: Command) -> Result<()> {
        let ended = ended(shell).await?;
        ensure!(ended.code == 0, "{}: {ended:?}", self.command);
        let said = format!("{}{}", ended.out, ended.err);
        for part in &self.says {
            ensure!(said.contains(part), "{} does not say {part:?} but {said}", self.command);
        }
        Ok(())
    }
}
