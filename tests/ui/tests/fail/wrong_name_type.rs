use msync::{Error, locked};

#[locked(name = 7)]
async fn number() -> Result<(), Error> {
    Ok(())
}

fn main() {}
