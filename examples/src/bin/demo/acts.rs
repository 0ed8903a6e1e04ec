//! What happens: the acts of the demo, each with what must have come of it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use futures::future::try_join_all;
use msync::Error;
use tokio::{sync::oneshot, time::sleep};

use crate::{TTL, checks::Checks, pod::Pod, timeline::Timeline};

/// How long a pod works inside the lock.
const WORK: Duration = Duration::from_millis(50);
/// How often each pod takes the lock in the first act.
const ROUNDS: u64 = 3;

/// The resource behind the lock: it refuses a token smaller than the greatest it has seen.
static REGISTER: AtomicU64 = AtomicU64::new(0);

fn write_fenced(token: u64) -> bool {
    REGISTER.fetch_max(token, Ordering::SeqCst) <= token
}

/// All pods want one lock.
pub(crate) async fn contend(pods: &[Pod], timeline: &Timeline, checks: &mut Checks) -> Result<()> {
    Timeline::act("1. Four pods take one lock in turn");
    let start = timeline.now();
    let rounds = pods.iter().map(|pod| {
        let (name, client, timeline) = (pod.name.clone(), pod.client.clone(), timeline.clone());
        pod.run(async move {
            for _ in 0..ROUNDS {
                let asked = timeline.now();
                let guard = client.lock("invoices")?.acquire().await?;
                let waited = timeline.since(asked);
                let what = format!("holds invoices after {waited:>6.1?}");
                let hold = timeline.acquired("invoices", &name, guard.token().get(), &what);
                sleep(WORK).await;
                guard.check()?;
                timeline.ended(hold, timeline.now());
                guard.release().await?;
            }
            Ok::<_, Error>(())
        })
    });
    for outcome in try_join_all(rounds).await? {
        outcome?;
    }
    let taken = u32::try_from(pods.len() as u64 * ROUNDS)?;
    let between = timeline.since(start).saturating_sub(WORK * taken) / taken;
    timeline.say("", &format!("{taken} turns of {WORK:?}, {between:.1?} between two of them"));
    checks.expect(between < TTL / 4, "hand-overs take a small part of the ttl");
    Ok(())
}

/// A leader resigns, and the next one leads.
pub(crate) async fn hand_over(pods: &[Pod], timeline: &Timeline, checks: &mut Checks) -> Result<()> {
    Timeline::act("2. A leader resigns");
    let (first, second) = (&pods[0], &pods[1]);
    let (resign, resigned) = oneshot::channel::<()>();
    let reign = lead(first, timeline, "leads", async { drop(resigned.await) });
    wait_until_led(timeline, 1).await?;
    let heir = lead(second, timeline, "leads", async {});
    sleep(TTL / 4).await;
    timeline.say(&first.name, "resigns");
    let start = timeline.now();
    let _ = resign.send(());
    heir.await??;
    let took = timeline.since(start);
    reign.await??;
    checks.expect(
        took < TTL / 2,
        format!("after a resignation the next leader led at once ({took:.1?} with its own end)"),
    );
    Ok(())
}

/// The leader is killed; a candidate takes over once the ttl has passed.
pub(crate) async fn kill_the_leader(pods: &mut Vec<Pod>, timeline: &Timeline, checks: &mut Checks) -> Result<()> {
    Timeline::act("3. The leader is killed");
    let victim = pods.remove(0);
    let known = timeline.finished().len();
    let reign = lead(&victim, timeline, "leads", std::future::pending());
    wait_until_led(timeline, known + 1).await?;
    let heir = lead(&pods[0], timeline, "leads", async {});
    sleep(TTL / 2).await;
    victim.kill();
    let start = timeline.now();
    timeline.say(&victim.name, "is killed");
    timeline.died(&victim.name);
    heir.await??;
    drop(reign);
    let took = timeline.since(start);
    timeline.say("", &format!("no leader for {took:.1?}, at a ttl of {TTL:?}"));
    checks.expect(took < TTL * 2, "after a kill another leads within about one ttl");
    Ok(())
}

/// A holder freezes past its ttl; when it goes on, it is told so before it does anything.
pub(crate) async fn freeze_the_holder(pods: &[Pod], timeline: &Timeline, checks: &mut Checks) -> Result<()> {
    Timeline::act("4. A holder freezes past its ttl");
    let (victim, other) = (&pods[1], &pods[2]);
    let (client, name, line) = (victim.client.clone(), victim.name.clone(), timeline.clone());
    let (guard, hold) = victim
        .run(async move {
            let guard = client.lock("ledger")?.acquire().await?;
            let hold = line.acquired("ledger", &name, guard.token().get(), "holds ledger");
            Ok::<_, Error>((guard, hold))
        })
        .await??;
    timeline.ended(hold, timeline.now() + guard.remaining());
    timeline.say(&victim.name, "freezes");
    let waiter = wait_for_ledger(other, timeline);
    victim.freeze(TTL * 2).await?;
    let (check, token) = (guard.check(), guard.token().get());
    timeline.say(&victim.name, &format!("goes on, and its first check says: {}", text(&check)));
    let new_token = waiter.await??;
    let dirty = write_fenced(token);
    timeline.say(
        &victim.name,
        &format!("its late write with token {token} is {}", if dirty { "taken" } else { "refused" }),
    );
    checks.expect(check.is_err(), "the frozen holder was told that it had lost the lock");
    checks.expect(!dirty && token < new_token, "its late write was refused by the resource that checks tokens");
    victim.run(async move { drop(guard) }).await
}

/// Another pod takes the lock over, and writes.
fn wait_for_ledger(pod: &Pod, timeline: &Timeline) -> tokio::task::JoinHandle<Result<u64>> {
    let (client, name, timeline) = (pod.client.clone(), pod.name.clone(), timeline.clone());
    pod.spawn(async move {
        let start = timeline.now();
        let guard = client.lock("ledger")?.acquire().await?;
        let (token, waited) = (guard.token().get(), timeline.since(start));
        let hold = timeline.acquired("ledger", &name, token, &format!("takes ledger over after {waited:.1?}"));
        anyhow::ensure!(write_fenced(token), "the new holder's write was refused");
        timeline.ended(hold, timeline.now());
        guard.release().await?;
        Ok(token)
    })
}

/// Campaigns on a pod, leads until the reign is over, resigns.
fn lead(
    pod: &Pod,
    timeline: &Timeline,
    what: &'static str,
    reign: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<Result<()>> {
    let (client, name, timeline) = (pod.client.clone(), pod.name.clone(), timeline.clone());
    pod.spawn(async move {
        let term = client.election("scheduler")?.campaign().await?;
        let hold = timeline.acquired("scheduler", &name, term.token().get(), what);
        term.run(reign).await?;
        timeline.ended(hold, timeline.now());
        term.resign().await.context("could not resign")?;
        Ok(())
    })
}

/// Waits until so many holds of the scheduler have been noted beyond the first act's.
async fn wait_until_led(timeline: &Timeline, at_least: usize) -> Result<()> {
    for _ in 0..1000 {
        let led = timeline.finished();
        if led.len() >= at_least && led.last().is_some_and(|hold| hold.lock == "scheduler" && hold.to.is_none()) {
            return Ok(());
        }
        sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("nobody led within ten seconds")
}

fn text(check: &Result<(), Error>) -> String {
    check.as_ref().map_or_else(ToString::to_string, |()| "still held".to_owned())
}
