use msync::{Error, locked};

#[locked("a")]
fn not_async() -> Result<(), Error> {
    Ok(())
}

fn main() {}
