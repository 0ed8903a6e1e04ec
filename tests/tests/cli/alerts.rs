//! The chart's alerts and its dashboard: they speak of series that a scrape has, and are raised when they should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{ask, eventually, process::Spawn, skipped, testbed::promtool};

use crate::chart::{ALL, find, helm_or_skip, rendered};

const LIMIT: Duration = Duration::from_secs(60);

/// Whatever Prometheus itself puts beside the labels of a target in a cluster, and the buckets of a histogram.
const ADDED: [&str; 3] = ["namespace", "pod", "le"];

/// What a scrape shows: each series' name, with the values of its labels.
#[derive(Default)]
struct Scrape(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Scrape {
    fn of(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let found = scrape.0.entry(name.to_owned()).or_default();
            for (label, value) in pairs(labels.trim_end_matches('}')) {
                found.entry(label).or_default().insert(value);
            }
        }
        scrape
    }
}

/// `a="b",c=~"d"` as pairs; no value here has a comma.
fn pairs(labels: &str) -> Vec<(String, String)> {
    let pair = |text: &str| {
        let (label, value) = text.split_once('=')?;
        Some((label.trim_matches([' ', '!']).to_owned(), value.trim_start_matches('~').trim_matches('"').to_owned()))
    };
    labels.split(',').filter_map(pair).collect()
}

/// The figures that an expression names, with what it says of their labels.
fn selectors(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = expression;
    while let Some(start) = ["msync_", "leader_election_"].iter().filter_map(|begin| rest.find(begin)).min() {
        rest = &rest[start..];
        let (name, behind) = rest.split_at(rest.find(|c| !word(c)).unwrap_or(rest.len()));
        let labels = behind.strip_prefix('{').and_then(|inner| inner.split_once('}')).map_or("", |(inner, _)| inner);
        found.push((name.to_owned(), pairs(labels)));
        rest = behind;
    }
    found
}

/// The labels by which an expression keeps its series apart.
fn kept(expression: &str) -> BTreeSet<String> {
    let by = expression.split(" by (").skip(1).filter_map(|rest| rest.split_once(')'));
    by.flat_map(|(labels, _)| labels.split(',').map(|label| label.trim().to_owned())).collect()
}

fn judge(scrape: &Scrape, expression: &str) -> Result<usize> {
    let named = selectors(expression);
    for (name, labels) in &named {
        let series = scrape.0.get(name).with_context(|| format!("no scrape has {name}, in {expression}"))?;
        for (label, value) in labels.iter().filter(|(label, _)| !ADDED.contains(&&**label)) {
            let values = series.get(label).with_context(|| format!("{name} has no label {label}, in {expression}"))?;
            let exact = value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            ensure!(!exact || values.contains(value), "{name} has no {label}={value}, in {expression}: {values:?}");
        }
    }
    for label in kept(expression).iter().filter(|label| !named.is_empty() && !ADDED.contains(&&***label)) {
        let has = |(name, _): &(String, _)| scrape.0.get(name).is_some_and(|series| series.contains_key(label));
        ensure!(named.iter().all(has), "not all have {label} in {expression}");
    }
    Ok(named.len())
}

fn expressions(documents: &[Value]) -> Result<Vec<String>> {
    let groups = find(documents, "PrometheusRule")?["spec"]["groups"].as_array().context("groups")?;
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
    let dashboard: Value =
        serde_json::from_str(find(documents, "ConfigMap")?["data"]["msync.json"].as_str().context("a dashboard")?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut all: Vec<String> = rules
        .chain(targets)
        .map(|one| Ok(one["expr"].as_str().context("an expression")?.to_owned()))
        .collect::<Result<_>>()?;
    let variables = dashboard["templating"]["list"].as_array().context("variables")?.iter();
    let asked = variables.filter_map(|one| one["query"].as_str()?.strip_prefix("label_values(")?.split_once(','));
    all.extend(asked.map(|(series, _)| series.to_owned()));
    Ok(all)
}

/// All that a sidecar shows when a lock is held and awaited, and an election led.
async fn scrape() -> Result<String> {
    let mut program = Spawn::program(env!("CARGO_BIN_EXE_tested-sidecar"));
    program = program.args(["--store", "memory", "--ports", "0,0", "--owner", "web-1", "--elections", "scheduler"]);
    let mut sidecar = program.spawn()?;
    let started: Value = serde_json::from_str(&sidecar.line_with("\"ports\"", LIMIT).await?)?;
    let port: u16 = serde_json::from_value(started["ports"][0].clone())?;
    ensure!(ask(port, "PUT /locks/invoices", &[]).await?.starts_with("HTTP/1.1 200"), "the lock is free");
    let waits =
        tokio::spawn(async move { ask(port, "PUT /locks/invoices?wait=60", &[("Msync-Client-Id", "other")]).await });
    let all_there = async || {
        let _asked = ask(port, "GET /election/scheduler", &[]).await;
        ask(port, "GET /metrics", &[]).await.is_ok_and(|text| {
            text.contains("leader_election_master_status{name=\"scheduler\"} 1")
                && text.contains("msync_waiting{name=\"invoices\"} 1")
        })
    };
    eventually("one leads, one holds, one waits", LIMIT, all_there).await?;
    waits.abort();
    ask(port, "GET /metrics", &[]).await
}

/// A dashboard or an alert about a figure, or a label of it, that nobody gives would be silent for ever.
#[tokio::test]
async fn alerts_and_dashboard_speak_of_series_that_a_scrape_has() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let scrape = Scrape::of(&scrape().await?);
    let mut seen = 0;
    for expression in expressions(&rendered(&helm, &["--set", ALL])?)? {
        seen += judge(&scrape, &expression)?;
    }
    assert!(seen >= 15, "{seen}");
    for wrong in [
        "msync_holds > 0",
        "sum by (lock) (msync_held)",
        "msync_held{lock=\"a\"}",
        "msync_renewals_total{outcome=\"well\"}",
    ] {
        assert!(judge(&scrape, wrong).is_err(), "{wrong} is found");
    }
    Ok(())
}

/// Each alert in a story where it is raised, and in one where it must not be.
#[test]
fn each_alert_is_raised_when_it_should_be_and_only_then() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let Some(promtool) = promtool() else {
        skipped("whether alerts are raised: there is no promtool, which .ci/tools brings");
        return Ok(());
    };
    let documents = rendered(&helm, &["--set", ALL])?;
    let place = tempfile::tempdir()?;
    let groups = &find(&documents, "PrometheusRule")?["spec"]["groups"];
    fs::write(place.path().join("rules.yaml"), json!({"groups": groups}).to_string())?;
    fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/alerts.yaml"), place.path().join("alerts.yaml"))?;
    let output = Command::new(promtool).args(["test", "rules", "alerts.yaml"]).current_dir(place.path()).output()?;
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    ensure!(output.status.success(), "{said}");
    Ok(())
}

/// An alert that is not told has no meaning to who is woken by it.
#[test]
fn the_operations_page_tells_of_every_alert() -> Result<()> {
    let Some(helm) = helm_or_skip()? else { return Ok(()) };
    let documents = rendered(&helm, &["--set", ALL])?;
    let rules = find(&documents, "PrometheusRule")?["spec"]["groups"][0]["rules"].as_array().context("rules")?;
    let page = include_str!("../../../docs/operations.md");
    let stories = include_str!("alerts.yaml");
    assert_eq!(rules.len(), 5);
    for rule in rules {
        let alert = rule["alert"].as_str().context("a name")?;
        assert!(page.contains(&format!("| `{alert}` |")), "{alert} is not told");
        assert!(stories.contains(&format!("alertname: {alert}\n")), "{alert} has no story");
    }
    Ok(())
}
