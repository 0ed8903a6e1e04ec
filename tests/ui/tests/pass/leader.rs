//! `#[leader_only]`.

use msync::{Error, Outcome, leader_only};

use crate::{MyError, use_memory};

#[leader_only("leading")]
pub(crate) async fn leading() {}

#[leader_only("leading-{id}", on_follower = wait, guard = term)]
async fn leading_waits(id: u32) -> Result<u32, MyError> {
    term.check()?;
    Ok(id)
}

#[leader_only("leading", on_follower = error, on_lost = signal)]
async fn leading_errs() -> Result<(), Error> {
    Ok(())
}

#[leader_only("leading")]
async fn leading_outcome() -> Result<Outcome<u8>, Error> {
    Ok(Outcome::Ran(1))
}

#[leader_only(name = format!("leading-{shop}"), on_follower = wait, on_lost = cancel)]
async fn leading_by_expression(shop: &str) -> Result<usize, Error> {
    Ok(shop.len())
}

#[leader_only("leading", on_lost = abort)]
async fn leading_or_aborts(_owned: String) {}

mod renamed {
    extern crate msync as locks;

    #[locks::leader_only("leading", crate = locks)]
    pub(super) async fn renamed() -> Option<u8> {
        Some(3)
    }
}

#[tokio::test]
async fn the_leader_runs() {
    use_memory();
    leading().await;
    assert_eq!(leading_waits(2).await.unwrap(), 2);
    leading_errs().await.unwrap();
    assert_eq!(leading_outcome().await.unwrap(), Outcome::Ran(1));
    assert_eq!(leading_by_expression("abc").await.unwrap(), 3);
    leading_or_aborts(String::new()).await;
    assert_eq!(renamed::renamed().await, Some(3));
}
