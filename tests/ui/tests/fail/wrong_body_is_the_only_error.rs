use msync::{Error, locked};

#[locked("a")]
async fn wrong_tail() -> Result<u32, Error> {
    Ok("text")
}

#[locked("a")]
async fn wrong_return(early: bool) -> Result<u32, Error> {
    if early {
        return Ok("text");
    }
    Ok(1)
}

#[locked("a")]
async fn forgotten_tail() -> Result<u32, Error> {
    let _ = 1;
}

#[locked("a")]
async fn unknown_name() -> Result<u32, Error> {
    Ok(typo)
}

#[locked("a")]
async fn unused(id: u32) -> Result<u32, Error> {
    Ok(1)
}

fn main() {}
