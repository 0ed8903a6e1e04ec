//! `msync-sidecar`, for the tests of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    msync_compat_sidecar::launch::main()
}
