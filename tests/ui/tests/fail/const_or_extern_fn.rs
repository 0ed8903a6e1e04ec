use msync::{Error, locked};

#[locked("a")]
const fn constant() -> Result<(), Error> {
    Ok(())
}

#[locked("a")]
extern "C" fn external() {}

fn main() {}
