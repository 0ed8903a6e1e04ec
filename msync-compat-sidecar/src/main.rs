//! The binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    msync_compat_sidecar::launch::main()
}
