use msync::{Error, locked};

#[locked("a")]
async fn nothing() {}

#[locked("a")]
async fn a_number() -> u32 {
    1
}

#[locked("a", wait = none)]
async fn an_option() -> Option<Error> {
    None
}

#[msync::leader_only("a", on_follower = wait)]
async fn a_leaders_option() -> Option<u32> {
    None
}

fn main() {}
