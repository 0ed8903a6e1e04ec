use msync::{Error, locked};

#[locked("invoice-{idd}")]
async fn misspelt(id: u64, shop: u64) -> Result<(), Error> {
    Ok(())
}

#[locked("invoice-{customer}")]
async fn unrelated(id: u64, shop: u64) -> Result<(), Error> {
    Ok(())
}

#[locked("invoice-{id}")]
async fn none() -> Result<(), Error> {
    Ok(())
}

#[locked("invoice-{self.id}")]
async fn no_self() -> Result<(), Error> {
    Ok(())
}

fn main() {}
