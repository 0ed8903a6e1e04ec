use msync::{Error, locked};

#[locked("invoice-{id}")]
async fn destructured((id, _): (u64, u64)) -> Result<(), Error> {
    Ok(())
}

fn main() {}
