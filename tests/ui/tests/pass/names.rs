//! Names of all kinds.

use std::time::Duration;

use msync::{Client, Error, locked};

use crate::{client, use_memory};

const TTL: Duration = Duration::from_secs(20);

#[locked("fixed")]
async fn fixed() -> Result<u32, Error> {
    Ok(1)
}

#[locked("item-{id:>05}-{pair.0}-{r#type}")]
async fn from_parameters(id: u32, pair: (u8, u8), r#type: &str) -> Result<u32, Error> {
    Ok(id + u32::from(pair.1) + u32::try_from(r#type.len()).unwrap_or_default())
}

#[locked("only-in-the-name-{id}")]
async fn parameter_only_in_the_name(id: u32) -> Result<(), Error> {
    Ok(())
}

#[locked(name = format!("customer-{mail}"))]
async fn from_an_expression(mail: &str) -> Result<usize, Error> {
    Ok(mail.len())
}

#[locked(name = format!("unused-{id}"), ttl = if longer { TTL } else { TTL / 2 }, via = client)]
async fn parameters_only_in_options(id: u32, longer: bool, client: &Client) -> Result<(), Error> {
    Ok(())
}

#[locked(["b-{x}", "a"])]
pub(crate) async fn list(x: u8) -> Result<u8, Error> {
    Ok(x)
}

#[tokio::test]
async fn names_of_all_kinds_work() {
    use_memory();
    assert_eq!(fixed().await.unwrap(), 1);
    assert_eq!(from_parameters(7, (1, 2), "abc").await.unwrap(), 12);
    parameter_only_in_the_name(3).await.unwrap();
    parameters_only_in_options(3, true, &client()).await.unwrap();
    assert_eq!(from_an_expression("Ada@Example.org").await.unwrap(), 15);
    assert_eq!(list(4).await.unwrap(), 4);
}
