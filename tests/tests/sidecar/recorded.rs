//! The recorded requests of the original sidecar, sent to two real sidecars over one API server.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::testbed::TestServer;
use tokio::time::{Instant, sleep_until};

use crate::{
    http::{Reply, send},
    process::{Place, Sidecar},
};

/// Examples whose identifiers begin alike: one lock, one run.
type Sequences = BTreeMap<String, Vec<Value>>;

fn sequences() -> Sequences {
    let recorded = include_str!("../../../msync-compat-sidecar/tests/data/examples.json");
    let recorded: Value = serde_json::from_str(recorded).expect("the examples are JSON");
    let mut sequences = Sequences::new();
    for example in recorded["examples"].as_array().expect("a list") {
        let (sequence, _) = example["id"].as_str().and_then(|id| id.split_once('/')).expect("an identifier");
        sequences.entry(sequence.to_owned()).or_default().push(example.clone());
    }
    sequences
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_requests_are_answered_as_the_contract_says() -> Result<()> {
    let Some(server) = TestServer::shared().await? else { return Ok(()) };
    let place = Place::new(server).await?;
    let (a, b) = (place.sidecar("host-a", None).await?, place.sidecar("host-b", None).await?);
    let replays = sequences().into_iter().map(|(sequence, examples)| replay(sequence, examples, &a, &b));
    futures::future::try_join_all(replays).await.map(drop)
}

async fn replay(sequence: String, examples: Vec<Value>, a: &Sidecar, b: &Sidecar) -> Result<()> {
    let name = format!("run-{sequence}").to_lowercase();
    let mut run = Run { name, owners: [a.owner.clone(), b.owner.clone()], versions: BTreeMap::new() };
    let start = Instant::now();
    if ["time-", "put-steal", "method-"].iter().any(|begins| sequence.starts_with(begins)) {
        let made = a.ask("PUT", &run.name).await?;
        run.versions.insert("rv0".into(), made.body["metadata"]["resourceVersion"].clone());
    }
    for example in examples {
        let at = example["request"]["at_s"].as_f64().unwrap_or_default();
        sleep_until(start + Duration::from_secs_f64(at)).await;
        let asked = if example["request"]["to"] == "A" { a } else { b };
        let reply = send(asked.port(), &run.request(&example["request"])).await;
        let checked = reply.and_then(|reply| run.check(&reply, &example));
        checked.with_context(|| example["id"].to_string())?;
    }
    Ok(())
}

struct Run {
    name: String,
    owners: [String; 2],
    versions: BTreeMap<String, Value>,
}

impl Run {
    fn request(&self, request: &Value) -> String {
        let upper = self.name.to_uppercase();
        let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        let filled =
            |key: &str| text(key).replace("{n}", &self.name).replace("{N}", &upper).replace("$A", &self.owners[0]);
        let version = request["version"].as_str().unwrap_or("HTTP/1.1");
        let (method, target, body) = (filled("method"), filled("target"), filled("body"));
        let framing = if request["chunked"] == true {
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
        } else {
            format!("Content-Length: {}\r\n\r\n{body}", body.len())
        };
        format!("{method} {target} {version}\r\nHost: localhost\r\n{framing}")
    }

    fn check(&mut self, reply: &Reply, example: &Value) -> Result<()> {
        match example["class"].as_str() {
            Some("contract") => {
                let answer = &example["answer"];
                ensure!(answer["status"] == reply.status, "{reply:?}");
                ensure!(answer["closes"] != true || reply.head.to_lowercase().contains("connection: close"));
                self.compare(&reply.body, &answer["body"])
            }
            Some("accident") => {
                let wanted = example["better"]["status"].as_array().context("statuses")?;
                ensure!(wanted.contains(&reply.status.into()), "{reply:?}");
                Ok(())
            }
            // A quirk is kept, or refused with a clear 4xx.
            _ => {
                ensure!((400..500).contains(&reply.status) && reply.body["message"].is_string(), "{reply:?}");
                Ok(())
            }
        }
    }

    /// Compares as the notation of the examples says: offsets in seconds, owners and versions by name.
    fn compare(&mut self, got: &Value, wanted: &Value) -> Result<()> {
        match wanted {
            Value::Object(fields) if fields.contains_key("$offset_s") => {
                let text = got.as_str().context("a date")?;
                let left = text.parse::<jiff::Timestamp>()?.duration_since(jiff::Timestamp::now()).as_secs_f64();
                let wanted = fields["$offset_s"].as_f64().context("an offset")?;
                ensure!(text.len() == 24 && (left - wanted).abs() < 1.5, "{text}: {left} s for {wanted} s");
            }
            Value::Object(fields) => {
                let keys = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
                ensure!(keys(got) == keys(wanted), "{got} for {wanted}");
                for (key, wanted) in fields {
                    self.compare(&got[key], wanted)?;
                }
            }
            Value::String(text) if text == "$A" => ensure!(got == &self.owners[0], "{got}"),
            Value::String(text) if text == "$B" => ensure!(got == &self.owners[1], "{got}"),
            Value::String(text) if text.starts_with("rv") => {
                let known = self.versions.entry(text.clone()).or_insert_with(|| got.clone());
                ensure!(known == got, "version {got} for {known}");
            }
            Value::String(text) => ensure!(*got == text.replace("run-path-foo", &self.name), "{got} for {text}"),
            _ => ensure!(got == wanted, "{got} for {wanted}"),
        }
        Ok(())
    }
}
