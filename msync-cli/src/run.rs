//! `msync run`: a command under a lock.
//!
//! Three processes. `msync` itself holds the lock and passes signals on. The *warden*, its child, has the command as its
//! child and sees to it that the command ends before the hold does, whatever becomes of `msync`: stopped, killed or too
//! slow. The command leads a process group of its own, and its terminal is the foreground of it.

mod command;
mod hold;
mod launch;
mod news;
mod processes;
mod signals;
mod terminal;
mod warden;
mod word;

use std::{process::ExitCode, time::Duration};

use msync::{
    Client, Timing,
    clock::{BootClock, Clock},
};

use self::{
    hold::{Hold, Wish},
    launch::Launched,
    news::News,
    signals::{Inbound, Signals},
};
use crate::{
    args::{Cluster, Run},
    connect,
    exit::{Failure, LOST},
    talk::Talk,
};

pub(crate) use launch::inner;

/// How long the command gets to end, if the ttl allows.
const USUAL_GRACE: Duration = Duration::from_secs(10);
/// How long leaving the queue, or giving back, may take: others are not kept waiting by it for longer than by a crash.
const PARTING: Duration = Duration::from_secs(5);
/// The same after a signal, when somebody waits for this process to end.
const HASTY_PARTING: Duration = Duration::from_secs(1);

/// How a command is kept within its hold.
#[derive(Debug, Clone, Copy)]
struct Plan {
    timing: Timing,
    grace: Duration,
    /// Between two looks at how far the hold reaches.
    tick: Duration,
}

/// Takes the lock, runs the command, gives the lock back.
pub(crate) async fn run(cluster: &Cluster, args: Run) -> Result<ExitCode, Failure> {
    let plan = Plan::of(&args)?;
    let mut talk = Talk::new(args.quiet);
    let mut signals = Signals::listen()?;
    let builder = connect::named(Client::builder(), args.owner.as_deref()).timing(plan.timing);
    let client = connect::open(cluster, builder).await?;
    let wish = Wish::new(&client, &args)?;
    let acquired = tokio::select! {
        biased;
        signal = signals.deadly() => Err(signal),
        hold = acquire(&wish, &mut talk) => Ok(hold),
    };
    talk.clear();
    match acquired {
        Err(signal) => {
            talk.say(&format!("ended by {signal} before it had lock {}", args.name));
            within(HASTY_PARTING, client.shutdown()).await;
            Ok(ExitCode::from(signal.exit_code()))
        }
        Ok(Err(failure)) => {
            within(HASTY_PARTING, client.shutdown()).await;
            Err(failure.into_failure(&args))
        }
        Ok(Ok(hold)) => under(hold, &args, plan, &mut signals, &mut talk, &client).await,
    }
}

/// Waits for the lock, and says how it goes.
async fn acquire(wish: &Wish, talk: &mut Talk) -> Result<Hold, hold::Refusal> {
    let mut news = News::new(wish);
    let mut acquired = std::pin::pin!(wish.acquire());
    loop {
        tokio::select! {
            biased;
            hold = &mut acquired => return hold,
            () = news.tell(talk) => {}
        }
    }
}

/// Runs the command to its end, and gives the lock back.
async fn under(
    hold: Hold,
    args: &Run,
    plan: Plan,
    signals: &mut Signals,
    talk: &mut Talk,
    client: &Client,
) -> Result<ExitCode, Failure> {
    talk.say(&format!("holds lock {}, token {}", args.name, hold.token()));
    let mut command = Launched::start(args, &hold, plan)?;
    let ended = attend(&hold, &mut command, plan, signals).await;
    command.clean_up();
    let code = match ended {
        Ended::Lost(reason) => {
            talk.warn(&format!("lock {} is lost: {reason}; the command was ended", args.name));
            LOST
        }
        Ended::Command(LOST) if hold.check().is_err() => LOST,
        Ended::Command(code) => code,
    };
    part(hold, args, signals, talk, client).await;
    Ok(ExitCode::from(code))
}

/// How the time under the lock ended.
enum Ended {
    /// The command ended, or the warden ended it.
    Command(u8),
    /// The hold ended first.
    Lost(msync::LossReason),
}

async fn attend(hold: &Hold, command: &mut Launched, plan: Plan, signals: &mut Signals) -> Ended {
    let mut lost = std::pin::pin!(hold.lost());
    loop {
        command.hold_until(hold.until());
        if let Some(code) = command.ended() {
            return Ended::Command(code);
        }
        tokio::select! {
            biased;
            reason = &mut lost => {
                command.kill();
                return Ended::Lost(reason);
            }
            inbound = signals.next() => match inbound {
                Inbound::Child => {}
                // After a stop the first thing is whether there is still a hold: the warden has seen to the command.
                Inbound::Continued => if hold.check().is_ok() { command.go_on() },
                Inbound::Forward(signal) => command.forward(signal),
            },
            () = nap(plan.tick) => {}
        }
    }
}

/// Gives the lock back. A cluster that does not answer is not waited for: the ttl ends the hold.
async fn part(hold: Hold, args: &Run, signals: &mut Signals, talk: &mut Talk, client: &Client) {
    let kept = args.at_least.is_some();
    let given_back = async {
        let released = if kept {
            drop(hold);
            Ok(())
        } else {
            hold.release().await
        };
        client.shutdown().await;
        released
    };
    let outcome = tokio::select! {
        biased;
        outcome = within(PARTING, given_back) => outcome,
        _ = signals.deadly() => None,
    };
    match outcome {
        Some(Ok(())) => {}
        Some(Err(error)) if error.is_lost() => {}
        Some(Err(error)) => talk.warn(&format!("{error}; others have it after its ttl")),
        None => talk.warn(&format!("the cluster does not answer: others have lock {} after its ttl", args.name)),
    }
}

async fn nap(time: Duration) {
    BootClock.sleep_until(BootClock.now() + time).await;
}

async fn within<T>(most: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = nap(most) => None,
    }
}

// === impl Plan ===

impl Plan {
    fn of(args: &Run) -> Result<Self, Failure> {
        let timing = Timing::with_ttl(args.ttl)?;
        let most = longest_grace(args.ttl);
        let grace = args.grace.unwrap_or(USUAL_GRACE.min(most));
        if grace > most {
            let least = args.ttl.mul_f64(grace.as_secs_f64() / most.as_secs_f64()).as_secs() + 1;
            return Err(Failure::usage(format_args!(
                "--grace {grace:?} is too long for --ttl {:?}: the command would be told to end before a renewal could \
                 fail; take --ttl {least}s, or --grace {most:?}",
                args.ttl
            )));
        }
        if let Some(most) = args.max_hold.filter(|most| *most <= grace) {
            return Err(Failure::usage(format_args!(
                "--max-hold {most:?} leaves no time to run: --grace {grace:?} of it is for the end; take a shorter --grace"
            )));
        }
        let tick = (args.ttl / 20).min(Duration::from_secs(1));
        Ok(Self { timing, grace, tick })
    }
}

/// Renewals are due after a third of the ttl and may take a sixth; a tenth is the margin. What is left is for the end of
/// the command, less what one tick may hide.
fn longest_grace(ttl: Duration) -> Duration {
    Duration::from_millis(u64::try_from((ttl * 35 / 100).as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Verb};

    fn plan(flags: &[&str]) -> Result<Plan, Failure> {
        let line = [&["msync", "run", "x"], flags, &["--", "true"]].concat();
        let Verb::Run(run) = Args::try_parse_from(line).unwrap().verb else { panic!("run") };
        Plan::of(&run)
    }

    #[test]
    fn the_grace_follows_the_ttl_unless_it_is_told() {
        assert_eq!(plan(&[]).unwrap().grace, USUAL_GRACE);
        assert_eq!(plan(&["--ttl", "10s"]).unwrap().grace, Duration::from_millis(3500));
        assert_eq!(plan(&["--ttl", "10s", "--grace", "1s"]).unwrap().grace, Duration::from_secs(1));
    }

    #[test]
    fn a_grace_that_would_end_commands_for_nothing_is_refused() {
        let refusal = format!("{:?}", plan(&["--ttl", "10s", "--grace", "10s"]).unwrap_err());
        assert!(refusal.contains("--ttl 29s") && refusal.contains("--grace 3.5s"), "{refusal}");
        assert!(plan(&["--ttl", "29s", "--grace", "10s"]).is_ok(), "what the message says works");
        assert!(plan(&["--max-hold", "10s"]).is_err(), "no time to run");
        assert!(plan(&["--ttl", "100ms"]).is_err());
    }
}
