use msync::{Error, locked};

#[locked("")]
async fn empty() -> Result<(), Error> {
    Ok(())
}

#[locked("Invoices")]
async fn upper_case() -> Result<(), Error> {
    Ok(())
}

#[locked("send_mails")]
async fn underscore() -> Result<(), Error> {
    Ok(())
}

#[locked("invoices-")]
async fn edge() -> Result<(), Error> {
    Ok(())
}

#[locked("a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123456789a123")]
async fn too_long() -> Result<(), Error> {
    Ok(())
}

fn main() {}
