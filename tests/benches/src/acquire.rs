//! a: a free lock, acquired and released.

use std::time::{Duration, Instant};

use anyhow::Result;
use kube::api::{DeleteParams, PostParams, Preconditions};
use msync::unstable::crd::Lock;

use crate::{
    figures::{Figure, Sample, Table, millis},
    raw::{object, write},
    server::Server,
    sizes::Sizes,
};

/// No renewal falls into the measurement.
const TTL: Duration = Duration::from_secs(600);

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    let (locks, client) = (room.locks().await?, room.client("acquirer", TTL).await?);
    let lock = client.lock("acquired")?;
    lock.acquire().await?.release().await?; // opens the connections and the inbox
    let [mut create, mut delete, mut acquire, mut release] = [const { Vec::new() }; 4];
    let raw = object("raw", 0)?;
    for _ in 0..sizes.samples {
        let (took, made) = timed(locks.create(&PostParams::default(), &raw)).await?;
        create.push(took);
        delete.push(timed(locks.delete("raw", &only(&made))).await?.0);
        let (took, guard) = timed(lock.acquire()).await?;
        acquire.push(took);
        release.push(timed(guard.release()).await?.0);
    }
    let [create, delete, acquire, release] = [create, delete, acquire, release].map(Sample::from_iter);
    let (created, deleted) = (create.median(), delete.median());
    table.add(Figure::new('a', "acquire a free lock", "ms", acquire).over("create", created).budget("<= 1.15"));
    table.add(Figure::new('a', "release it", "ms", release).over("delete", deleted).budget("<= 1.15"));

    let before = server.requests().await?;
    for _ in 0..sizes.samples {
        lock.acquire().await?.release().await?;
    }
    let requests = server.requests().await?.since(&before).calls();
    let each = requests as f64 / sizes.samples as f64;
    table.add(Figure::new('a', "acquire and release", "requests", each).over("create + delete", 2.0).budget("1 + 1"));
    elections(server, &client, sizes, table).await?;
    client.shutdown().await;
    Ok(())
}

/// Elections that nobody has campaigned for before, each beside two raw writes.
async fn elections(server: &Server, client: &msync::Client, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    let locks = room.locks().await?;
    locks.create(&PostParams::default(), &object("twice", 0)?).await?;
    let [mut twice, mut campaign] = [const { Vec::new() }; 2];
    let (mut requests, mut beat) = (0, 1);
    for number in 0..sizes.samples {
        let two = async {
            write(&locks, "twice", beat + 1).await?;
            write(&locks, "twice", beat + 2).await
        };
        twice.push(timed(two).await?.0);
        beat += 2;
        let election = client.election(format!("absent-{number}"))?;
        let before = if number == 0 { Some(server.requests().await?) } else { None };
        let (took, term) = timed(election.campaign()).await?;
        campaign.push(took);
        if let Some(before) = before {
            requests = server.requests().await?.since(&before).calls();
        }
        term.resign().await?;
    }
    let twice = Sample::from_iter(twice).median();
    let campaign = Figure::new('a', "lead an absent election", "ms", Sample::from_iter(campaign));
    table.add(campaign.over("two writes", twice).budget("<= 1.3"));
    table.add(Figure::new('a', "lead an absent election", "requests", requests as f64).budget("<= 2"));
    Ok(())
}

/// Deletes an object in this state only, as whoever releases a lock must.
fn only(made: &Lock) -> DeleteParams {
    let (uid, resource_version) = (made.metadata.uid.clone(), made.metadata.resource_version.clone());
    DeleteParams { preconditions: Some(Preconditions { uid, resource_version }), ..DeleteParams::default() }
}

/// Awaits a call; returns the milliseconds that it took, and its result.
pub(crate) async fn timed<T, E: Into<anyhow::Error>>(
    call: impl Future<Output = std::result::Result<T, E>>,
) -> Result<(f64, T)> {
    let start = Instant::now();
    let done = call.await.map_err(Into::into)?;
    Ok((millis(start.elapsed()), done))
}
