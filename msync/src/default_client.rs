//! The client of the macros that name none: the one given to [`init`], else one made from the environment on first use.
//!
//! A start that failed is not remembered: the next call tries again. Never torn down by itself: call
//! [`Client::shutdown`](crate::Client::shutdown) on the client you gave.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::{Client, Error, MemoryStore};

/// Chooses the store of the default client: `memory` or `kube`.
const STORE: &str = "MSYNC_STORE";

static DEFAULT: RwLock<Option<Client>> = RwLock::new(None);
static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[derive(Debug, thiserror::Error)]
enum NoClient {
    #[cfg(feature = "kube")]
    #[error(
        "call msync::init(client) first, or set MSYNC_STORE=memory for a store inside this process, \
         or run where a kube config or a service account is ({0})"
    )]
    Cluster(Error),
    #[cfg(not(feature = "kube"))]
    #[error("call msync::init(client) first, or set MSYNC_STORE=memory; msync was built without its feature `kube`")]
    WithoutKube,
    #[error("MSYNC_STORE is {0:?}; it may be `memory` or `kube`")]
    UnknownStore(String),
}

/// Gives the macros their client.
///
/// Without it, the first call of an annotated function makes one from the environment: `MSYNC_STORE=memory` keeps the
/// locks inside the process, `MSYNC_STORE=kube` or nothing takes the kube config or the service account. Functions with
/// `via = …` use the client they name.
///
/// A second call replaces the client for all calls that begin later; what runs keeps the client it began with.
///
/// # Examples
/// ```
/// # async fn main_() {
/// let store = msync::MemoryStore::new();
/// let client = msync::Client::builder().memory(&store).build();
/// msync::init(client.clone());
/// // … the service runs …
/// client.shutdown().await;
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(main_());
/// ```
pub fn init(client: Client) {
    *DEFAULT.write().unwrap_or_else(PoisonError::into_inner) = Some(client);
}

/// Makes something of the default client, starting it if there is none.
pub(crate) async fn with_default_client<T>(make: impl FnOnce(&Client) -> Result<T, Error>) -> Result<T, Error> {
    if let Some(client) = current().as_ref() {
        return make(client);
    }
    // Boxed: it happens once, and would make the future of every call several times as large.
    Box::pin(start_once()).await?;
    make(current().as_ref().expect("a default client is replaced and never taken away"))
}

async fn start_once() -> Result<(), Error> {
    let _one_at_a_time = STARTING.lock().await;
    if current().is_some() {
        return Ok(());
    }
    init(start(std::env::var(STORE).ok().as_deref()).await?);
    Ok(())
}

fn current() -> RwLockReadGuard<'static, Option<Client>> {
    DEFAULT.read().unwrap_or_else(PoisonError::into_inner)
}

async fn start(store: Option<&str>) -> Result<Client, Error> {
    match store.unwrap_or_default() {
        "memory" => Ok(Client::builder().memory(&MemoryStore::new()).build()),
        "kube" | "" => cluster().await,
        other => Err(no_client(NoClient::UnknownStore(other.to_owned()))),
    }
}

#[cfg(feature = "kube")]
async fn cluster() -> Result<Client, Error> {
    Client::try_default().await.map_err(|error| no_client(NoClient::Cluster(error)))
}

#[cfg(not(feature = "kube"))]
fn cluster() -> std::future::Ready<Result<Client, Error>> {
    std::future::ready(Err(no_client(NoClient::WithoutKube)))
}

fn no_client(why: NoClient) -> Error {
    Error::Store { context: "no default client".to_owned(), cause: Arc::new(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_environment_chooses_the_store() {
        assert!(start(Some("memory")).await.is_ok());
        let unknown = start(Some("redis")).await.expect_err("no such store").to_string();
        assert_eq!(unknown, "no default client: MSYNC_STORE is \"redis\"; it may be `memory` or `kube`");
    }

    #[cfg(not(feature = "kube"))]
    #[tokio::test]
    async fn without_a_cluster_the_error_says_what_to_do() {
        let error = start(None).await.expect_err("no cluster").to_string();
        assert!(error.contains("msync::init(client)") && error.contains("MSYNC_STORE=memory"), "{error}");
    }
}
