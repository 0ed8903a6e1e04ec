use msync::{Error, locked};

#[locked("a", wait = none, on_busy = ignore)]
async fn unknown_word() -> Result<(), Error> {
    Ok(())
}

#[locked("a", on_lost = "signal")]
async fn quoted_word() -> Result<(), Error> {
    Ok(())
}

#[locked("a", on_lost)]
async fn no_value() -> Result<(), Error> {
    Ok(())
}

#[locked("a", on_busy = skip)]
async fn never_busy() {}

#[locked("a" ttl = "30s")]
async fn no_comma() -> Result<(), Error> {
    Ok(())
}

fn main() {}
