//! Functions that the macros must leave as they were: what compiles and runs without the attribute does so with it.
//!
//! On the memory store. The lints are the strictest that a user may have.

#![deny(warnings, clippy::pedantic)]

mod attributes;
mod leader;
mod lints;
mod methods;
mod names;
mod options;
mod returns;
mod signatures;

use msync::{Client, Error, MemoryStore};

#[derive(Debug)]
#[allow(dead_code)]
enum MyError {
    Lock(Error),
    Parse(std::num::ParseIntError),
}

impl From<Error> for MyError {
    fn from(error: Error) -> Self {
        Self::Lock(error)
    }
}

impl From<std::num::ParseIntError> for MyError {
    fn from(error: std::num::ParseIntError) -> Self {
        Self::Parse(error)
    }
}

fn client() -> Client {
    Client::builder().memory(&MemoryStore::new()).build()
}

fn use_memory() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| msync::init(client()));
}
