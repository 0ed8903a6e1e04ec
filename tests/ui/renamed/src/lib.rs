//! A crate that depends on msync by another name: `crate = …` is all that the macros need to know.

#[cfg(test)]
mod tests {
    use locks::{Client, Error, LeaseSet, MemoryStore, Outcome};

    #[locks::locked("a-{x}", crate = locks, via = client, ttl = "5s", wait = none, guard = lease)]
    async fn one(client: &Client, x: u8) -> Result<String, Error> {
        Ok(lease.name().to_string())
    }

    #[locks::locked(["a", "b-{x}"], crate = ::locks, via = client, guard = leases)]
    async fn several(client: &Client, x: u8) -> Result<usize, Error> {
        let leases: LeaseSet = leases;
        Ok(leases.tokens().count())
    }

    #[locks::locked("skip", crate = locks, via = client, wait = none, on_busy = skip)]
    async fn skip(client: &Client) -> Option<u8> {
        Some(1)
    }

    #[locks::leader_only("leader", crate = locks, via = client)]
    async fn lead(client: &Client) -> Result<Outcome<u8>, Error> {
        Ok(Outcome::Ran(1))
    }

    #[tokio::test]
    async fn the_expansion_names_no_msync() {
        let client = Client::builder().memory(&MemoryStore::new()).build();
        assert_eq!(one(&client, 1).await.unwrap(), "a-1");
        assert_eq!(several(&client, 2).await.unwrap(), 2);
        assert_eq!(skip(&client).await, Some(1));
        assert_eq!(lead(&client).await.unwrap(), Outcome::Ran(1));
    }
}
