//! `msync doctor`: whether locks can work here, and what to do where they cannot.
//!
//! Each check stands for itself: one that fails keeps no other from being made, except where it could only repeat it.

mod checks;
mod clock;

use serde::Serialize;

use crate::{
    args::{Cluster, Doctor, Output},
    connect::Connection,
    exit::{FAILED, Failure},
    show,
    talk::Talk,
};

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Good,
    /// Works, but not as well as it could; or could not be found out.
    Doubtful,
    Bad,
}

/// What was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: String,
    health: Health,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Serialize)]
struct Report {
    findings: Vec<Finding>,
}

pub(crate) async fn doctor(cluster: &Cluster, args: &Doctor) -> Result<(), Failure> {
    let connection = Connection::open(cluster).await?;
    let mut talk = Talk::new(false);
    let mut findings = Vec::new();
    talk.show("asking the API server");
    let reached = checks::api(&connection).await;
    let works = reached.health != Health::Bad;
    findings.push(reached);
    if works {
        findings.push(checks::resource(&connection).await);
        let rights = checks::rights(&connection).await;
        let may_write = rights.iter().all(|finding| finding.health != Health::Bad);
        findings.extend(rights);
        let usable = may_write && findings[1].health != Health::Bad;
        talk.show("comparing clocks");
        findings.extend(clock::clocks(&connection.client, args.quick).await);
        talk.show("taking a lock and watching it");
        findings.push(if usable { checks::event(&connection).await } else { checks::no_event() });
    }
    talk.clear();
    tell(&Report { findings }, args.output)
}

fn tell(report: &Report, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => show::json(report)?,
        Output::Yaml => show::yaml(report)?,
        Output::Table | Output::Wide => show::print(&table(&report.findings))?,
    }
    let bad = report.findings.iter().filter(|finding| finding.health == Health::Bad).count();
    if bad == 0 {
        Ok(())
    } else {
        Err(Failure::new(FAILED, format_args!("{bad} of the checks failed; what to do stands beside them")))
    }
}

fn table(findings: &[Finding]) -> String {
    let mut lines = vec![["CHECK", "RESULT", "FOUND"].map(str::to_owned).to_vec()];
    for finding in findings {
        let result = match finding.health {
            Health::Good => "ok",
            Health::Doubtful => "look",
            Health::Bad => "BAD",
        };
        lines.push(vec![finding.check.clone(), result.to_owned(), finding.found.clone()]);
        lines.extend(finding.advice.iter().map(|advice| vec![String::new(), String::new(), format!("-> {advice}")]));
    }
    show::table(&lines)
}

// === impl Finding ===

impl Finding {
    fn good(check: &str, found: impl Into<String>) -> Self {
        Self { check: check.to_owned(), health: Health::Good, found: found.into(), advice: None }
    }

    fn doubtful(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { health: Health::Doubtful, advice: Some(advice.into()), ..Self::good(check, found) }
    }

    fn bad(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { health: Health::Bad, ..Self::doubtful(check, found, advice) }
    }
}
