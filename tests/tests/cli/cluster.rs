//! `msync run` on a real API server: waiting, losing, giving back.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result};
use kube::config::{AuthInfo, Kubeconfig};
use nix::sys::signal::Signal;
use tests::{
    cluster::Cluster,
    eventually,
    proxy::{Direction, Proxy},
    testbed::{ADMIN, Options},
};

use crate::{
    child::{LIMIT, Notes, Running, ended, is_gone, msync},
    screen::Screen,
};

/// `msync` as a user of a cluster, in its namespace.
pub(crate) fn on(cluster: &Cluster, user: &str, args: &[&str]) -> Result<Command> {
    let mut command = msync(args);
    let kubeconfig = cluster.server().kubeconfig(user)?;
    command.env("KUBECONFIG", kubeconfig).env("MSYNC_NAMESPACE", cluster.namespace());
    Ok(command)
}

/// `msync run x` with flags and a script.
pub(crate) fn run(cluster: &Cluster, flags: &[&str], script: &str) -> Result<Command> {
    on(cluster, ADMIN, &[&["run", "x"], flags, &["--", "sh", "-c", script]].concat())
}

/// The same, through a proxy that can fail.
fn run_via(cluster: &Cluster, proxy: &Proxy, notes: &Notes, flags: &[&str], script: &str) -> Result<Command> {
    let direct = fs::read_to_string(cluster.server().kubeconfig(ADMIN)?)?;
    let (before, rest) = direct.split_once("https://").context("an address")?;
    let (_, after) = rest.split_at(rest.find(|c: char| c.is_whitespace() || c == '"').context("the address ends")?);
    fs::write(notes.file("kubeconfig"), format!("{before}https://{}{after}", proxy.addr()))?;
    let mut command = run(cluster, flags, script)?;
    command.env("KUBECONFIG", notes.file("kubeconfig"));
    Ok(command)
}

/// A lock that is held until it is dropped, by a command that has said so.
async fn holder(cluster: &Cluster) -> Result<Running> {
    let running = Running::start(run(cluster, &["--owner", "first"], "echo holds; exec sleep 600")?)?;
    running.says("holds").await?;
    Ok(running)
}

/// klock's default identity is the same for everybody: two processes of one host would both be the holder.
#[tokio::test]
async fn klock_two_processes_of_one_host_exclude_each_other() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let notes = Notes::new()?;
    let inside = notes.file("inside").display().to_string();
    let script = format!("mkdir {inside} && sleep 0.2 && rmdir {inside}");
    let all = (0..3).map(|_| Running::start(run(&cluster, &[], &script)?)).collect::<Result<Vec<_>>>()?;
    for running in all {
        let ended = running.end().await?;
        assert_eq!(ended.code, 0, "two were inside: {ended:?}");
    }
    cluster.until_gone("x").await
}

#[tokio::test]
async fn who_waits_is_told_who_holds_its_place_and_for_how_long() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let holder = holder(&cluster).await?;
    let second = Running::start(run(&cluster, &["--owner", "second"], "true")?)?;
    second.tells("place 1 of 1, held by first").await?;
    let third = Running::start(run(&cluster, &[], "true")?)?;
    third.tells("place 2 of 2, held by first").await?;
    assert!(second.err().lines().all(|line| line.starts_with("msync: waiting for lock x, ")), "{}", second.err());
    holder.signal(Signal::SIGTERM)?;
    for waiter in [second, third] {
        assert_eq!(waiter.end().await?.code, 0);
    }
    Ok(())
}

/// On a terminal it is one line, which is written over, never wider than the terminal, and gone at the end.
#[tokio::test]
async fn on_a_terminal_one_line_tells_how_the_waiting_goes() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let holder = holder(&cluster).await?;
    for columns in [100, 30] {
        let mut screen = Screen::start(&run(&cluster, &["--wait", "4s"], "true")?, columns)?;
        assert_eq!(screen.end().await?, 75);
        screen.shows("not free within 4s").await?;
        let seen = screen.seen();
        let lines: Vec<_> = seen.split('\r').filter(|line| line.contains("waiting")).collect();
        assert!(lines.len() >= 2, "a new one every second: {seen:?}");
        for line in lines {
            let line = line.trim_end_matches("\x1b[K");
            assert!(line.chars().count() < usize::from(columns) && !line.contains('\n'), "{line:?}");
        }
        let last = seen.rsplit("\x1b[K").next().unwrap_or_default();
        assert!(last.contains("not free within 4s") && !last.contains("waiting"), "{seen:?}");
    }
    drop(holder);
    Ok(())
}

#[tokio::test]
async fn a_busy_lock_has_its_own_code() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let _holder = holder(&cluster).await?;
    for (flags, code) in [
        (&["--no-wait"][..], 75),
        (&["--no-wait", "-E", "0"], 0),
        (&["--wait", "300ms"], 75),
        (&["--wait", "300ms", "-E", "42"], 42),
    ] {
        let ended = ended(run(&cluster, flags, "echo never")?).await?;
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{flags:?}: {}", ended.err);
        assert!(ended.err.contains("held by first"), "{}", ended.err);
    }
    Ok(())
}

/// consul lock dies of a signal before it holds, or waits on for ever (hashicorp/consul#4439).
#[tokio::test]
async fn consul_4439_a_signal_before_the_lock_is_held_ends_it_and_leaves_the_queue() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let _holder = holder(&cluster).await?;
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let waiter = Running::start(run(&cluster, &[], "echo never")?)?;
        cluster.until_waiting("x", 1).await?;
        waiter.signal(signal)?;
        let ended = waiter.end().await?;
        assert_eq!((ended.code, ended.out.as_str()), (code, ""), "{}", ended.err);
        cluster.until_waiting("x", 0).await?;
    }
    Ok(())
}

/// etcdctl lock ignores that its session is lost, and consul lock learns of it late: the command runs beside another holder.
#[tokio::test]
async fn etcdctl_a_command_that_is_cut_off_ends_before_others_have_the_lock() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let (proxy, notes) = (cluster.server().proxy().await?, Notes::new()?);
    let inside = notes.file("inside").display().to_string();
    // Deaf to SIGTERM as well, so that only SIGKILL in time helps; it leaves its mark for as long as it runs.
    let script = format!("trap 'echo told' TERM; echo holds; while :; do date +%s%N >> {inside}; sleep 0.02; done");
    let cut = Running::start(run_via(&cluster, &proxy, &notes, &["--ttl", "6s", "--owner", "cut"], &script)?)?;
    cut.says("holds").await?;
    let next = Running::start(run(&cluster, &[], &format!("date +%s%N; tail -n 1 {inside}"))?)?;
    cluster.until_waiting("x", 1).await?;
    proxy.blackhole(Direction::ToServer);
    let ended = cut.end().await?;
    assert_eq!((ended.code, ended.out.as_str()), (76, "holds\ntold\n"), "{}", ended.err);
    let next = next.end().await?;
    let times: Vec<u64> = next.out.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    assert_eq!(next.code, 0);
    assert!(times[1] < times[0], "the last sign of the first is older than the start of the second: {times:?}");
    Ok(())
}

#[tokio::test]
async fn when_the_lock_is_taken_away_the_command_ends_at_once() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let notes = Notes::new()?;
    let script = format!("trap '' TERM; echo $$ > {}/command; while :; do sleep 0.1; done", notes.path().display());
    let running = Running::start(run(&cluster, &["--ttl", "60s"], &script)?)?;
    let command = notes.pid("command").await?;
    cluster.delete("x").await?;
    is_gone(command).await?;
    let ended = running.end().await?;
    assert_eq!(ended.code, 76);
    assert!(ended.err.contains("lock x is lost: its object was deleted"), "{}", ended.err);
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_is_away_at_the_end_changes_no_code() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let (proxy, notes) = (cluster.server().proxy().await?, Notes::new()?);
    let script = format!("echo holds; while [ ! -e {0}/end ]; do sleep 0.05; done; exit 4", notes.path().display());
    let running = Running::start(run_via(&cluster, &proxy, &notes, &[], &script)?)?;
    running.says("holds").await?;
    proxy.refuse(true);
    proxy.reset();
    fs::write(notes.file("end"), "")?;
    let ended = running.end().await?;
    assert_eq!(ended.code, 4, "{}", ended.err);
    assert!(ended.err.contains("after its ttl"), "{}", ended.err);
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_told_while_waiting() -> Result<()> {
    let Some(cluster) = Cluster::exclusive().await? else { return Ok(()) };
    let (proxy, notes) = (cluster.server().proxy().await?, Notes::new()?);
    proxy.blackhole(Direction::ToServer);
    let running = Running::start(run_via(&cluster, &proxy, &notes, &[], "echo never")?)?;
    running.tells("no answer from the cluster yet").await?;
    running.signal(Signal::SIGTERM)?;
    assert_eq!(running.end().await?.code, 143);
    Ok(())
}

#[tokio::test]
async fn at_least_keeps_the_lock_when_the_command_has_ended() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    assert_eq!(ended(run(&cluster, &["--at-least", "1h"], "true")?).await?.code, 0);
    assert_eq!(ended(run(&cluster, &["--no-wait"], "true")?).await?.code, 75, "within the hour");
    let record = cluster.record("x").await?;
    assert!(record.ttl > Duration::from_secs(3500), "{:?}", record.ttl);
    Ok(())
}

#[tokio::test]
async fn a_leader_leaves_the_record_of_its_election() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let leader = Running::start(run(&cluster, &["--leader"], "echo leads; exec sleep 600")?)?;
    leader.says("leads").await?;
    let next = Running::start(run(&cluster, &["--leader"], "echo leads")?)?;
    cluster.until_waiting("x", 1).await?;
    leader.signal(Signal::SIGTERM)?;
    assert_eq!(leader.end().await?.code, 143);
    assert_eq!(next.end().await?.out, "leads\n");
    let freed = async || cluster.record("x").await.is_ok_and(|found| found.is_free());
    eventually("it is free, and there", LIMIT, freed).await
}

#[tokio::test]
async fn a_missing_right_has_its_own_code_and_says_what_to_do() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    for line in [&["run", "x", "--", "true"][..], &["ls"], &["get", "x"], &["watch"], &["gc"]] {
        let ended = ended(on(&cluster, "stranger", line)?).await?;
        assert_eq!((ended.code, ended.out.as_str()), (77, ""), "{line:?}: {}", ended.err);
        assert!(ended.err.contains("msync install --rbac"), "{line:?}: {}", ended.err);
    }
    Ok(())
}

/// No rule would help: the remedy of a 403 sends people the wrong way.
#[tokio::test]
async fn whoever_is_not_known_is_told_to_log_in() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let notes = Notes::new()?;
    let mut kubeconfig = Kubeconfig::read_from(cluster.server().kubeconfig(ADMIN)?)?;
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(AuthInfo { token: Some("expired".to_owned().into()), ..AuthInfo::default() });
    }
    fs::write(notes.file("kubeconfig"), serde_json::to_string(&kubeconfig)?)?;
    for line in [&["run", "x", "--", "true"][..], &["ls"], &["gc"]] {
        let mut command = on(&cluster, ADMIN, line)?;
        command.env("KUBECONFIG", notes.file("kubeconfig"));
        let ended = ended(command).await?;
        assert!(ended.code != 0 && ended.err.contains("log in to the cluster again"), "{line:?}: {ended:?}");
        assert!(!ended.err.contains("--rbac"), "{line:?}: {}", ended.err);
    }
    Ok(())
}

/// As client-go has it: what `HTTPS_PROXY` says is not meant for a server on this machine.
#[tokio::test]
async fn no_proxy_is_asked_for_a_server_on_this_machine() -> Result<()> {
    let Some(cluster) = Cluster::start(Options::default()).await? else { return Ok(()) };
    let context = Kubeconfig::read_from(cluster.server().kubeconfig(ADMIN)?)?.current_context.context("a context")?;
    let chosen = ["ls", "--context", &context];
    for line in [&["run", "x", "--", "true"][..], &["ls"], &chosen, &["gc"], &["doctor", "--quick"]] {
        let mut command = on(&cluster, ADMIN, line)?;
        command.env("HTTPS_PROXY", "http://127.0.0.1:9"); // nobody listens there
        let ended = ended(command).await?;
        assert_eq!(ended.code, 0, "{line:?}: {ended:?}");
    }
    Ok(())
}
