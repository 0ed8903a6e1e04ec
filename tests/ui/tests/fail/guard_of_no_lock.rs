//! A guard says held, so only an acquisition makes one.

use msync::{LeaseSet, LockGuard, LockSetGuard};

fn main() {
    let _guards = LockSetGuard::default();
    let _guard = LockGuard::default();
    let _leases = LeaseSet::default();
}
