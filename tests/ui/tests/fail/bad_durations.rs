use msync::{Error, locked};

#[locked("a", ttl = "30")]
async fn no_unit() -> Result<(), Error> {
    Ok(())
}

#[locked("a", ttl = 30)]
async fn a_number() -> Result<(), Error> {
    Ok(())
}

#[locked("a", wait = "soon")]
async fn not_a_duration() -> Result<(), Error> {
    Ok(())
}

#[locked("a", wait = "none")]
async fn quoted_none() -> Result<(), Error> {
    Ok(())
}

#[locked("a", max_hold = "3d")]
async fn unknown_unit() -> Result<(), Error> {
    Ok(())
}

#[locked("a", ttl = "999ms")]
async fn ttl_too_short() -> Result<(), Error> {
    Ok(())
}

#[locked("a", wait = "0s")]
async fn wait_of_zero() -> Result<(), Error> {
    Ok(())
}

#[locked("a", ttl = LIMIT)]
async fn wrong_type() -> Result<(), Error> {
    Ok(())
}

const LIMIT: u64 = 30;

fn main() {}
