use msync::{Error, locked};

#[locked("a")]
#[locked("a")]
async fn twice() -> Result<(), Error> {
    Ok(())
}

#[locked(["a", "b", "a"])]
async fn twice_in_a_list() -> Result<(), Error> {
    Ok(())
}

fn main() {}
