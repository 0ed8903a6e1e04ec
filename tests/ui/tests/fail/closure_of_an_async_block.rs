//! A body is an async closure: `async |guard| …`. What is said to the other kind is rustc's and names nothing of ours, so
//! the documentation of `run` and the guide tell what to write.

use msync::{Client, Error, LockGuard};

async fn a_closure_of_an_async_block(client: &Client) -> Result<u64, Error> {
    client.lock("invoices")?.run(|guard| async move { guard.token().get() }).await
}

async fn of_several(client: &Client) -> Result<usize, Error> {
    client.lock_all(["a", "b"])?.run(|guards| async move { guards.guards().len() }).await
}

async fn with_the_type_that_rustc_asks_for(client: &Client) -> Result<u64, Error> {
    client.lock("invoices")?.run(|guard: &LockGuard| async move { guard.token().get() }).await
}

fn main() {}
