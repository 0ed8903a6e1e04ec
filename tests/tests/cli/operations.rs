//! What docs/operations.md shows is run as it stands there.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::PostParams};
use serde_json::json;
use tests::{
    loudly,
    testbed::{ADMIN, Options, TestServer},
};

use crate::child::{MSYNC, ended};

/// A command of the page, and what it must say.
struct Example {
    command: String,
    says: Vec<String>,
}

/// The examples of the section on the command line, in their order.
fn examples() -> Result<Vec<Example>> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md"))?;
    let section = page.split("\n## ").find(|section| section.starts_with("The command line")).context("the section")?;
    let mut found: Vec<Example> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        for line in block.lines().take_while(|line| *line != "```") {
            match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push(Example { command: command.to_owned(), says: Vec::new() }),
                (None, Some(example)) => example.says.push(line.to_owned()),
                (None, None) => {}
            }
        }
    }
    Ok(found)
}

#[test]
fn every_verb_has_an_example() -> Result<()> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md"))?;
    let command = msync_cli::command();
    for verb in command.get_subcommands().map(clap::Command::get_name) {
        ensure!(page.contains(&format!("msync {verb}")), "{verb} is not told of");
    }
    ensure!(examples()?.len() >= 12, "the page has examples");
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
    for Example { mut command, says } in examples()? {
        if command.contains("jq -r .term") && !has_jq {
            loudly("there is no jq: its part in docs/operations.md is played by sed");
            command = command.replace("jq -r .term", r#"sed -n 's/.*"term": "\([0-9a-f]*\)",$/\1/p' | head -n 1"#);
        }
        let mut shell = Command::new("bash");
        shell.args(["-c", &command]).env("PATH", &path).env("KUBECONFIG", server.kubeconfig(ADMIN)?);
        let ended = ended(shell).await?;
        ensure!(ended.code == 0, "{command}: {ended:?}");
        let said = format!("{}{}", ended.out, ended.err);
        for part in says {
            ensure!(said.contains(&part), "{command} does not say {part:?} but {said}");
        }
    }
    Ok(())
}
