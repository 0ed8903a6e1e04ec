use msync::{Error, locked};

#[locked("a", wait = none, on_busy = skip)]
async fn a_number() -> u32 {
    1
}

#[locked("a", wait = none, on_busy = skip)]
async fn a_result_of_a_number() -> Result<u32, Error> {
    Ok(1)
}

#[msync::leader_only("a")]
async fn a_leaders_result() -> Result<u32, Error> {
    Ok(1)
}

#[msync::leader_only("a", on_follower = skip)]
async fn a_leaders_number() -> u32 {
    1
}

fn main() {}
