//! h: what msync adds to the time of `cargo build`, and what the macros add to that of the crate that uses them.
//!
//! Crates are written into the target directory and built there again and again, in turns. Cold builds of a client of the
//! Kubernetes API are compared with and without msync: what a service has anyway. Uses the registry's local copies only.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    figures::{Figure, Sample, Table},
    sizes::Sizes,
};

const FUNCTIONS: u32 = 50;

/// What a service on Kubernetes has without us.
const KUBE: &str = r#"
k8s-openapi = { version = "0.29", features = ["earliest"] }
kube = { version = "5", default-features = false, features = ["client", "derive", "rustls-tls", "ring"] }
schemars = "1"
serde = { version = "1", features = ["derive"] }
serde_json = "1"
tokio = { version = "1", features = ["full"] }
"#;

const SERVICE: &str = r#"
use kube::{Api, Client, CustomResource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "example.com", version = "v1", kind = "Invoice", namespaced)]
pub struct InvoiceSpec {
    pub customer: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::try_default().await?;
    let invoices: Api<Invoice> = Api::default_namespaced(client);
    for invoice in invoices.list(&Default::default()).await? {
        bill(invoice.spec.customer).await?;
    }
    Ok(())
}
"#;

/// A service's name, whether it uses msync, and what is written above its task.
const SERVICES: [(&str, bool, &str); 2] =
    [("kube-alone", false, ""), ("with-msync", true, "#[msync::locked(\"invoices-{customer}\")]")];

/// A crate's name, and how its functions begin and end.
const CRATES: [(&str, &str, &str); 3] = [
    ("plain", "", ""),
    (
        "by_hand",
        "let guard = msync::Client::builder().memory(&msync::MemoryStore::new()).build().lock(\"job\")?.acquire().await?;",
        "guard.release().await?;",
    ),
    ("annotated", "", ""),
];

pub(crate) fn measure(sizes: &Sizes, table: &mut Table) -> Result<()> {
    if sizes.builds == 0 {
        eprintln!("left out: builds take minutes; ask for some by --builds");
        return Ok(());
    }
    let root = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))?;
    services(&root, sizes.builds, table)?;
    let place = root.join("target/compile-time");
    write_workspace(&root, &place)?;
    for command in ["check", "build"] {
        let took = each_crate(&place, command, sizes.builds)?;
        let plain = took[0].quantile(0.0);
        for ((name, ..), time) in CRATES.iter().zip(took) {
            let what = format!("cargo {command}, {FUNCTIONS} functions {name} (fastest of {})", sizes.builds);
            let figure = Figure::new('h', what, "ms", time.quantile(0.0)).over("plain", plain);
            table.add(if *name == "annotated" { figure.budget("+500 ms") } else { figure });
        }
    }
    Ok(())
}

/// A service with msync beside the same without: built cold, and again after a change.
fn services(root: &Path, builds: usize, table: &mut Table) -> Result<()> {
    let [mut cold, mut warm] = [const { [f64::NAN; 2] }; 2].map(|times: [f64; 2]| times.map(Sample::from));
    for (index, service) in SERVICES.iter().enumerate() {
        let place = root.join("target/compile-time-services").join(service.0);
        write_service(root, &place, *service, 0)?;
        let target = place.join("target");
        if target.exists() {
            fs::remove_dir_all(&target).context("remove an earlier build")?;
        }
        cold[index] = Sample::from(build(&place, "build", None)?.as_secs_f64());
        let again = |number| {
            write_service(root, &place, *service, number)?;
            Ok(build(&place, "build", None)?.as_secs_f64())
        };
        warm[index] = (1..=builds).map(again).collect::<Result<_>>()?;
    }
    let ([alone, with], [alone_again, with_again]) = (cold, warm);
    let limit = alone.median();
    table.add(Figure::new('h', "cold cargo build with msync", "s", with).over("kube alone", limit).budget("+10 s"));
    let limit = alone_again.median();
    table.add(Figure::new('h', "after a change, with msync", "s", with_again).over("kube alone", limit).budget("+1 s"));
    Ok(())
}

fn write_service(root: &Path, place: &Path, (name, msync, task): (&str, bool, &str), number: usize) -> Result<()> {
    fs::create_dir_all(place.join("src"))?;
    let path = root.join("msync").display().to_string();
    let ours = if msync { format!("msync = {{ path = {path:?} }}\n") } else { String::new() };
    let manifest =
        format!("[workspace]\n\n[package]\nname = {name:?}\nedition = \"2024\"\n\n[dependencies]\n{ours}{KUBE}");
    fs::write(place.join("Cargo.toml"), manifest)?;
    if number == 0 {
        fs::copy(root.join("Cargo.lock"), place.join("Cargo.lock"))?;
    }
    let task = format!(
        "{task}\nasync fn bill(customer: String) -> Result<(), Box<dyn std::error::Error>> {{\n    \
         println!(\"{{customer}} {number}\");\n    Ok(())\n}}\n"
    );
    fs::write(place.join("src/main.rs"), format!("{SERVICE}{task}"))?;
    Ok(())
}

fn write_workspace(root: &Path, place: &Path) -> Result<()> {
    let members = CRATES.map(|(name, ..)| format!("{name:?}")).join(", ");
    fs::create_dir_all(place)?;
    fs::write(place.join("Cargo.toml"), format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n"))?;
    fs::copy(root.join("Cargo.lock"), place.join("Cargo.lock"))?;
    for (name, ..) in CRATES {
        let (dir, msync) = (place.join(name), root.join("msync").display().to_string());
        fs::create_dir_all(dir.join("src"))?;
        let manifest = format!(
            "[package]\nname = {name:?}\nedition = \"2024\"\n\n[dependencies]\n\
             msync = {{ path = {msync:?}, default-features = false, features = [\"macros\"] }}\n"
        );
        fs::write(dir.join("Cargo.toml"), manifest)?;
        // Cargo reads the manifests of all members, and wants to see what each builds.
        fs::write(dir.join("src/lib.rs"), "")?;
    }
    Ok(())
}

fn each_crate(place: &Path, command: &str, builds: usize) -> Result<[Sample; 3]> {
    let mut took = [const { Vec::new() }; 3];
    for number in 0..=builds {
        for (krate, took) in CRATES.iter().zip(&mut took) {
            let source: PathBuf = place.join(krate.0).join("src/lib.rs");
            fs::write(&source, format!("// {command} {number}\n{}", functions(krate)))?;
            let time = build(place, command, Some(krate.0))?;
            // The first of all builds the dependencies as well.
            if number > 0 {
                took.push(crate::figures::millis(time));
            }
        }
    }
    Ok(took.map(Sample::from_iter))
}

fn build(place: &Path, command: &str, package: Option<&str>) -> Result<Duration> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([command, "--quiet", "--offline"]).current_dir(place).env("CARGO_TARGET_DIR", place.join("target"));
    if let Some(package) = package {
        // The fastest of many is looked for, and an incremental build would not expand what has not changed.
        cargo.args(["-p", package]).env("CARGO_INCREMENTAL", "0");
    }
    let start = Instant::now();
    let status = cargo.status().context("cargo does not run")?;
    ensure!(status.success(), "cargo {command} in {} failed", place.display());
    Ok(start.elapsed())
}

fn functions((name, begin, end): &(&str, &str, &str)) -> String {
    let function = |n: u32| {
        let attribute =
            if *name == "annotated" { format!("#[msync::locked(\"job-{n}-{{id}}\")]\n") } else { String::new() };
        format!(
            "{attribute}pub async fn work_{n}(id: u64, text: String) -> Result<usize, msync::Error> {{\n    {begin}\n    \
             let sum = (0..id).map(|i| i ^ {n}).sum::<u64>();\n    let size = text.len() + sum as usize;\n    {end}\n    \
             Ok(size)\n}}\n"
        )
    };
    (0..FUNCTIONS).map(function).collect()
}
