use msync::{Error, locked};

#[locked("a", guard = id)]
async fn shadow(id: u64) -> Result<(), Error> {
    let _ = id;
    Ok(())
}

#[locked("a", guard = "lease")]
async fn quoted(id: u64) -> Result<(), Error> {
    Ok(())
}

fn main() {}
