use msync::{Error, locked};

struct Id;

#[locked("invoice-{id}")]
async fn no_display(id: Id) -> Result<(), Error> {
    Ok(())
}

fn main() {}
