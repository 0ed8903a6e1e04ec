//! Return types decide what a call gives that did not run.

use msync::{Error, Outcome, locked};

use crate::{MyError, use_memory};

mod own_result {
    #![allow(dead_code, unreachable_pub)]
    pub type Result<T> = std::result::Result<T, crate::MyError>;

    #[msync::locked("alias")]
    pub async fn alias(x: u32) -> Result<u32> {
        std::result::Result::Ok(x)
    }

    pub enum Option<T> {
        Some(T),
        None,
    }

    #[derive(Debug)]
    pub struct Ok;

    #[msync::locked("shadowed-prelude")]
    pub async fn shadowed_prelude() -> std::result::Result<Ok, crate::MyError> {
        std::result::Result::Ok(Ok)
    }
}

#[locked("skips", wait = none, on_busy = skip)]
async fn skip_unit() {
    inner_is_busy().await;
}

#[locked("skips", wait = none, on_busy = skip)]
async fn skip_option() -> Option<u32> {
    Some(1)
}

#[locked("skips", wait = none, on_busy = skip)]
async fn skip_outcome() -> Outcome<u32> {
    Outcome::Ran(1)
}

#[locked("skips", wait = "10ms", on_busy = skip)]
async fn skip_result() -> Result<Option<u32>, MyError> {
    Ok(Some(1))
}

#[locked("skips", wait = none, on_busy = error)]
async fn error_result() -> Result<(), MyError> {
    Ok(())
}

async fn inner_is_busy() {
    let all = tokio::spawn(async {
        assert_eq!(skip_option().await, None);
        assert!(skip_outcome().await.is_skipped());
        assert_eq!(skip_result().await.unwrap(), None);
        assert!(matches!(error_result().await, Err(MyError::Lock(Error::Busy { .. }))));
    });
    all.await.unwrap();
}

#[tokio::test]
async fn return_types_decide_what_busy_means() {
    use_memory();
    skip_unit().await;
    assert_eq!(skip_option().await, Some(1));
    assert_eq!(skip_outcome().await, Outcome::Ran(1));
    assert_eq!(skip_result().await.unwrap(), Some(1));
    assert_eq!(own_result::alias(2).await.unwrap(), 2);
    own_result::shadowed_prelude().await.unwrap();
}
