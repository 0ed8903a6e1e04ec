use msync::{Error, locked};

struct Service {
    name: String,
}

impl Service {
    #[locked("a", via = self.name)]
    async fn work(&self) -> Result<(), Error> {
        Ok(())
    }
}

fn main() {}
