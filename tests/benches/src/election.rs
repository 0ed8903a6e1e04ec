//! c: elections: an orderly resignation, the death of a leader, and what it costs to lead and to wait.

use std::time::Duration;

use anyhow::{Context, Result};
use msync::clock::{BootClock, Clock, Moment};
use tests::{tamper::Tamper, testbed::ADMIN};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    child::{LIMIT, Role, moment, start},
    figures::{Figure, Sample, Table},
    raw::{Watching, Writes},
    server::{Room, Server},
    sizes::Sizes,
};

/// Long: no renewal falls into a resignation.
const CALM: Duration = Duration::from_secs(60);

/// Short, so that many leaders can be killed in a minute; the stagger of the first waiter is zero at any ttl.
const KILL: Duration = Duration::from_secs(3);

const ELECTION: &str = "elected";

/// Requests of a leader and of a follower, counted while other sections run.
pub(crate) type Idle = JoinHandle<Result<[Figure; 2]>>;

pub(crate) async fn measure(server: &Server, sizes: &Sizes, table: &mut Table) -> Result<()> {
    let room = server.room().await?;
    let raw = resignations(&room, sizes.resignations, table).await?;
    kills(&server.room().await?, sizes.kills, raw, table).await
}

async fn resignations(room: &Room<'_>, count: usize, table: &mut Table) -> Result<f64> {
    let role = Role::Campaign { election: ELECTION.to_owned() };
    let mut leader = start(&room.place("first", CALM), &role).await?;
    leader.line_with("leads", LIMIT).await?;
    let mut follower = start(&room.place("second", CALM), &role).await?;
    let (mut took, mut raw, mut writes) = (Sample::default(), Sample::default(), Writes::start(room, "raw", 0).await?);
    for round in 0..=count {
        until_queued(room).await?;
        raw.push(writes.one().await?);
        leader.say("resign")?;
        let resigned = moment(&leader.line_with("resigns", LIMIT).await?)?;
        let elected = moment(&follower.line_with("leads", LIMIT).await?)?;
        if round > 0 {
            took.push(crate::figures::millis(elected.since(resigned)));
        }
        std::mem::swap(&mut leader, &mut follower);
    }
    // A candidate waits for days, so it confirms its grant before it leads: two writes and one event.
    let figure = Figure::new('c', "resign to new leader", "ms", took);
    table.add(figure.over("write + event in turns", raw.median()).budget("2 writes + 1 event"));
    Ok(raw.median())
}

async fn kills(room: &Room<'_>, count: usize, raw: f64, table: &mut Table) -> Result<()> {
    let role = Role::Campaign { election: ELECTION.to_owned() };
    let mut leader = start(&room.place("pod-0-", KILL), &role).await?;
    leader.line_with("leads", LIMIT).await?;
    let (mut took, mut watching) = (Sample::default(), Watching::start(&room.locks().await?, ELECTION).await?);
    for round in 1..=count {
        let name = format!("pod-{round}-");
        let mut follower = start(&room.place(&name, KILL), &role).await?;
        until_queued(room).await?;
        sleep(KILL + KILL * u32::try_from(round % 7)? / 20).await; // at another moment between two renewals each time
        leader.kill()?;
        let elected = moment(&follower.line_with("leads", 10 * KILL).await?)?;
        let last = last_renewal(&mut watching, &name).await?;
        took.push(crate::figures::millis(elected.since(last)));
        leader = follower;
    }
    let promised = KILL.as_secs_f64() * 1e3 * 1.01 + raw + 50.0;
    let figure = Figure::new('c', "SIGKILL: last renewal to new leader, ttl 3 s", "ms", took);
    table
        .add(figure.over("ttl", KILL.as_secs_f64() * 1e3).budget(format!("<= {promised:.0} (ttl x 1.01 + call + 50)")));
    Ok(())
}

/// When the last write that prolonged the old leader's term was seen: the one before the new leader's own.
async fn last_renewal(watching: &mut Watching, new_leader: &str) -> Result<Moment> {
    let (mut beat, mut last) = (String::new(), None);
    loop {
        let sight = watching.sights.recv().await.context("the watch has ended")?;
        if sight.lock.spec.owner.starts_with(new_leader) {
            return last.context("the leader before had renewed");
        }
        if sight.lock.spec.beat != beat {
            (beat, last) = (sight.lock.spec.beat, Some(sight.at));
        }
    }
}

async fn until_queued(room: &Room<'_>) -> Result<()> {
    let locks = room.locks().await?;
    let queued = || async {
        let found = locks.get(ELECTION).await;
        found.is_ok_and(|found| found.spec.waiters.len() == 1 && found.spec.renewals > 0)
    };
    tests::eventually("a follower waits", LIMIT, queued).await
}

/// Begins to count the requests of a leader and of a follower that nothing happens to, at the default timing.
pub(crate) async fn begin_idle(server: &Server, sizes: &Sizes) -> Result<Idle> {
    let room = server.room().await?;
    let (leading, following) = (Tamper::new(), Tamper::new());
    let ttl = msync::Timing::default().ttl();
    let test_server = server.test_server();
    let leader = room.client_of(test_server.client_with(&leading, ADMIN).await?, "leader", ttl)?;
    let follower = room.client_of(test_server.client_with(&following, ADMIN).await?, "follower", ttl)?;
    let time = Duration::from_secs(sizes.idle);
    let term = leader.election(ELECTION)?.campaign().await?;
    let election = follower.election(ELECTION)?;
    let waiting = tokio::spawn(async move { election.campaign().await });
    until_queued(&room).await?;
    Ok(tokio::spawn(async move {
        sleep(Duration::from_secs(1)).await; // until the watches are open
        let (start, before) = (BootClock.now(), [&leading, &following].map(|tamper| tamper.calls().len()));
        sleep(time).await;
        let minutes = BootClock.now().since(start).as_secs_f64() / 60.0;
        let after = [&leading, &following].map(|tamper| tamper.calls().len());
        term.check().context("the leader leads on")?;
        waiting.abort();
        let [led, followed] = [0, 1].map(|who| (after[who] - before[who]) as f64 / minutes);
        let per_ttl = 60.0 / ttl.as_secs_f64();
        Ok([
            Figure::new('c', "leader, ttl 15 s", "requests/min", led).over("3 renewals per ttl", 3.0 * per_ttl),
            Figure::new('c', "idle follower, ttl 15 s", "requests/min", followed)
                .over("1 look per ttl", per_ttl)
                .budget("1 per ttl + 0.25 per watch"),
        ])
    }))
}
