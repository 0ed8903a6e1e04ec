//! A stampede: many engines want many locks at the same moment.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::ListParams;
use msync::{
    Client, LockGuard,
    clock::{BootClock, Clock},
    unstable::record::MAX_WAITERS,
};
use tests::cluster::{Cluster, ttl};
use tokio::{sync::mpsc, time::sleep};

/// `<engines>x<locks>`; the whole size is 100x100.
const SIZE: &str = "MSYNC_CROWD";
/// What two busy cores do within the time that a test may take.
const SMALL: (usize, usize) = (16, 10);

/// Until everybody has a lock or a place in its queue. On a machine that does other things as well, only the end counts.
const LIMIT: Duration = Duration::from_secs(60);
const SMALL_LIMIT: Duration = Duration::from_secs(180);

struct Crowd {
    engines: usize,
    locks: usize,
    limit: Duration,
}

fn crowd() -> Result<Crowd> {
    let Ok(text) = std::env::var(SIZE) else {
        return Ok(Crowd { engines: SMALL.0, locks: SMALL.1, limit: SMALL_LIMIT });
    };
    let (engines, locks) = text.split_once('x').with_context(|| format!("{SIZE} is {text:?}, not 100x100"))?;
    Ok(Crowd { engines: engines.parse()?, locks: locks.parse()?, limit: LIMIT })
}

/// Says how many of those who want a lock have it, or a place in its queue as far as there are places.
async fn placed(cluster: &Cluster) -> Result<usize> {
    let locks = cluster.objects().list(&ListParams::default()).await?;
    let placed = |lock: &msync::unstable::crd::Lock| lock.spec.waiters.len() + usize::from(!lock.spec.term.is_empty());
    Ok(locks.iter().map(placed).sum())
}

/// Every engine asks for every lock; what is acquired is kept.
fn rush(clients: &[Client], locks: usize) -> Result<mpsc::UnboundedReceiver<LockGuard>> {
    let (acquired, guards) = mpsc::unbounded_channel();
    for client in clients {
        for number in 0..locks {
            let (lock, acquired) = (client.lock(format!("crowded-{number}"))?, acquired.clone());
            tokio::spawn(async move {
                let guard = lock.acquire().await.expect("acquired, or cancelled with the test");
                let _ = acquired.send(guard);
            });
        }
    }
    Ok(guards)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_want_all_at_once_everybody_has_a_place_soon_and_nothing_is_lost() -> Result<()> {
    let Crowd { engines, locks, limit } = crowd()?;
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let mut clients = Vec::new();
    for number in 0..engines {
        clients.push(cluster.client(&format!("engine-{number}"), ttl(60_000)).await?);
    }
    let (start, wanted) = (BootClock.now(), locks * engines.min(MAX_WAITERS + 1));
    let mut guards = rush(&clients, locks)?;
    let mut held = Vec::new();
    loop {
        let (now, spent) = (placed(&cluster).await.unwrap_or(0), BootClock.now().since(start));
        while let Ok(guard) = guards.try_recv() {
            held.push(guard);
        }
        let lost = held.iter().filter(|guard| guard.check().is_err()).count();
        println!("{engines} engines x {locks} locks: {now} of {wanted} have a place after {spent:?}; {lost} lost");
        ensure!(lost == 0, "{lost} of {} guards are lost after {spent:?}", held.len());
        if now >= wanted {
            break;
        }
        ensure!(spent < limit, "{now} of {wanted} have a place after {spent:?}");
        sleep(Duration::from_secs(1)).await;
    }
    ensure!(held.len() == locks, "{} guards of {locks} locks", held.len());
    Ok(())
}
