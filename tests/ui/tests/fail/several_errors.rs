use msync::{Error, locked};

#[locked("Invoice-{idd}", ttl = "30", on_bussy = skip, guard = id)]
async fn several(id: u64) -> Result<(), Error> {
    Ok(())
}

async fn the_function_is_usable_all_the_same() -> Result<(), Error> {
    several(1).await
}

fn main() {}
