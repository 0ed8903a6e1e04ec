//! `msync`, for the tests of the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    msync_cli::main()
}
