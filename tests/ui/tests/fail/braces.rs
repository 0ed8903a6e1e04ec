use msync::{Error, locked};

#[locked("invoice-{id")]
async fn open(id: u64) -> Result<(), Error> {
    Ok(())
}

#[locked("invoice-id}")]
async fn close(id: u64) -> Result<(), Error> {
    Ok(())
}

#[locked("invoice-{}")]
async fn nothing(id: u64) -> Result<(), Error> {
    Ok(())
}

#[locked("invoice-{id + 1}")]
async fn expression(id: u64) -> Result<(), Error> {
    Ok(())
}

fn main() {}
