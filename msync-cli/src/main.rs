//! The binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    msync_cli::main()
}
