use msync::{Error, locked};

#[locked("a", at_least = "2m", max_hold = "1m30s")]
async fn contradiction() -> Result<(), Error> {
    Ok(())
}

fn main() {}
