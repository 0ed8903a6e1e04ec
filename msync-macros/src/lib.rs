//! The attribute macros of msync. They are not built yet.
