//! Compile-fail and run-pass cases of the macros: see `tests/`. This library holds only the check of the toolchain.

use std::process::Command;

/// The compiler that the expected messages belong to.
pub const RUSTC: &str = "1.95.0";

/// Says whether the running compiler is the one that the expected messages belong to.
///
/// # Errors
/// The reason why the messages cannot be compared, for people to read.
pub fn pinned_toolchain() -> Result<(), String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version =
        Command::new(rustc).arg("--version").output().map_err(|error| format!("rustc does not run: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if version.split_whitespace().nth(1) == Some(RUSTC) {
        return Ok(());
    }
    Err(format!("the messages in tests/fail belong to rustc {RUSTC}, and this is {}", version.trim()))
}
