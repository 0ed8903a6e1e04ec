//! Bugs that others have had, each by its name. Those that need a cluster are in `cluster.rs`.

use std::time::Instant;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::child::{Notes, Running, alone, ended, is_gone, msync};

/// consul lock passes on nothing but SIGTERM (hashicorp/consul#2489).
#[tokio::test]
async fn consul_2489_every_signal_reaches_the_command() -> Result<()> {
    let all = ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "VTALRM", "PROF", "IO", "XCPU", "WINCH", "URG"];
    let traps = all.map(|name| format!("trap 'echo got {name}' {name}")).join("; ");
    let script = format!("{traps}; echo ready; while :; do sleep 0.05; done");
    let running = Running::start(alone(&[], &script))?;
    running.says("ready").await?;
    for name in all {
        running.signal(format!("SIG{name}").parse()?)?;
        running.says(&format!("got {name}\n")).await?;
    }
    Ok(())
}

/// consul lock kills the shell that it runs the command in, and the command goes on (hashicorp/consul#2022).
#[tokio::test]
async fn consul_2022_a_signal_reaches_the_children_of_the_shell() -> Result<()> {
    let notes = Notes::new()?;
    let script = format!("sh -c 'echo $$ > {}/inner; exec sleep 600'; true", notes.path().display());
    let running = Running::start(alone(&[], &script))?;
    let inner = notes.pid("inner").await?;
    running.signal(Signal::SIGTERM)?;
    assert_eq!(running.end().await?.code, 143);
    is_gone(inner).await
}

/// consul lock ends with 0 when the command has failed.
#[tokio::test]
async fn consul_a_failed_command_is_a_failure() -> Result<()> {
    assert_eq!(ended(alone(&["-q"], "exit 9")).await?.code, 9);
    assert_eq!(ended(msync(&["run", "x", "--store", "memory", "-q", "--", "false"])).await?.code, 1);
    Ok(())
}

/// etcdctl lock puts its variables before those of the environment, which win.
#[tokio::test]
async fn etcdctl_the_environment_does_not_speak_for_another_lock() -> Result<()> {
    let mut command = alone(&["-q"], "echo $MSYNC_LOCK $MSYNC_TOKEN $((MSYNC_DEADLINE - $(date +%s)))");
    command.env("MSYNC_LOCK", "other").env("MSYNC_TOKEN", "1").env("MSYNC_DEADLINE", "9999999999");
    let ended = ended(command).await?;
    let words: Vec<_> = ended.out.split_whitespace().collect();
    assert_eq!(words[0], "x");
    assert!(words[1].parse::<u64>()? >= 1 << 16, "{}", ended.out);
    assert!((15..=30).contains(&words[2].parse::<i64>()?), "of a ttl of 30 s, less the margin: {}", ended.out);
    Ok(())
}

/// etcdctl lock does not end by SIGTERM while the command runs.
#[tokio::test]
async fn etcdctl_sigterm_ends_the_command_and_msync() -> Result<()> {
    let running = Running::start(alone(&[], "echo ready; exec sleep 600"))?;
    running.says("ready").await?;
    running.signal(Signal::SIGTERM)?;
    assert_eq!(running.end().await?.code, 143);
    Ok(())
}

/// flock: a background child of the command inherits the lock, which is held until that ends as well.
#[tokio::test]
async fn flock_what_runs_on_in_the_background_keeps_no_lock() -> Result<()> {
    let begun = Instant::now();
    let ended = ended(alone(&[], "sleep 600 & nohup sleep 600 >/dev/null 2>&1 & exit 0")).await?;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(begun.elapsed().as_secs() < 300, "it does not wait for them");
    Ok(())
}
