//! The code of every document, compiled as a user's program would be, and run unless it is marked `no_run`.
//!
//! `cargo test -p documents` does so. Which documents have code, and that each of them stands here, is checked as well.

#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/design.md")]
    mod design {}
    #[doc = include_str!("../../../docs/guide.md")]
    mod guide {}
    #[doc = include_str!("../../../docs/migrating.md")]
    mod migrating {}
}
