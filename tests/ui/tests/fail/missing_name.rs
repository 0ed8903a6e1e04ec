use msync::{Error, locked};

#[locked]
async fn no_arguments() -> Result<(), Error> {
    Ok(())
}

#[locked(ttl = "30s")]
async fn only_options() -> Result<(), Error> {
    Ok(())
}

#[locked([])]
async fn empty_list() -> Result<(), Error> {
    Ok(())
}

#[locked(name =)]
async fn empty_expression() -> Result<(), Error> {
    Ok(())
}

#[locked("a", ttl = , wait =)]
async fn empty_values() -> Result<(), Error> {
    Ok(())
}

fn main() {}
