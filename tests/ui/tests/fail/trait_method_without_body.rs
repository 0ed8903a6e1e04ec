use msync::{Error, locked};

trait Job {
    #[locked("a")]
    async fn work(&self) -> Result<(), Error>;
}

fn main() {}
