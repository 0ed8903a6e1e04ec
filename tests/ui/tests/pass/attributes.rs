//! Other attributes beside it, and macros around it.

use msync::{Error, locked};

use crate::{client, methods::Service, use_memory};

#[async_trait::async_trait]
trait Boxed {
    async fn boxed(&self, id: u32, (a, b): (u32, u32)) -> Result<u32, Error>;
    async fn unit(&mut self);
    #[locked("default-{id}")]
    async fn with_default(&self, id: u32) -> Result<u32, Error> {
        Ok(id)
    }
}

#[async_trait::async_trait]
impl Boxed for Service {
    #[locked("{self.name}-{id}", via = self.client, guard = lease)]
    async fn boxed(&self, id: u32, (a, b): (u32, u32)) -> Result<u32, Error> {
        lease.check()?;
        Ok(self.count + id + a + b)
    }

    #[locked("boxed-unit", wait = none, on_busy = skip)]
    async fn unit(&mut self) {
        self.count += 1;
    }
}

#[tracing::instrument]
#[locked("instrument-above-{id}")]
async fn instrument_above(id: u32) -> Result<u32, Error> {
    Ok(id)
}

#[locked("instrument-below-{id}")]
#[tracing::instrument]
async fn instrument_below(id: u32) -> Result<u32, Error> {
    Ok(id)
}

#[locked("outer-{id}")]
#[locked("inner-{id}")]
async fn two_locks(id: u32) -> Result<u32, Error> {
    Ok(id)
}

#[locked("cfg-{id}")]
#[allow(clippy::unused_async)]
async fn attributes_on_parameters(
    #[allow(unused_variables)] unused: u32,
    #[cfg(any())] absent: u32,
    id: u32,
) -> Result<u32, Error> {
    #![allow(clippy::let_and_return)]
    let same = Ok(id);
    same
}

#[tokio::test]
async fn other_attributes_work_beside_it() {
    use_memory();
    let mut service = Service::new();
    assert_eq!(service.boxed(1, (2, 3)).await.unwrap(), 6);
    service.unit().await;
    assert_eq!(service.with_default(4).await.unwrap(), 4);
    assert_eq!(service.count, 1);
    assert_eq!(instrument_above(1).await.unwrap(), 1);
    assert_eq!(instrument_below(1).await.unwrap(), 1);
    assert_eq!(two_locks(1).await.unwrap(), 1);
    assert_eq!(attributes_on_parameters(1, 2).await.unwrap(), 2);
}

#[locked("test-below", via = client(), guard = lease)]
#[tokio::test]
async fn tokio_test_below() -> Result<(), Error> {
    lease.check()
}

#[tokio::test]
#[locked("test-above", via = client(), guard = lease)]
async fn tokio_test_above() -> Result<(), Error> {
    lease.check()
}

macro_rules! annotated {
    ($name:ident, $parameter:ident) => {
        #[locked("from-a-macro-{id}")]
        async fn $name($parameter: u32) -> Result<u32, Error> {
            Ok($parameter)
        }
    };
}
annotated!(made_by_a_macro, id);

#[tokio::test]
async fn functions_made_by_macros_work() {
    use_memory();
    assert_eq!(made_by_a_macro(9).await.unwrap(), 9);
}
