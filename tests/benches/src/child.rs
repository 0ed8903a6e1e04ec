//! The roles of child processes: the benchmark executes itself again, with the role in its environment.
//!
//! Children take orders as lines on stdin and answer with lines on stdout; they end when their parent does.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use msync::{
    Client, ClientBuilder, Lock, LockGuard, Timing,
    clock::{BootClock, Clock, Moment},
    unstable::store::KubeStore,
};
use serde::{Deserialize, Serialize};
use tests::process::{ChildProcess, Spawn, follow_parent};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};

use crate::recording::Recording;

const ROLE: &str = "MSYNC_BENCH_ROLE";

/// Within this every child must have answered.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// How many acquisitions of one engine run at once, where there are many: as many as its calls.
const AT_ONCE: usize = 32;

/// Where a child's client works, and as whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) namespace: String,
    pub(crate) owner: String,
    pub(crate) ttl: Duration,
    /// Instead of the kubeconfig's server.
    pub(crate) url: Option<String>,
    pub(crate) over: Over,
    /// Several locks are kept alive by one heartbeat, as they are unless told otherwise.
    pub(crate) sessions: bool,
}

/// Whose connections a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Over {
    /// msync's own.
    Ours,
    /// msync's own, by HTTP/1.1.
    OursHttp1,
    /// Those of a client of kube that is handed in.
    Kube,
}

/// What a child does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Several engines take one lock in turns, each for a while. After the order `go` until any other; after `once` once.
    Contend { lock: String, hold: Duration, engines: usize },
    /// Campaigns; resigns and campaigns again at every order.
    Campaign { election: String },
    /// Acquires a lock; releases it and acquires it again at every order.
    Wait { lock: String },
    /// Answers every order with itself.
    Echo,
    /// Acquires many locks at the first order, forgets what it sent at the second, and reports at every later one.
    Hold { locks: usize },
    /// Waits for some of those that another holds, and reports when it got each.
    Inherit { first: usize, locks: usize },
    /// At the first order, several engines begin to wait for many locks each; until the second. One after the other has
    /// queued up, or all together.
    Crowd { engines: usize, locks: usize, together: bool },
}

/// One hold of a lock, in nanoseconds of the machine's clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) token: u64,
    pub(crate) asked: u64,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What a process that holds many locks has to tell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Holdings {
    pub(crate) lost: usize,
    /// When renewals were sent, in nanoseconds.
    pub(crate) renewals: Vec<u64>,
    pub(crate) others: u64,
}

/// Says which role this process has; `None` in the parent.
pub(crate) fn role() -> Result<Option<(Place, Role)>> {
    let Ok(role) = std::env::var(ROLE) else { return Ok(None) };
    serde_json::from_str(&role).context("a role").map(Some)
}

/// Starts a child and waits until it is ready.
pub(crate) async fn start(place: &Place, role: &Role) -> Result<ChildProcess> {
    let exe = std::env::current_exe().context("the path of this program")?;
    let mut program = Spawn::program(exe).env(ROLE, serde_json::to_string(&(place, role))?);
    if place.over == Over::OursHttp1 {
        program = program.env("MSYNC_HTTP", "1");
    }
    let mut child = program.spawn()?;
    child.line_with("ready", LIMIT).await?;
    Ok(child)
}

/// Reads when something happened from the line that tells of it.
pub(crate) fn moment(line: &str) -> Result<Moment> {
    let (_, nanos) = line.split_once(' ').context("a moment")?;
    Ok(Moment::from_nanos(nanos.trim().parse()?))
}

/// Plays the role to its end.
pub(crate) fn run((place, role): (Place, Role)) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let orders = follow_parent();
        match role {
            Role::Contend { lock, hold, engines } => contend(&place, &lock, hold, engines, orders).await,
            Role::Campaign { election } => campaign(&place, &election, orders).await,
            Role::Wait { lock } => wait(&place, &lock, orders).await,
            Role::Echo => echo(orders).await,
            Role::Hold { locks } => hold(&place, locks, orders).await,
            Role::Inherit { first, locks } => inherit(&place, first, locks, orders).await,
            Role::Crowd { engines, locks, together } => crowd(&place, engines, locks, together, orders).await,
        }
    })
}

// === impl Place ===

impl Place {
    /// The same, with its connections through a proxy.
    pub(crate) fn via(self, url: String) -> Self {
        Self { url: Some(url), ..self }
    }

    /// The same, with or without sessions.
    pub(crate) fn sessions(self, sessions: bool) -> Self {
        Self { sessions, ..self }
    }

    async fn config(&self) -> Result<Config> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        if let Some(url) = &self.url {
            config.cluster_url = url.parse()?;
        }
        Ok(config)
    }

    /// The same, with other connections.
    pub(crate) fn over(self, over: Over) -> Self {
        Self { over, ..self }
    }

    async fn recording(&self) -> Result<Recording> {
        Ok(Recording::new(KubeStore::new(self.over.client(self.config().await?)?, &self.namespace)))
    }

    fn builder(&self, number: usize) -> Result<ClientBuilder> {
        let owner = format!("{}-{number}", self.owner);
        let builder = Client::builder().owner(owner).namespace(&self.namespace).sessions(self.sessions);
        Ok(builder.timing(Timing::with_ttl(self.ttl)?))
    }

    fn client(&self, store: &Recording, number: usize) -> Result<Client> {
        Ok(self.builder(number)?.store(Arc::new(store.clone())).build())
    }

    /// A client as users make it, whose connection is open.
    async fn warm_client(&self, number: usize) -> Result<Client> {
        let (builder, config) = (self.builder(number)?, self.config().await?);
        let client = match self.over {
            Over::Ours | Over::OursHttp1 => builder.config(config).build()?,
            Over::Kube => builder.kube(self.over.client(config)?).build(),
        };
        self.warm(client, number).await
    }

    async fn warm(&self, client: Client, number: usize) -> Result<Client> {
        client.lock(format!("warm-{}-{number}", self.owner))?.acquire().await?.release().await?;
        Ok(client)
    }
}

// === impl Over ===

impl Over {
    pub(crate) fn client(self, config: Config) -> Result<kube::Client> {
        Ok(match self {
            Self::Ours | Self::OursHttp1 => msync::unstable::transport::connect(config)?,
            Self::Kube => kube::Client::try_from(config)?,
        })
    }
}

type Orders = mpsc::UnboundedReceiver<String>;

async fn contend(place: &Place, lock: &str, hold: Duration, engines: usize, mut orders: Orders) -> Result<()> {
    let mut locks = Vec::new();
    for number in 0..engines {
        locks.push(place.warm_client(number).await?.lock(lock)?);
    }
    println!("ready");
    let once = orders.recv().await.as_deref() == Some("once");
    let (stop, stopped) = watch::channel(false);
    let mut turns: JoinSet<_> = locks.into_iter().map(|lock| take_turns(lock, hold, once, stopped.clone())).collect();
    if !once {
        orders.recv().await;
        stop.send_replace(true);
    }
    let mut all = Vec::new();
    while let Some(held) = turns.join_next().await {
        all.extend(held??);
    }
    println!("{}", serde_json::to_string(&all)?);
    orders.recv().await; // the engines go only when everybody is done
    Ok(())
}

async fn take_turns(lock: Lock, hold: Duration, once: bool, mut stopped: watch::Receiver<bool>) -> Result<Vec<Held>> {
    let mut all = Vec::new();
    loop {
        let asked = BootClock.now().as_nanos();
        let guard = tokio::select! {
            biased;
            _ = stopped.wait_for(|stop| *stop) => return Ok(all),
            guard = lock.acquire() => guard?,
        };
        let from = BootClock.now().as_nanos();
        if !hold.is_zero() {
            sleep(hold).await;
        }
        let (token, to) = (guard.token().get(), BootClock.now().as_nanos());
        guard.release().await?;
        all.push(Held { token, asked, from, to });
        if once {
            return Ok(all);
        }
    }
}

async fn campaign(place: &Place, election: &str, mut orders: Orders) -> Result<()> {
    let election = place.warm_client(0).await?.election(election)?;
    println!("ready");
    loop {
        let term = election.campaign().await?;
        println!("leads {}", BootClock.now().as_nanos());
        orders.recv().await;
        println!("resigns {}", BootClock.now().as_nanos());
        term.resign().await?;
    }
}

async fn wait(place: &Place, lock: &str, mut orders: Orders) -> Result<()> {
    let lock = place.warm_client(0).await?.lock(lock)?;
    println!("ready");
    loop {
        let guard = lock.acquire().await?;
        println!("holds {}", BootClock.now().as_nanos());
        orders.recv().await;
        println!("releases {}", BootClock.now().as_nanos());
        guard.release().await?;
    }
}

async fn echo(mut orders: Orders) -> Result<()> {
    println!("ready");
    while let Some(order) = orders.recv().await {
        println!("{order}");
    }
    Ok(())
}

async fn hold(place: &Place, locks: usize, mut orders: Orders) -> Result<()> {
    let store = place.recording().await?;
    let client = place.client(&store, 0)?;
    // As many at once as ever will be: all connections are open before memory is looked at.
    drop(acquire_all(&client, "warm", 2 * AT_ONCE).await?);
    println!("ready");
    orders.recv().await;
    let guards = acquire_all(&client, "held", locks).await?;
    println!("held");
    orders.recv().await;
    store.clear();
    println!("cleared");
    while orders.recv().await.is_some() {
        let lost = guards.iter().filter(|guard| guard.check().is_err()).count();
        let renewals = store.sent_renewals().iter().map(|at| at.as_nanos()).collect();
        println!("{}", serde_json::to_string(&Holdings { lost, renewals, others: store.sent_others() })?);
    }
    Ok(())
}

async fn inherit(place: &Place, first: usize, locks: usize, mut orders: Orders) -> Result<()> {
    let store = place.recording().await?;
    let client = place.warm(place.client(&store, 0)?, 0).await?;
    println!("ready");
    orders.recv().await;
    let mut waiting = JoinSet::new();
    for number in first..first + locks {
        let lock = client.lock(format!("held-{number}"))?;
        waiting.spawn(async move {
            let guard = lock.acquire().await?;
            Ok::<_, msync::Error>((BootClock.now().as_nanos(), guard))
        });
    }
    store.queued(locks).await;
    println!("waiting");
    let (mut times, mut guards) = (Vec::new(), Vec::new());
    while let Some(had) = waiting.join_next().await {
        let (at, guard) = had??;
        times.push(at);
        guards.push(guard); // kept: an heir's release would hand on what is measured
    }
    println!("{}", serde_json::to_string(&times)?);
    orders.recv().await;
    drop(guards);
    Ok(())
}

async fn acquire_all(client: &Client, kind: &str, locks: usize) -> Result<Vec<LockGuard>> {
    let acquire = |number| async move { Ok(client.lock(format!("{kind}-{number}"))?.acquire().await?) };
    stream::iter(0..locks).map(acquire).buffer_unordered(2 * AT_ONCE).try_collect().await
}

async fn crowd(place: &Place, engines: usize, locks: usize, together: bool, mut orders: Orders) -> Result<()> {
    let mut all = Vec::new();
    for number in 0..engines {
        let store = place.recording().await?;
        all.push((place.warm(place.client(&store, number)?, number).await?, store));
    }
    println!("ready");
    orders.recv().await;
    let mut waiting = JoinSet::new();
    for (client, store) in &all {
        for number in 0..locks {
            let lock = client.lock(format!("held-{number}"))?;
            waiting.spawn(async move { lock.acquire().await.map(drop) });
        }
        if !together {
            store.queued(locks).await;
        }
    }
    for (_, store) in &all {
        store.queued(locks).await;
    }
    println!("waiting");
    orders.recv().await;
    drop(waiting);
    Ok(())
}
