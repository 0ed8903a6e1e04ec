//! The drill of docs/operations.md, on a real API server: what goes wrong, and what log, figures, Events and the table say of
//! it. Each act reads them alone, and tells the cause from them.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::events::v1::Event;
use msync::{
    Client, LossReason, Timing,
    clock::Wall,
    listener::Prometheus,
    unstable::{
        record::{Change, Claim, EngineId, MAX_WAITERS, Term},
        store::{KubeStore, Store},
    },
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tests::{
    cluster::{Cluster, LIMIT, soon},
    eventually,
    logs::Logs,
    process::Spawn,
    proxy::Proxy,
    testbed::ADMIN,
    webhook::{Verdict, Webhook},
};

use super::{
    events::events,
    table::{cell, table},
};

/// Short, so that the minute of an outage is one.
const TTL: Duration = Duration::from_secs(5);
const WORDS: &str = "locks need a label of their team";

/// The place of the drill, and what is seen of it.
struct Drill {
    cluster: Cluster,
    kube: kube::Client,
    proxy: Proxy,
    logs: &'static Logs,
    registry: Registry,
    figures: Arc<Prometheus>,
}

// === impl Drill ===

impl Drill {
    async fn new() -> Result<Option<Self>> {
        let Some(cluster) = Cluster::exclusive().await? else { return Ok(None) };
        let kube = cluster.server().client(ADMIN).await?;
        let (proxy, mut registry) = (cluster.server().proxy().await?, Registry::default());
        let figures = Arc::new(Prometheus::register(&mut registry));
        Ok(Some(Self { cluster, kube, proxy, logs: Logs::everywhere(), registry, figures }))
    }

    /// A client behind the proxy, with everything on.
    async fn client(&self, owner: &str) -> Result<Client> {
        let mut config = self.cluster.server().config(ADMIN).await?;
        config.cluster_url = format!("https://{}", self.proxy.addr()).parse()?;
        let builder = Client::builder().owner(owner).namespace(self.cluster.namespace()).timing(Timing::with_ttl(TTL)?);
        Ok(builder.events(true).listener(Arc::clone(&self.figures)).config(config).build()?)
    }

    fn figure(&self, series: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string never fails");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    /// The lines about a lock that begin so.
    fn lines(&self, lock: &str, begins: &str) -> Vec<String> {
        let of = format!("lock={lock} ");
        let lines = self.logs.lines().into_iter().map(|line| format!("{line} "));
        lines.filter(|line| line.starts_with(begins) && line.contains(&of)).collect()
    }

    async fn logged(&self, lock: &str, begins: &str) -> Result<String> {
        eventually(begins, LIMIT, async || !self.lines(lock, begins).is_empty()).await?;
        self.lines(lock, begins).pop().context("it was there")
    }

    async fn figured(&self, series: &str, least: f64) -> Result<()> {
        eventually(series, LIMIT, async || self.figure(series) >= least).await
    }

    async fn noted(&self, lock: &str, reason: &str) -> Result<String> {
        let of = |event: &Event| {
            let lock_of = event.regarding.as_ref().and_then(|regarding| regarding.name.as_deref());
            lock_of == Some(lock) && event.reason.as_deref() == Some(reason)
        };
        let find = async || Ok::<_, anyhow::Error>(events(&self.cluster).await?.into_iter().find(of));
        eventually(reason, LIMIT, async || find().await.is_ok_and(|found| found.is_some())).await?;
        Ok(find().await?.and_then(|event| event.note).unwrap_or_default())
    }

    async fn shown(&self, lock: &str, head: &str) -> Result<String> {
        Ok(cell(&table(&self.kube, self.cluster.namespace(), true).await?, lock, head).to_owned())
    }

    async fn shows(&self, lock: &str, head: &str, wanted: &str) -> Result<()> {
        let shows = async || self.shown(lock, head).await.is_ok_and(|found| found == wanted);
        eventually(&format!("{head} of {lock} is {wanted}"), LIMIT, shows).await
    }

    /// A leader is killed: its Events end without a resignation, and another leads a ttl later.
    async fn a_leader_is_killed(&self) -> Result<()> {
        const E: &str = "drill-killed";
        let namespace = self.cluster.namespace();
        let run = ["run", E, "--leader", "--ttl", "5s", "--grace", "1s", "--owner", "web-1", "-n", namespace];
        let program = Spawn::program(env!("CARGO_BIN_EXE_tested-msync")).args(run).args(["--", "sleep", "600"]);
        let mut leader = program.env("KUBECONFIG", self.cluster.server().kubeconfig(ADMIN)?).spawn()?;
        self.cluster.until("web-1 leads", E, |found| found.is_some_and(|seen| seen.engine.owner() == "web-1")).await?;
        let client = self.client("web-2").await?;
        let election = client.election(E)?;
        let standing_by = tokio::spawn(async move { election.campaign().await });
        self.shows(E, "NEXT", "web-2").await?;
        self.figured(&format!("msync_waiting{{name=\"{E}\"}}"), 1.0).await?;
        leader.kill()?;
        let term = soon("the next one leads", standing_by).await???;
        self.logged(E, "campaigning ").await?;
        let line = self.logged(E, "leading ").await?;
        assert!(line.contains("token=") && line.contains("waited="), "{line}");
        self.figured(&format!("leader_election_master_status{{name=\"{E}\"}}"), 1.0).await?;
        assert!(self.noted(E, "LeaderElected").await?.contains("web-2 leads"));
        assert_eq!((self.shown(E, "OWNER").await?, self.shown(E, "KIND").await?), ("web-2".into(), "election".into()));
        assert!(self.lines(E, "handed over ").is_empty(), "nobody gave it: so its leader died");
        term.resign().await?;
        assert!(self.noted(E, "LeaderResigned").await?.contains("it has resigned"));
        Ok(())
    }

    /// The API is cut off: a warning with the fault, the loss with the same fault behind it, and the recovery with its length.
    async fn the_api_is_cut_off(&self) -> Result<()> {
        const E: &str = "drill-cut";
        let client = self.client("web-3").await?;
        let candidate = client.election(E)?.candidate();
        eventually("web-3 leads", LIMIT, async || candidate.is_leading()).await?;
        self.proxy.refuse(true);
        self.proxy.reset();
        let line = self.logged(E, "lost the leadership ").await?;
        assert!(line.contains("reason=its deadline passed") && line.contains("fault="), "{line}");
        let line = self.logged(E, "the store cannot be used ").await?;
        assert!(line.contains("lasting=") && line.contains("failures=") && line.contains("fault="), "{line}");
        let (owner, expiry) = (self.shown(E, "OWNER").await?, self.shown(E, "EXPIRY").await?);
        let expired = async || expiry < msync::clock::Clock::wall(&msync::clock::BootClock).to_string();
        assert_eq!(owner, "web-3", "the record is as it was left");
        eventually("its expiry is over", LIMIT, expired).await?;
        client.health().expect("a restart would not help");
        self.proxy.refuse(false);
        let line = self.logged(E, "the store can be used again ").await?;
        assert!(line.contains("lasting="), "{line}");
        eventually("web-3 leads again", LIMIT, async || candidate.is_leading()).await?;
        assert!(self.lines(E, "campaigning ").len() >= 2, "{:?}", self.logs.lines());
        self.figured(&format!("msync_lost_total{{name=\"{E}\",reason=\"deadline\"}}"), 1.0).await?;
        self.figured(&format!("leader_election_slowpath_total{{name=\"{E}\"}}"), 1.0).await?;
        self.figured("msync_renewals_total{outcome=\"failed\"}", 1.0).await?;
        let note = self.noted(E, "LeaderLost").await?;
        assert!(
            note.contains("web-3 has lost it") && note.contains("the last fault was: "),
            "written when it could be: {note}"
        );
        Ok(candidate.resign().await?)
    }

    /// A job hangs: its lock shows since when, `max_hold` ends it, and who is next has it.
    async fn a_job_hangs(&self) -> Result<()> {
        const L: &str = "drill-hangs";
        let (hanging, next) = (self.client("web-4").await?, self.client("web-5").await?);
        let lock = hanging.lock(L)?.max_hold(Duration::from_secs(8));
        let job = tokio::spawn(async move { lock.run(async |_| std::future::pending::<()>().await).await });
        self.cluster.until("web-4 has it", L, |found| found.is_some()).await?;
        let waits = next.lock(L)?;
        let waiting = tokio::spawn(async move { waits.acquire().await });
        self.shows(L, "NEXT", "web-5").await?;
        assert_eq!((self.shown(L, "OWNER").await?, self.shown(L, "KIND").await?), ("web-4".into(), "lock".into()));
        assert!(self.shown(L, "SINCE").await?.ends_with('s'));
        let ended = soon("it is ended", job).await??.expect_err("it never ends by itself");
        assert!(ended.to_string().contains("max_hold"), "{ended}");
        let line = self.logged(L, "lost ").await?;
        assert!(line.contains("reason=it was held for max_hold") && line.contains("held=8"), "{line}");
        self.figured(&format!("msync_lost_total{{name=\"{L}\",reason=\"max_hold\"}}"), 1.0).await?;
        assert!(self.noted(L, "LockLost").await?.contains("web-4 has lost it after 8"));
        let guard = soon("the next one has it", waiting).await???;
        self.figured(&format!("msync_acquire_seconds_count{{name=\"{L}\",outcome=\"acquired\"}}"), 2.0).await?;
        Ok(guard.release().await?)
    }

    /// The queue is full: one warning, and the table shows whose queue it is.
    async fn a_queue_is_full(&self) -> Result<()> {
        const L: &str = "drill-full";
        let (holder, late) = (self.client("web-6").await?, self.client("web-7").await?);
        let guard = holder.lock(L)?.acquire().await?;
        let store = KubeStore::new(self.kube.clone(), self.cluster.namespace());
        for number in 1..=MAX_WAITERS as u64 {
            let engine = EngineId::new("crowd", number);
            let claim = Claim { engine, term: Term(number), ttl: Duration::from_secs(600), instant: true };
            let joined = store.apply(guard.name(), &Change::Enqueue { claim, wall: Wall::from_millis(0) }).await;
            joined.map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
        }
        let waits = late.lock(L)?;
        let waiting = tokio::spawn(async move { waits.acquire().await });
        let line = self.logged(L, "the queue is full").await?;
        assert!(line.contains("waiting=64"), "{line}");
        self.figured(&format!("msync_waiting{{name=\"{L}\"}}"), 1.0).await?;
        self.figured("msync_api_seconds_count{verb=\"patch\",outcome=\"refused\"}", 1.0).await?;
        self.shows(L, "NEXT", "crowd").await?;
        assert_eq!(self.shown(L, "WAITERS").await?.matches("crowd.").count(), MAX_WAITERS);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(self.lines(L, "the queue is full").len(), 1, "not at each look");
        waiting.abort();
        drop(guard);
        Ok(())
    }

    /// A webhook denies: the acquirer is told at once, the holder loses with its words.
    async fn a_webhook_denies(&self) -> Result<()> {
        const L: &str = "drill-denied";
        let client = self.client("web-8").await?;
        let webhook = Webhook::before(&self.kube, self.cluster.namespace(), &["UPDATE", "DELETE"]).await?;
        webhook.says(Verdict::Allow);
        let guard = client.lock(L)?.acquire().await?;
        webhook.says(Verdict::Deny(403, WORDS.to_owned()));
        assert_eq!(soon("it is lost", guard.lost()).await?, LossReason::Refused);
        let line = self.logged(L, "lost ").await?;
        assert!(line.contains("refused to renew it") && line.contains(WORDS), "{line}");
        self.figured(&format!("msync_lost_total{{name=\"{L}\",reason=\"refused\"}}"), 1.0).await?;
        self.figured("msync_renewals_total{outcome=\"denied\"}", 1.0).await?;
        self.figured("msync_api_seconds_count{verb=\"patch\",outcome=\"denied\"}", 1.0).await?;
        assert!(self.noted(L, "LockLost").await?.contains(WORDS));
        assert_eq!(self.shown(L, "OWNER").await?, "web-8", "nobody may change it");
        webhook.says(Verdict::Allow);
        drop(guard);
        webhook.remove().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_told_by_what_people_look_at() -> Result<()> {
    let Some(drill) = Drill::new().await? else { return Ok(()) };
    drill.a_leader_is_killed().await.context("a leader is killed")?;
    drill.the_api_is_cut_off().await.context("the API is cut off")?;
    drill.a_job_hangs().await.context("a job hangs")?;
    drill.a_queue_is_full().await.context("a queue is full")?;
    drill.a_webhook_denies().await.context("a webhook denies")
}
