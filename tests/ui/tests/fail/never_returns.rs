use msync::{Error, locked};

#[locked("a")]
async fn never() -> ! {
    loop {}
}

fn main() {}
