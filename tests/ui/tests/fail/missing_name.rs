use msync::{Error, locked};

#[locked]
async fn no_arguments() -> Result<(), Error> {
    Ok(())
}

#[locked(ttl = "30s")]
async fn only_options() -> Result<(), Error> {
    Ok(())
}

fn main() {}
