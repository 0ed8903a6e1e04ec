//! One of the processes: contends for the lock of its crew and for the one of all, writes down what it believes, and
//! does what its parent says on stdin.
//!
//! | line | what it does |
//! |---|---|
//! | `stay` | the next holder of the crew's lock keeps it, and whoever waits for it is patient |
//! | `hurry` | nobody waits long for the crew's lock, and who waits now gives up |
//! | `rest` | the crew's lock is not wanted any more, once it is had |
//! | `go` | none of these |
//! | `meddle KIND FATE` | the next request of that kind on the crew's lock meets that fate: prints `armed`, then `struck` |
//! | `storm STATUS` | every request is answered with that status |
//! | `calm` | no more storm, nothing to meddle with |
//! | `wall SECONDS` | the wall clock of msync is off by so much (whoever runs under libfaketime has no need of it) |
//! | `wall?` | prints the wall clock in seconds |
//! | `end` | releases everything, prints `ended` and how many milliseconds that took, and ends |

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::future::{BoxFuture, try_join_all};
use msync::{
    Client, Election, Error, Leadership, Lock, LockGuard,
    clock::{BootClock, Clock, Moment, Wall},
    unstable::SESSIONS,
};
use tests::{
    cluster::{child_builder, child_config},
    dice::Dice,
    ledger::{Guard, Pen},
    lock_request::Kind,
    process::{follow_parent, is_child},
    tamper::{Call, Fate, Reply, Tamper},
};
use tokio::sync::{mpsc, watch};

use crate::{CHILD_DICE, CHILD_DIR, CHILD_ELECTION, CHILD_LOCK, EVERYONE, LONGEST_TRY_MS};

/// What the parent wants of the contenders.
#[derive(Clone, Copy, Debug, Default)]
struct Mood {
    /// Of the one for the crew's lock.
    wish: Wish,
    end: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wish {
    #[default]
    Go,
    Stay,
    Hurry,
    Rest,
}

/// A wall clock that is off; the local clock is the true one.
#[derive(Clone, Debug, Default)]
struct WrongWall(Arc<AtomicI64>);

/// What is contended for.
enum Prize {
    Lock(Lock),
    Election(Election),
}

enum Won {
    Lock(LockGuard),
    Election(Leadership),
}

/// One task that contends.
struct Contender {
    prize: Prize,
    pen: Pen,
    dice: Dice,
    mood: watch::Receiver<Mood>,
    /// The one for the crew's lock heeds wishes, the one for the lock of all does not.
    obeys: bool,
    /// How long it thinks between two acquisitions, in milliseconds.
    think: u64,
}

#[tokio::test]
#[ignore = "a child of the chaos"]
async fn child_contends() -> Result<()> {
    if !is_child() {
        return Ok(());
    }
    let orders = follow_parent();
    let (tamper, wall, mood) = (Tamper::new(), WrongWall::default(), watch::Sender::new(Mood::default()));
    let mut dice = Dice::new(std::env::var(CHILD_DICE)?.parse()?);
    let mut config = child_config().await?;
    config.default_retry = dice.below(2) == 0;
    let client = child_builder()?.clock(wall.clone()).kube(tamper.client(config)?).build();
    let contenders = [contender(&client, true, &mut dice, &mood)?, contender(&client, false, &mut dice, &mood)?];
    println!("\nready");
    tokio::select! {
        ended = try_join_all(contenders.map(Contender::contend)) => drop(ended?),
        obeyed = obey(orders, &tamper, &wall, &mood) => obeyed?,
    }
    let began = BootClock.now();
    client.shutdown().await;
    println!("\nended {}", BootClock.now().since(began).as_millis());
    Ok(())
}

fn contender(client: &Client, obeys: bool, dice: &mut Dice, mood: &watch::Sender<Mood>) -> Result<Contender> {
    let crew = std::env::var(CHILD_LOCK)?;
    let name = if obeys { crew.as_str() } else { EVERYONE };
    let elects = obeys && std::env::var_os(CHILD_ELECTION).is_some();
    let prize = if elects { Prize::Election(client.election(name)?) } else { Prize::Lock(client.lock(name)?) };
    let file = PathBuf::from(std::env::var(CHILD_DIR)?).join(name).join(client.owner());
    let think = if obeys { 40 } else { 1000 };
    Ok(Contender { prize, pen: Pen::open(&file)?, dice: Dice::new(dice.roll()), mood: mood.subscribe(), obeys, think })
}

// === impl Contender ===

impl Contender {
    async fn contend(mut self) -> Result<()> {
        loop {
            let obeys = self.obeys;
            let mood = *self.mood.wait_for(|mood| mood.end || !(mood.wish == Wish::Rest && obeys)).await?;
            if mood.end {
                return Ok(());
            }
            self.pen.wants()?;
            match self.take(mood).await? {
                Some(Won::Lock(guard)) => self.hold(guard, LockGuard::release).await?,
                Some(Won::Election(term)) => self.hold(term, Leadership::resign).await?,
                None => self.pen.gave_up()?,
            }
            tokio::time::sleep(self.dice.millis(0, self.think)).await;
        }
    }

    /// Waits for it; or, unless it must be found in the queue, only for a while, or not at all.
    async fn take(&mut self, mood: Mood) -> Result<Option<Won>> {
        let (choice, patience) = (self.dice.below(20), self.dice.millis(1, LONGEST_TRY_MS));
        let told = |mood: &Mood, wish| mood.wish == wish && self.obeys;
        let (faithful, hurried, prize) = (told(&mood, Wish::Stay), told(&mood, Wish::Hurry), &self.prize);
        let taking = async {
            match prize {
                Prize::Election(election) => election.campaign().await.map(Won::Election).map(Some),
                Prize::Lock(lock) if choice < 2 && !faithful => Ok(lock.try_acquire().await?.map(Won::Lock)),
                Prize::Lock(lock) if hurried || (choice < 5 && !faithful) => {
                    lock.acquire_timeout(patience).await.map(Won::Lock).map(Some)
                }
                Prize::Lock(lock) => lock.acquire().await.map(Won::Lock).map(Some),
            }
        };
        let breaks_off = |mood: &Mood| mood.end || (told(mood, Wish::Hurry) && !hurried);
        let taken = tokio::select! {
            taken = taking => taken,
            _ = self.mood.wait_for(breaks_off) => return Ok(None),
        };
        match taken {
            Ok(won) => Ok(won),
            // The server is away, or somebody else has it.
            Err(Error::Timeout { .. } | Error::Unavailable { .. } | Error::Store { .. }) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// Holds for a moment, sometimes through a renewal, and for as long as it must stay; gives back or just drops.
    async fn hold<G: Guard, R: Future<Output = Result<(), Error>>>(
        &mut self,
        guard: G,
        release: impl FnOnce(G) -> R,
    ) -> Result<()> {
        let length = if self.dice.below(40) == 0 { self.dice.millis(500, 2500) } else { self.dice.millis(5, 50) };
        let end = BootClock.now() + length;
        while self.pen.holds(&guard)? {
            let mood = *self.mood.borrow();
            let stays = mood.wish == Wish::Stay && self.obeys && !mood.end;
            if !stays && (mood.end || BootClock.now() >= end) {
                self.pen.releases(&guard)?;
                break;
            }
            tokio::time::sleep(Duration::from_millis(if stays { 20 } else { 8 })).await;
        }
        if self.dice.below(2) == 0 {
            let _ = release(guard).await; // lost, or the server is away: the ttl ends it
        }
        Ok(())
    }
}

/// Follows the parent's orders until it says `end`, and then lets the contenders finish.
async fn obey(
    mut orders: mpsc::UnboundedReceiver<String>,
    tamper: &Tamper,
    wall: &WrongWall,
    mood: &watch::Sender<Mood>,
) -> Result<()> {
    while let Some(order) = orders.recv().await {
        let words: Vec<_> = order.split(' ').collect();
        match words[..] {
            ["go"] => mood.send_modify(|mood| mood.wish = Wish::Go),
            ["stay"] => mood.send_modify(|mood| mood.wish = Wish::Stay),
            ["hurry"] => mood.send_modify(|mood| mood.wish = Wish::Hurry),
            ["rest"] => mood.send_modify(|mood| mood.wish = Wish::Rest),
            ["end"] => mood.send_modify(|mood| mood.end = true),
            ["meddle", write, fate] => meddle(tamper, write, fate_of(fate)?)?,
            ["storm", status] => tamper.always(|_| true, Fate::Respond(storm(status)?)),
            ["calm"] => tamper.clear(),
            ["wall", seconds] => wall.0.store(seconds.parse()?, Ordering::SeqCst),
            ["wall?"] => println!("\nwall {}", wall.wall().as_millis() / 1000),
            _ => bail!("no order: {order:?}"),
        }
    }
    std::future::pending().await // the parent is gone: so is this process, in a moment
}

fn meddle(tamper: &Tamper, word: &str, fate: Fate) -> Result<()> {
    let (kind, lock) = (kind_of(word)?, std::env::var(CHILD_LOCK)?);
    let (_, plural) = tests::cluster::leases::resource();
    let (path, name) = (format!("/{plural}/{lock}"), format!("\"name\":\"{lock}\""));
    // Whose process holds another lock as well is renewed by its session.
    let session = (word == "Renew").then(|| format!("/{plural}/{SESSIONS}"));
    let mut fate = Some(fate);
    tamper.rule(move |call: &Call| {
        let meant = call.path.contains(&path) || call.says(&name);
        let keeps = session.as_ref().is_some_and(|session| call.path.contains(session));
        let hit = Kind::of(call) == kind && (meant || keeps);
        let fate = if hit { fate.take() } else { None };
        if fate.is_some() {
            println!("\nstruck");
        }
        fate
    });
    println!("\narmed");
    Ok(())
}

fn kind_of(word: &str) -> Result<Kind> {
    // A Renew that answers a grant.
    let word = if word == "Accept" { "Renew" } else { word };
    let kinds =
        [Kind::Create, Kind::Claim, Kind::Enqueue, Kind::Leave, Kind::Renew, Kind::Grant, Kind::Free, Kind::Delete];
    kinds.into_iter().find(|kind| format!("{kind:?}") == word).with_context(|| format!("no kind: {word}"))
}

fn fate_of(word: &str) -> Result<Fate> {
    let (fate, millis) = word.split_once('=').unwrap_or((word, "0"));
    let time = Duration::from_millis(millis.parse()?);
    match fate {
        "dropped" => Ok(Fate::DropReply),
        "broken" => Ok(Fate::BreakReply),
        "late" => Ok(Fate::LateReply(time)),
        "zombie" => Ok(Fate::DeliverLater(time)),
        _ => bail!("no fate: {word}"),
    }
}

fn storm(status: &str) -> Result<Reply> {
    match status {
        "429" => Ok(Reply::too_many_requests(Duration::from_secs(1))),
        "503" => Ok(Reply::error(503, "ServiceUnavailable", "the server is being tested")),
        _ => bail!("no storm: {status}"),
    }
}

// === impl Clock for WrongWall ===

impl Clock for WrongWall {
    fn now(&self) -> Moment {
        BootClock.now()
    }

    fn wall(&self) -> Wall {
        let off = self.0.load(Ordering::SeqCst).saturating_mul(1000);
        Wall::from_millis(BootClock.wall().as_millis().saturating_add(off))
    }

    fn sleep_until(&self, at: Moment) -> BoxFuture<'static, ()> {
        BootClock.sleep_until(at)
    }
}
