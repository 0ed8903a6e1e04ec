//! What a leader says of itself, such as where it can be reached.
//!
//! It is of one term, and whoever reads it compares that: so the protocol need not clear it, and nothing depends on when, or
//! whether, it is written. It is tried again until it is there or the term is over, and keeps nobody waiting.

use std::{sync::Arc, time::Duration};

use crate::{
    Lease,
    engine::{Engine, Grip},
    record::{Advert, Change},
    runtime,
    store::Fault,
};

/// How long an attempt may take, and one that failed is followed by nothing; twice as long each time once it was refused.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Begins to write it, in the background.
pub(super) fn put_up(engine: &Grip, lease: Lease, text: Arc<str>) {
    let engine = Arc::downgrade(engine);
    runtime::spawn(lease.home(), async move {
        let (mut most, mut told) = (PAUSE, false);
        while let (Some(engine), true) = (engine.upgrade(), lease.check().is_ok()) {
            let pause = engine.clock.sleep_until(engine.clock.now() + part(most, (engine.random)()));
            let term = lease.standing().borrow().term;
            if is_put_up(&engine, &lease, Advert { term, text: Arc::clone(&text) }, &mut told).await {
                return;
            }
            drop(engine);
            pause.await;
            most = if told { (2 * most).min(LONGEST_PAUSE) } else { PAUSE };
        }
    });
}

/// Returns at least half of a pause, and a random part of the rest: what failed together is not tried again together.
fn part(most: Duration, random: u64) -> Duration {
    let half = most / 2;
    half + half * u32::try_from(random % 1000).unwrap_or(0) / 1000
}

/// Tries once; says whether there is nothing more to do.
async fn is_put_up(engine: &Engine, lease: &Lease, advert: Advert, told: &mut bool) -> bool {
    let change = Change::Advertise(advert);
    let late = engine.clock.sleep_until(engine.clock.now() + PAUSE);
    let written = tokio::select! {
        biased;
        written = engine.store.apply(lease.name(), &change) => written,
        () = late => return false,
    };
    match written {
        Ok(snapshot) if snapshot.record.advert().is_some() => true,
        Ok(_) => {
            tracing::warn!(lock = %lease.name(), "the Lock resource is outdated: it does not keep what a leader advertises");
            true
        }
        Err(Fault::Refused(_)) => true, // another term: the lease will say so
        Err(fault @ Fault::Fatal(_)) if !std::mem::replace(told, true) => {
            let (election, fault) = (lease.name(), fault.describe());
            tracing::warn!(%election, %fault, "what the leader advertises is refused");
            false
        }
        Err(fault) => {
            tracing::debug!(lock = %lease.name(), ?fault, "what the leader advertises was not written");
            false
        }
    }
}
