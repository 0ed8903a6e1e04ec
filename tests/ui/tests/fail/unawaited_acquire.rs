//! An acquisition that is not awaited, and a guard that is dropped at once, lock nothing.
#![deny(unused_must_use)]

use msync::{Client, Error};

async fn bug_21_an_acquire_that_is_not_awaited(client: &Client) -> Result<(), Error> {
    client.lock("invoices")?.acquire();
    Ok(())
}

async fn bug_21_a_guard_that_nobody_keeps(client: &Client) -> Result<(), Error> {
    client.lock("invoices")?.acquire().await?;
    Ok(())
}

fn main() {}
