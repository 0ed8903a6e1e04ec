use msync::{Error, locked};

#[locked("a", ttl = "30s", wait = none, ttl = "20s")]
async fn twice() -> Result<(), Error> {
    Ok(())
}

#[locked("a", name = "b")]
async fn name_twice() -> Result<(), Error> {
    Ok(())
}

fn main() {}
