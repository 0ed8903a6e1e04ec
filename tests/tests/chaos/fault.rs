//! What goes wrong in a crew, how it is brought about, and what must come of it.

use std::{fmt, fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::future::select_ok;
use msync::clock::{BootClock, Clock};
use serde_json::{Value, json};
use tests::{
    eventually,
    proxy::{Direction, Proxy},
};

use crate::{
    PATIENCE,
    crew::{Crew, Roles},
};

/// Whom a fault strikes: by what it does while the holder keeps the lock and all others wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Holder,
    /// By its place in the queue, from 0.
    Waiter(usize),
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Loss {
    /// Delivered, never answered.
    Dropped,
    /// Delivered, then the connection breaks.
    Broken,
    /// Delivered, answered when nobody waits any more.
    Late,
    /// Delivered when nobody waits any more, never answered.
    Zombie,
}

/// Which write it is; a Renew that answers a grant is an accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Create,
    Claim,
    Enqueue,
    Leave,
    Accept,
    Renew,
    Grant,
    Free,
    Delete,
}

/// One fault of one crew.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// kill -9, and a new process later.
    Kill(Role),
    /// SIGSTOP for more than a ttl.
    Freeze(Role),
    /// Connections are reset, a few times.
    Reset(Role),
    /// A connection breaks in the middle of a stream.
    Cut(Role, Direction),
    /// Nothing arrives in one direction for so long that a holder loses the lock.
    Blackhole(Role, Direction),
    /// Everything takes longer, but calls still end in time.
    Delay(Role),
    /// Everything takes so long that calls end when nobody waits for them any more.
    Crawl(Role),
    /// Connections are reset and refused.
    Refuse(Role),
    /// The answer to whatever is sent next is lost, and the connection with it.
    Swallow(Role),
    /// A write meets its fate.
    Meddle(Write, Loss),
    /// Every request of one member is answered with this status.
    Storm(u16, Role),
    /// Every request of the whole crew.
    Tempest(u16),
    /// The wall clock of one member jumps by so many seconds.
    Wall(Role, i64),
    /// The wall clocks of all members do, each its own way.
    Walls(i64),
    /// People edit the object.
    Edit(usize),
    /// People delete it.
    Delete,
    /// People delete it and make another.
    Remake,
}

/// Edits of a held lock; none makes it illegible for ever, which only people can mend.
pub(crate) const EDITS: usize = 7;

fn edit(number: usize) -> Value {
    match number % EDITS {
        0 => json!({"owner": "", "expiry": "9999-12-31T23:59:59Z", "acquired": "yesterday"}),
        1 => json!({"ttlMilliseconds": 0, "renewals": i64::MAX}),
        2 => json!({"waiters": []}),
        3 => json!({"waiters": ["", "garbage", "5f0c9c0c2f7e4b16 gone.1 99999999999999999999 instant"]}),
        4 => json!({"beat": "00000000000000ff"}),
        5 => json!({"term": "", "engine": "", "owner": "", "beat": ""}),
        _ => json!({"engine": "somebody.0000000000000001", "term": "00000000000000ff", "ttlMilliseconds": 1000}),
    }
}

// === impl Roles ===

impl Roles {
    fn at(&self, role: Role) -> usize {
        match role {
            Role::Holder => self.holder,
            Role::Waiter(place) => self.waiters[place],
        }
    }
}

/// Brings a fault about, ends it, and waits until every member has had the lock again.
pub(crate) async fn strike(crew: &mut Crew<'_>, fault: Fault) -> Result<()> {
    let (what, began) = (format!("{fault} strikes {}", crew.lock), BootClock.now());
    Box::pin(play(crew, fault)).await.with_context(|| format!("while {what}"))?;
    let recovery = crew.all_progress().await.with_context(|| format!("after {what}"))?;
    let all = BootClock.now().since(began);
    println!("{what}; {recovery:.1?} later all had the lock again, {all:.1?} in all");
    crew.site.report.lock().expect("nobody panics with the report").survived(&fault.to_string(), recovery);
    Ok(())
}

async fn play(crew: &mut Crew<'_>, fault: Fault) -> Result<()> {
    match fault {
        Fault::Kill(role) => kill(crew, role).await,
        Fault::Freeze(role) => freeze(crew, role).await,
        Fault::Reset(role) => reset(crew, role).await,
        Fault::Cut(role, direction) => {
            let bytes = 1 + crew.dice.below(4000);
            slowed(crew, role, |proxy| proxy.cut_after(direction, bytes)).await
        }
        Fault::Delay(role) => {
            let delay = crew.part_of_ttl((1, 60), (1, 20));
            slowed(crew, role, |proxy| proxy.delay(delay)).await
        }
        Fault::Crawl(role) => crawl(crew, role).await,
        Fault::Blackhole(role, direction) => cut_off(crew, role, |proxy| proxy.blackhole(direction)).await,
        Fault::Refuse(role) => {
            cut_off(crew, role, |proxy| {
                proxy.refuse(true);
                proxy.reset();
            })
            .await
        }
        Fault::Swallow(role) => swallow(crew, role).await,
        Fault::Meddle(write, loss) => meddle(crew, write, loss).await,
        Fault::Storm(status, role) => {
            let who = crew.pin().await?.at(role);
            crew.tell(who, &format!("storm {status}"))?;
            the_others_go_on(crew, who).await?;
            crew.tell(who, "calm")?;
            crew.tell(who, "go")
        }
        Fault::Tempest(status) => {
            crew.pin().await?;
            crew.tell_all(&format!("storm {status}"))?;
            tokio::time::sleep(crew.site.size.ttl * 6 / 5).await;
            crew.tell_all("calm")?;
            crew.tell_all("go")
        }
        Fault::Wall(role, seconds) => {
            let who = crew.pin().await?.at(role);
            jump(crew, who, seconds).await?;
            crew.tell_all("go")
        }
        Fault::Walls(seconds) => {
            crew.pin().await?;
            for who in 0..crew.members.len() {
                let sign = if who % 2 == 0 { 1 } else { -1 };
                jump(crew, who, sign * seconds).await?;
            }
            crew.tell_all("go")
        }
        Fault::Edit(_) | Fault::Delete | Fault::Remake => by_hand(crew, fault).await,
    }
}

async fn reset(crew: &mut Crew<'_>, role: Role) -> Result<()> {
    let who = crew.pin().await?.at(role);
    for _ in 0..3 {
        crew.members[who].proxy.reset();
        tokio::time::sleep(crew.dice.millis(20, 400)).await;
    }
    crew.tell_all("go")
}

/// Its network is worse for so long that everybody, also it, has had the lock meanwhile.
async fn slowed(crew: &mut Crew<'_>, role: Role, how: impl FnOnce(&Proxy)) -> Result<()> {
    let who = crew.pin().await?.at(role);
    how(&crew.members[who].proxy);
    crew.tell_all("go")?;
    crew.all_progress().await?;
    crew.members[who].proxy.heal();
    Ok(())
}

/// A call may take a sixth of the ttl (`Timing::attempt`). Who needs longer, there and back, can hold, hand on and be
/// granted, of which it learns by its watches; but it cannot ask for the lock again, so only the others need to go on.
async fn crawl(crew: &mut Crew<'_>, role: Role) -> Result<()> {
    let who = crew.pin().await?.at(role);
    let delay = crew.part_of_ttl((1, 10), (1, 4));
    crew.members[who].proxy.delay(delay);
    crew.tell(who, "go")?;
    the_others_go_on(crew, who).await?;
    crew.members[who].proxy.heal();
    Ok(())
}

/// It cannot be reached until the others have had the lock.
async fn cut_off(crew: &mut Crew<'_>, role: Role, how: impl FnOnce(&Proxy)) -> Result<()> {
    let who = crew.pin().await?.at(role);
    how(&crew.members[who].proxy);
    the_others_go_on(crew, who).await?;
    crew.members[who].proxy.heal();
    crew.tell(who, "go")
}

async fn the_others_go_on(crew: &mut Crew<'_>, but: usize) -> Result<()> {
    let (others, since) = (crew.others(but), BootClock.now());
    others.iter().try_for_each(|who| crew.tell(*who, "go"))?;
    crew.progress(&others, since).await.context("the others do not go on")
}

async fn kill(crew: &mut Crew<'_>, role: Role) -> Result<()> {
    let who = crew.pin().await?.at(role);
    crew.kill(who)?;
    the_others_go_on(crew, who).await?;
    crew.replace(who).await
}

async fn freeze(crew: &mut Crew<'_>, role: Role) -> Result<()> {
    let (who, began) = (crew.pin().await?.at(role), BootClock.now());
    crew.members[who].child.stop().await?;
    the_others_go_on(crew, who).await?;
    let past_its_ttl = crew.site.size.ttl * 11 / 10;
    tokio::time::sleep(past_its_ttl.saturating_sub(BootClock.now().since(began))).await;
    crew.members[who].child.resume()?;
    crew.tell(who, "go")
}

async fn swallow(crew: &mut Crew<'_>, role: Role) -> Result<()> {
    let who = crew.pin().await?.at(role);
    let hold = crew.dice.millis(100, 2000);
    let proxy = &crew.members[who].proxy;
    let before = proxy.swallowed();
    proxy.swallow_next_reply(hold);
    eventually("an answer is lost", PATIENCE, || std::future::ready(proxy.swallowed() > before)).await?;
    crew.tell_all("go")?;
    tokio::time::sleep(hold).await;
    Ok(())
}

/// Arms the fault where the write comes from, brings that write about, and waits until it has met its fate.
async fn meddle(crew: &mut Crew<'_>, write: Write, loss: Loss) -> Result<()> {
    let order = format!("meddle {write:?} {}", loss.word(crew));
    match write {
        // Alone, it makes the object and deletes it, or claims and frees it, again and again.
        Write::Create | Write::Delete | Write::Free => {
            let who = crew.anybody();
            crew.others(who).iter().try_for_each(|other| crew.tell(*other, "rest"))?;
            arm(crew, who, &order).await?;
            struck(crew, who).await?;
            crew.tell_all("go")
        }
        Write::Enqueue => {
            let who = crew.anybody();
            arm(crew, who, &order).await?;
            struck(crew, who).await
        }
        Write::Leave => {
            let who = crew.anybody();
            arm(crew, who, &order).await?;
            // By chance it would give up a few times a minute at best, on a busy machine.
            crew.others(who).iter().try_for_each(|other| crew.tell(*other, "stay"))?;
            crew.tell(who, "hurry")?;
            struck(crew, who).await?;
            crew.tell_all("go")
        }
        Write::Renew => {
            let who = crew.pin().await?.holder;
            arm(crew, who, &order).await?;
            // If it has just lost the lock, it must be able to get it again.
            crew.others(who).iter().try_for_each(|other| crew.tell(*other, "go"))?;
            struck(crew, who).await?;
            crew.tell_all("go")
        }
        Write::Grant | Write::Accept => {
            let role = if write == Write::Grant { Role::Holder } else { Role::Waiter(0) };
            let who = crew.pin().await?.at(role);
            arm(crew, who, &order).await?;
            crew.tell_all("go")?;
            struck(crew, who).await
        }
        Write::Claim => {
            // The first in the queue claims if it has seen the last beat; else whoever has (promise L1).
            let dead = crew.pin().await?.holder;
            let heirs = crew.others(dead);
            for &heir in &heirs {
                arm(crew, heir, &order).await?;
            }
            crew.kill(dead)?;
            heirs.iter().try_for_each(|heir| crew.tell(*heir, "go"))?;
            anybody_struck(crew, dead).await?;
            heirs.iter().try_for_each(|heir| crew.tell(*heir, "calm"))?;
            crew.replace(dead).await
        }
    }
}

async fn arm(crew: &mut Crew<'_>, who: usize, order: &str) -> Result<()> {
    crew.tell(who, order)?;
    crew.members[who].child.line_with("armed", PATIENCE).await.map(drop)
}

async fn struck(crew: &mut Crew<'_>, who: usize) -> Result<()> {
    crew.members[who].child.line_with("struck", PATIENCE).await.context("no such write came").map(drop)
}

/// Waits until a write of any member met its fate, but for one.
async fn anybody_struck(crew: &mut Crew<'_>, but: usize) -> Result<()> {
    let others = crew.members.iter_mut().enumerate().filter(|(who, _)| *who != but);
    let strikes = others.map(|(_, member)| Box::pin(member.child.line_with("struck", PATIENCE)));
    select_ok(strikes).await.context("no such write came").map(drop)
}

async fn jump(crew: &mut Crew<'_>, who: usize, seconds: i64) -> Result<()> {
    if crew.site.faketime.is_some() {
        fs::write(&crew.members[who].wall, format!("{seconds:+}"))?;
    } else {
        crew.tell(who, &format!("wall {seconds}"))?;
    }
    let give_up = BootClock.now() + PATIENCE;
    loop {
        crew.tell(who, "wall?")?;
        let told = crew.members[who].child.line_with("wall ", PATIENCE).await?;
        let told: i64 = told.trim_start_matches("wall ").parse().context("a wall clock")?;
        let off = told - BootClock.wall().as_millis() / 1000;
        if (off - seconds).abs() < 120 {
            return Ok(());
        }
        ensure!(BootClock.now() < give_up, "its wall clock is {off} s off, not {seconds}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn by_hand(crew: &mut Crew<'_>, fault: Fault) -> Result<()> {
    crew.pin().await?;
    let (cluster, lock) = (&crew.site.cluster, &crew.lock);
    match fault {
        Fault::Edit(number) => cluster.edit(lock, edit(number)).await?,
        Fault::Delete => cluster.delete(lock).await?,
        Fault::Remake => {
            cluster.delete(lock).await?;
            let spec = json!({"owner": "hand", "expiry": "9999-12-31T23:59:59Z"});
            let _ = cluster.make(lock, spec).await; // unless somebody was faster
        }
        _ => bail!("not by hand: {fault}"),
    }
    crew.tell_all("go")
}

// === impl Loss ===

impl Loss {
    fn word(self, crew: &mut Crew<'_>) -> String {
        let later = crew.part_of_ttl((1, 4), (3, 2)).as_millis();
        match self {
            Self::Dropped => "dropped".to_owned(),
            Self::Broken => "broken".to_owned(),
            Self::Late => format!("late={later}"),
            Self::Zombie => format!("zombie={later}"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holder => f.write_str("holder"),
            Self::Waiter(place) => write!(f, "waiter {place}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role) => write!(f, "kill -9 of {role}"),
            Self::Freeze(role) => write!(f, "SIGSTOP of {role} past its ttl"),
            Self::Reset(role) => write!(f, "connections of {role} reset"),
            Self::Cut(role, direction) => write!(f, "cut of {role} in mid-stream, {direction:?}"),
            Self::Blackhole(role, direction) => write!(f, "blackhole of {role}, {direction:?}"),
            Self::Delay(role) => write!(f, "delay of {role}"),
            Self::Crawl(role) => write!(f, "delay of {role} past its time limit"),
            Self::Refuse(role) => write!(f, "connections of {role} refused"),
            Self::Swallow(role) => write!(f, "an answer to {role} lost"),
            Self::Meddle(write, Loss::Zombie) => write!(f, "{write:?} delivered as a zombie"),
            Self::Meddle(write, loss) => {
                write!(f, "reply of a delivered {write:?} {}", format!("{loss:?}").to_lowercase())
            }
            Self::Storm(status, role) => write!(f, "storm of {status} on {role}"),
            Self::Tempest(status) => write!(f, "storm of {status} on all"),
            Self::Wall(role, seconds) => write!(f, "wall clock of {role} jumps {seconds:+} s"),
            Self::Walls(seconds) => write!(f, "wall clocks of all jump +-{seconds} s"),
            Self::Edit(number) => write!(f, "edit by hand {number}"),
            Self::Delete => f.write_str("deleted by hand"),
            Self::Remake => f.write_str("deleted and made by hand"),
        }
    }
}
