//! `msync-sidecar`, for the tests of this package.

use std::process::ExitCode;

/// Bounded memory is a promise of the sidecar, and this gives back what a flood has left.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    msync_compat_sidecar::launch::main()
}
