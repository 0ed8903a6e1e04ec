//! What the manifests tell the sidecar is what it understands, and the same in each of them.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use clap::{CommandFactory, Parser};
use msync_compat_sidecar::config::Config;
use serde_json::{Value, json};

use crate::documents;

const NAME: &str = "msync-sidecar";
/// Where Containerfile puts the program.
const PROGRAM: &str = "/msync-sidecar";
const PROBES: [&str; 3] = ["startupProbe", "livenessProbe", "readinessProbe"];

/// The pod of a manifest's only Deployment.
pub(crate) fn pod(file: &str) -> Result<Value> {
    let deployment = documents(file)?.into_iter().find(|document| document["kind"] == "Deployment");
    Ok(deployment.with_context(|| format!("{file} has a Deployment"))?["spec"]["template"].clone())
}

/// The sidecar among the containers of one kind.
fn sidecar(file: &str, among: &str) -> Result<Value> {
    let pod = pod(file)?;
    let found = pod["spec"][among].as_array().and_then(|all| all.iter().find(|one| one["name"] == NAME).cloned());
    found.with_context(|| format!("{file} has {NAME} among the {among}"))
}

/// The sidecar of every manifest that has one.
fn sidecars() -> Result<[Value; 3]> {
    Ok([
        sidecar("native-sidecar.yaml", "initContainers")?,
        sidecar("component/sidecar.yaml", "initContainers")?,
        sidecar("ordinary-sidecar.yaml", "containers")?,
    ])
}

fn understood(command: &Value) -> Result<Config> {
    let command: Vec<String> = serde_json::from_value(command.clone())?;
    ensure!(command.first().is_some_and(|program| program == PROGRAM), "{command:?} is not in the image");
    Ok(Config::try_parse_from(command)?)
}

#[test]
fn every_manifest_has_the_same_sidecar() -> Result<()> {
    let [native, component, mut ordinary] = sidecars()?;
    assert_eq!(native, component);
    assert_eq!(ordinary["restartPolicy"], Value::Null, "only an init container has one");
    ordinary["restartPolicy"] = json!("Always");
    assert_eq!(native, ordinary);
    Ok(())
}

#[test]
fn the_sidecar_understands_its_environment() -> Result<()> {
    let command = Config::command();
    let known: Vec<&str> = command.get_arguments().filter_map(|flag| flag.get_env()?.to_str()).collect();
    for sidecar in sidecars()? {
        let set = sidecar["env"].as_array().context("variables")?;
        let names: Vec<&str> = set.iter().filter_map(|variable| variable["name"].as_str()).collect();
        assert!(names.contains(&"POD_UID"), "{names:?}");
        for name in names {
            assert!(known.contains(&name), "{name} is none of {known:?}");
        }
    }
    Ok(())
}

#[test]
fn each_probe_is_a_check_of_the_sidecar_in_the_image() -> Result<()> {
    for sidecar in sidecars()? {
        for probe in PROBES {
            let checked = understood(&sidecar[probe]["exec"]["command"]).with_context(|| probe.to_owned())?;
            assert!(checked.check.is_some(), "{probe} would start a second sidecar");
        }
    }
    Ok(())
}

#[test]
fn the_private_sockets_are_on_the_empty_volume_of_the_pod() -> Result<()> {
    for file in ["native-sidecar.yaml", "component/sidecar.yaml", "ordinary-sidecar.yaml"] {
        let pod = pod(file)?;
        let among = if file.starts_with("ordinary") { "containers" } else { "initContainers" };
        let sidecar = sidecar(file, among)?;
        let variables = sidecar["env"].as_array().context("variables")?;
        let told = variables.iter().find(|variable| variable["name"] == "MSYNC_RUN_DIR").context("MSYNC_RUN_DIR")?;
        let mount = &sidecar["volumeMounts"][0];
        assert_eq!(mount["mountPath"], told["value"], "{file}");
        let volumes = pod["spec"]["volumes"].as_array().context("volumes")?;
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).context("the volume")?;
        assert!(volume["emptyDir"].is_object(), "{file}");
    }
    Ok(())
}

#[test]
fn the_image_runs_the_program_that_the_probes_name() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Containerfile");
    let image = fs::read_to_string(file)?;
    let last = image.rsplit("\nFROM ").next().context("a last stage")?;
    assert!(last.starts_with("scratch\n"), "{last}");
    assert!(last.contains(&format!("COPY --from=build {PROGRAM} {PROGRAM}\n")), "{last}");
    assert!(last.contains(&format!("ENTRYPOINT [\"{PROGRAM}\"]\n")), "{last}");
    Ok(())
}
