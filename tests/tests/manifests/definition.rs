//! The definition of the resource is what the code says. `MSYNC_BLESS=1` writes it anew.

use std::{env, fs};

use anyhow::{Context, Result};
use msync::unstable::crd::definition;
use serde_json::Value;

use crate::manifest;

const HEADER: &str = "\
# The Lock resource. Written from the code: MSYNC_BLESS=1 cargo test -p tests --test manifests
#   kubectl apply --server-side --filename crd.yaml       with --force-conflicts where it was installed in another way before
";

#[test]
fn the_definition_in_the_manifests_is_the_one_of_the_code() -> Result<()> {
    let expected = format!("{HEADER}{}", serde_saphyr::to_string(&definition())?);
    let file = manifest("crd.yaml");
    if env::var_os("MSYNC_BLESS").is_some() {
        fs::write(&file, &expected)?;
    }
    let found =
        fs::read_to_string(&file).with_context(|| format!("read {}; MSYNC_BLESS=1 writes it", file.display()))?;
    assert_eq!(found, expected, "MSYNC_BLESS=1 writes it anew");
    let parsed: Value = serde_saphyr::from_str(&found)?;
    assert_eq!(parsed, serde_json::to_value(definition())?, "it reads back as the definition");
    Ok(())
}
