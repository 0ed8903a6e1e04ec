//! The binary, as a plugin of kubectl.

use std::process::ExitCode;

fn main() -> ExitCode {
    msync_cli::main()
}
