use msync::{Error, locked};

struct MyError;

#[locked("a")]
async fn plain() -> Result<u32, MyError> {
    Ok(1)
}

#[locked("a", wait = none, on_busy = skip)]
async fn skipping() -> Result<(), MyError> {
    let _: Error = msync::Error::ShutDown;
    Ok(())
}

#[locked("a")]
async fn foreign() -> Result<u32, String> {
    Ok(1)
}

fn main() {}
