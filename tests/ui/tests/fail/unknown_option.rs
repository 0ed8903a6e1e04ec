use msync::{Error, locked};

#[locked("a", tll = "30s")]
async fn misspelt() -> Result<(), Error> {
    Ok(())
}

#[locked("a", namespace = "b")]
async fn unrelated() -> Result<(), Error> {
    Ok(())
}

#[locked("a", on_follower = skip)]
async fn of_the_other_macro() -> Result<(), Error> {
    Ok(())
}

fn main() {}
