//! Methods: every form of `self`, in traits too.

use std::sync::Arc;

use msync::{Client, Error, locked};

use crate::{client, use_memory};

pub(crate) struct Service {
    pub(crate) client: Client,
    shared: Arc<Client>,
    pub(crate) name: String,
    pub(crate) count: u32,
}

trait Job {
    fn name(&self) -> String;

    fn work(&self, id: u32) -> impl Future<Output = Result<u32, Error>>;

    #[allow(async_fn_in_trait)]
    #[locked(name = self.name())]
    async fn default_method(&self) -> Result<usize, Error> {
        Ok(self.name().len())
    }
}

impl Service {
    pub(crate) fn new() -> Self {
        let client = client();
        Self { shared: Arc::new(client.clone()), client, name: "s".to_owned(), count: 0 }
    }

    #[locked("{self.name}-by-ref", via = self.client)]
    async fn by_ref(&self) -> Result<&str, Error> {
        Ok(&self.name)
    }

    #[locked("{self.name}-by-mut", via = self.shared)]
    async fn by_mut(&mut self, by: u32) -> Result<u32, Error> {
        self.count += by;
        Ok(self.count)
    }

    #[locked("{self.name}-by-value", via = &self.client)]
    async fn by_value(mut self) -> Result<String, Error> {
        self.name.push('!');
        Ok(self.name)
    }

    #[locked("{self.name}-by-arc", via = self.client)]
    async fn by_arc(self: Arc<Self>) -> Result<u32, Error> {
        Ok(self.count)
    }

    #[locked("no-self")]
    async fn associated() -> Result<Self, Error> {
        Ok(Self::new())
    }
}

impl Job for Service {
    fn name(&self) -> String {
        self.name.clone()
    }

    #[locked("{self.name}-{id}", via = self.client)]
    async fn work(&self, id: u32) -> Result<u32, Error> {
        Ok(self.count + id)
    }
}

#[tokio::test]
async fn methods_keep_their_self() {
    use_memory();
    let mut service = Service::new();
    assert_eq!(service.by_ref().await.unwrap(), "s");
    assert_eq!(service.by_mut(2).await.unwrap(), 2);
    assert_eq!(service.work(3).await.unwrap(), 5);
    assert_eq!(service.default_method().await.unwrap(), 1);
    assert_eq!(service.by_value().await.unwrap(), "s!");
    assert_eq!(Arc::new(Service::associated().await.unwrap()).by_arc().await.unwrap(), 0);
}
