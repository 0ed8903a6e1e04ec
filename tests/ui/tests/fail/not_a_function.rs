use msync::{Error, locked};

struct Service;

#[locked("a")]
impl Service {
    async fn work(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[locked("a")]
struct Data;

#[locked("a")]
mod inner {}

fn main() {}
