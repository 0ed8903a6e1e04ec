//! Watching who leads, without standing.
//!
//! What is seen is late by nature; nothing here decides who leads.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};

use super::Election;
use crate::{
    clock::{Clock, Moment},
    engine::Listener,
    record::{Pair, Record},
    runtime,
    store::{Sighting, Snapshot},
};

/// The leader of an election, as an observer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    owner: String,
    identity: String,
    advert: Option<Arc<str>>,
}

/// Who leads, and every change of that; from [`Election::observe`]. It never ends.
#[must_use = "streams do nothing unless polled"]
pub struct Leaders(BoxStream<'static, Option<Leader>>);

// === impl Leaders ===

impl Stream for Leaders {
    type Item = Option<Leader>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Leaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaders")
    }
}

// === impl Election: observation ===

impl Election {
    /// Watches who leads: first the present state, then every change. `None` while nobody does, as far as can be seen: a
    /// leader who has shown no life for its ttl counts as none.
    ///
    /// What is seen is late by nature: never act as leader, nor as the only follower, because of it. The stream never
    /// ends; failures of the watch are waited out.
    ///
    /// # Examples
    /// ```
    /// use futures::StreamExt;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), msync::Error> {
    /// # let client = msync::Client::standalone();
    /// let mut leaders: msync::Leaders = client.election("scheduler")?.observe();
    /// assert_eq!(leaders.next().await, Some(None)); // nobody yet
    /// # Ok(()) }
    /// ```
    pub fn observe(&self) -> Leaders {
        let listener = Listener::new(&self.engine, self.name.clone());
        let observer = Observer { clock: Arc::clone(&self.engine.clock), listener, sight: None, told: Told::Nothing };
        let leaders = stream::unfold(observer, |mut observer| async {
            let leader = observer.next().await;
            Some((leader, observer))
        });
        Leaders(runtime::stream(self.engine.home, leaders).boxed())
    }
}

// === impl Leader ===

impl Leader {
    fn of(record: &Record) -> Self {
        let (owner, identity) = (record.engine.owner().to_owned(), record.engine.to_string());
        Self { owner, identity, advert: record.advert().map(Into::into) }
    }

    /// Returns the leader's name, for people.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns the leader's identity: its owner name and random bits of its start.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Returns what the leader says of itself; see [`Election::advertise`].
    pub fn advert(&self) -> Option<&str> {
        self.advert.as_deref()
    }
}

/// What one observer has seen.
struct Observer {
    clock: Arc<dyn Clock>,
    listener: Listener,
    sight: Option<Sight>,
    /// What the stream has said last; nothing at first.
    told: Told,
}

/// What an observer has been told.
#[derive(PartialEq)]
enum Told {
    Nothing,
    Leader(Option<Leader>),
}

/// A record with a holder, and until when the pair that it shows is a sign of life. Kept beyond that, so that the same
/// pair seen again, beside a new waiter or in a list, brings nobody back to life.
struct Sight {
    pair: Pair,
    until: Moment,
    leader: Leader,
}

// === impl Observer ===

impl Observer {
    async fn next(&mut self) -> Option<Leader> {
        loop {
            let now = self.clock.now();
            let expiry = self.sight.as_ref().map(|sight| sight.until).filter(|until| *until > now);
            let expired = self.clock.sleep_until(expiry.unwrap_or(Moment::from_nanos(u64::MAX)));
            tokio::select! {
                biased;
                sighting = self.listener.next() => self.take(sighting),
                () = expired => {}
            }
            let now = self.clock.now();
            let leader = self.sight.as_ref().filter(|sight| now < sight.until).map(|sight| sight.leader.clone());
            let news = Told::Leader(leader.clone());
            if self.told != news {
                self.told = news;
                return leader;
            }
        }
    }

    fn take(&mut self, sighting: Sighting) {
        match sighting {
            Sighting::Listed(found) => self.see(found.into_iter().next().map(|(_, snapshot)| snapshot)),
            Sighting::Changed(_, snapshot) => self.see(Some(snapshot)),
            Sighting::Gone(..) => self.sight = None,
            Sighting::Alive => {}
        }
    }

    fn see(&mut self, found: Option<Snapshot>) {
        let held = found.map(|snapshot| snapshot.record).filter(|record| !record.is_free() && record.renewals > 0);
        let Some(record) = held else { return self.sight = None };
        match &mut self.sight {
            // No sign of life: only what is said of it has changed.
            Some(sight) if sight.pair == record.pair() => sight.leader = Leader::of(&record),
            _ => self.sight = Some(Sight::new(&record, self.clock.now())),
        }
    }
}

impl Sight {
    fn new(record: &Record, now: Moment) -> Self {
        Self { pair: record.pair(), until: now + record.patience(), leader: Leader::of(record) }
    }
}
