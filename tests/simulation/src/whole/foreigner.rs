//! Somebody who elects by the same Lease as client-go's `leaderelection` does, and knows nothing of msync: GET, compare, PUT
//! at the version that was read; whole seconds; a release that asks nobody.

use std::{collections::BTreeMap, sync::Arc};

use msync::{clock::Wall, unstable::record::leased::Leased};
use serde_json::{Value, json};

use super::stage::{FOREIGNER, Stage};
use crate::{network::hop, plan::MILLI, rng::Rng};

/// When true time began, by the wall clocks here.
const EPOCH: i64 = 1_767_225_600_000;

/// The spec with dates cut to whole seconds: all that it compares.
type Seen = BTreeMap<String, Value>;

/// One candidate.
pub(crate) struct Foreigner {
    stage: Arc<Stage>,
    rng: Rng,
    /// How long a Lease lasts, in whole seconds.
    seconds: u64,
    retry: u64,
    /// How fast its clock runs, per million.
    rate: u64,
    releases: bool,
    /// No message in or out before this.
    cut_until: u64,
    observed: Option<(Seen, u64)>,
    /// The Lease as it was last read or written.
    cached: Option<Leased>,
    /// When it last renewed; while it leads.
    renewed: Option<u64>,
}

// === impl Foreigner ===

impl Foreigner {
    pub(crate) fn new(stage: Arc<Stage>, mut rng: Rng) -> Self {
        let seconds = rng.pick(&[1, 1, 2, 5, 15]);
        let retry = MILLI * rng.pick(&[50, 120, 120, 400]);
        let (rate, releases) = (rng.between(990_000, 1_010_000), rng.chance(500));
        Self { stage, rng, seconds, retry, rate, releases, cut_until: 0, observed: None, cached: None, renewed: None }
    }

    /// Takes part until the faults have ended.
    pub(crate) async fn live(mut self) {
        while !self.stage.is_calm() {
            let pause = self.retry + self.rng.below(self.retry / 5);
            self.stage.time.sleep(pause).await;
            self.misfortune().await;
            if self.try_acquire_or_renew().await {
                self.renewed = Some(self.now());
                if self.rng.chance(150) {
                    self.stop().await;
                    self.stay_away().await;
                }
            } else if self.renewed.is_some_and(|renewed| self.now() > renewed + self.lease() * 2 / 3) {
                self.stop().await;
            }
        }
    }

    /// Leaves the lock to others for a while.
    async fn stay_away(&mut self) {
        let span = self.rng.below(self.stage.plan.ttl * 2);
        self.stage.time.sleep(span).await;
    }

    /// Is frozen, or cut off, now and then.
    async fn misfortune(&mut self) {
        if self.rng.chance(20) {
            let span = self.rng.below(3 * self.lease());
            self.stage.time.sleep(span).await;
        }
        if self.rng.chance(20) {
            self.cut_until = self.stage.time.now() + self.rng.below(2 * self.lease());
        }
    }

    async fn try_acquire_or_renew(&mut self) -> bool {
        let now = self.now();
        let mut spec = self.spec(FOREIGNER, self.seconds);
        if self.leads()
            && self.is_valid(now)
            && let Some(cached) = self.cached.clone()
        {
            keep(&mut spec, &cached, &["acquireTime", "leaseTransitions"]);
            if self.update(cached, spec.clone()).await {
                return true;
            }
        }
        let Some(found) = self.get().await else { return false };
        let Some(found) = found else {
            return self.update_at(None, Leased { spec, ..Leased::default() }).await;
        };
        let seen = whole_seconds(&found.spec);
        if self.observed.as_ref().is_none_or(|(observed, _)| *observed != seen) {
            self.observed = Some((seen, self.now()));
        }
        if !holder(&found.spec).is_empty() && self.is_valid(now) && !self.leads() {
            return false;
        }
        if self.leads() {
            keep(&mut spec, &found, &["acquireTime", "leaseTransitions"]);
        } else {
            let before = found.spec.get("leaseTransitions").and_then(Value::as_i64).unwrap_or_default();
            spec.insert("leaseTransitions".to_owned(), json!(before + 1));
        }
        self.update(found, spec).await
    }

    /// Leads no more. Its release reads the newest version, and compares nothing of what it reads.
    async fn stop(&mut self) {
        self.renewed = None;
        if !self.releases {
            return;
        }
        // As it goes on to release, the network may have come back.
        self.cut_until = self.cut_until.min(self.stage.time.now() + self.rng.below(self.lease()));
        self.stage.time.sleep_until(self.cut_until).await;
        let Some(Some(found)) = self.get().await else { return };
        if self.leads() {
            let mut spec = self.spec("", 1);
            keep(&mut spec, &found, &["leaseTransitions"]);
            self.update(found, spec).await;
        }
    }

    /// Reads the Lease; `None` when there is no answer.
    async fn get(&mut self) -> Option<Option<Leased>> {
        self.travel().await?;
        let found = self.stage.with(|state| state.server.leased().cloned());
        self.travel().await?;
        self.cached.clone_from(&found);
        Some(found)
    }

    async fn update(&mut self, at: Leased, spec: Seen) -> bool {
        let version = Some(at.version);
        self.update_at(version, Leased { spec, ..at }).await
    }

    async fn update_at(&mut self, version: Option<u64>, leased: Leased) -> bool {
        if self.travel().await.is_none() {
            return false;
        }
        let spec = leased.spec.clone();
        let Some(version) = self.stage.put(FOREIGNER, version, &leased) else { return false };
        if self.travel().await.is_none() {
            return false;
        }
        self.cached = Some(Leased { version, ..leased });
        self.observed = Some((whole_seconds(&spec), self.now()));
        true
    }

    /// One way of a message.
    async fn travel(&mut self) -> Option<()> {
        self.stage.time.sleep(hop(&mut self.rng)).await;
        (self.stage.time.now() >= self.cut_until).then_some(())
    }

    fn leads(&self) -> bool {
        self.observed.as_ref().is_some_and(|(observed, _)| holder(observed) == FOREIGNER)
    }

    /// By the seconds that stand in the Lease, since it was seen to change.
    fn is_valid(&self, now: u64) -> bool {
        self.observed.as_ref().is_some_and(|(observed, at)| {
            let seconds = observed.get("leaseDurationSeconds").and_then(Value::as_u64).unwrap_or_default();
            at + seconds * 1_000 * MILLI > now
        })
    }

    fn lease(&self) -> u64 {
        self.seconds * 1_000 * MILLI
    }

    fn now(&self) -> u64 {
        u64::try_from(u128::from(self.stage.time.now()) * u128::from(self.rate) / 1_000_000).unwrap_or(u64::MAX)
    }

    fn spec(&self, holder: &str, seconds: u64) -> Seen {
        let wall = Wall::from_millis(EPOCH + i64::try_from(self.now() / MILLI).unwrap_or(0));
        let date = json!(wall.to_string().replace('Z', "000Z"));
        let spec = json!({
            "holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": 0,
            "acquireTime": date, "renewTime": date,
        });
        serde_json::from_value(spec).expect("an object")
    }
}

fn holder(spec: &Seen) -> &str {
    spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default()
}

fn keep(spec: &mut Seen, of: &Leased, fields: &[&str]) {
    let kept = fields.iter().filter_map(|field| Some(((*field).to_owned(), of.spec.get(*field)?.clone())));
    spec.extend(kept);
}

fn whole_seconds(spec: &Seen) -> Seen {
    let mut seen = spec.clone();
    for date in ["acquireTime", "renewTime"] {
        if let Some(Value::String(text)) = seen.get_mut(date) {
            text.truncate(text.find('.').unwrap_or(text.len()));
        }
    }
    seen
}
