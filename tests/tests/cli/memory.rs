//! `msync run` without a cluster: what becomes of the command.

use std::{io::Write, process::Stdio};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::child::{MSYNC, Notes, Running, alone, ended, msync};

#[tokio::test]
async fn the_code_is_the_one_of_the_command() -> Result<()> {
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)]
    {
        assert_eq!(ended(alone(&["-q"], script)).await?.code, code, "{script}");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_run_is_told_from_what_is_not_there() -> Result<()> {
    let notes = Notes::new()?;
    std::fs::write(notes.file("data"), "no program")?;
    let data = notes.file("data").display().to_string();
    for (program, code, told) in
        [("/nowhere/x", 127, "PATH"), (data.as_str(), 126, "executable"), ("/", 126, "executable")]
    {
        let ended = ended(msync(&["run", "x", "--store", "memory", "--", program])).await?;
        assert_eq!(ended.code, code, "{program}: {}", ended.err);
        assert!(ended.err.contains(program) && ended.err.contains(told), "{}", ended.err);
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_command_line_is_told_before_anything_is_done() -> Result<()> {
    for line in [&["run", "x"][..], &["run", "", "--", "true"], &["run", "x", "--wait", "5", "--", "true"]] {
        let ended = ended(msync(line)).await?;
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{line:?}: {}", ended.err);
    }
    Ok(())
}

#[tokio::test]
async fn who_forgets_the_two_dashes_is_told_where_they_go() -> Result<()> {
    let forgot = ended(msync(&["run", "nightly", "./backup.sh"])).await?;
    assert!(
        forgot.code == 2 && forgot.err.contains("behind `--`, as in `msync run NAME -- COMMAND`"),
        "{}",
        forgot.err
    );
    let other = ended(msync(&["run", "nightly", "--fast", "--", "true"])).await?;
    assert!(other.code == 2 && !other.err.contains("behind"), "{}", other.err);
    Ok(())
}

#[tokio::test]
async fn as_a_plugin_of_kubectl_it_works_and_speaks_of_itself_as_one() -> Result<()> {
    let place = tempfile::tempdir()?;
    let plugin = place.path().join("kubectl-msync");
    std::os::unix::fs::symlink(crate::child::MSYNC, &plugin)?;
    let called = |args: &[&str]| {
        let mut command = std::process::Command::new(&plugin);
        command.args(args);
        command
    };
    let help = ended(called(&["run", "--help"])).await?;
    assert!(help.out.contains("Usage: kubectl msync run "), "{}", help.out);
    let ended = ended(called(&["run", "x", "--store", "memory", "-q", "--", "sh", "-c", "exit 3"])).await?;
    assert_eq!((ended.code, ended.err.as_str()), (3, ""), "with its warden");
    Ok(())
}

#[tokio::test]
async fn a_script_and_a_program_mean_one_lock_by_one_name() -> Result<()> {
    let ended =
        ended(msync(&["run", "Nightly_Job", "--store", "memory", "-q", "--", "sh", "-c", "echo $MSYNC_LOCK"])).await?;
    assert_eq!(ended.out.trim(), msync::LockName::escaped("Nightly_Job").as_str(), "{}", ended.err);
    Ok(())
}

#[tokio::test]
async fn the_command_has_our_descriptors_and_nothing_else_of_ours() -> Result<()> {
    const SCRIPT: &str = "cat; ls /proc/self/fd | tr '\\n' ' '";
    let mut plain = std::process::Command::new("sh");
    plain.args(["-c", SCRIPT]);
    let mut texts = Vec::new();
    for mut command in [plain, alone(&["-q"], SCRIPT)] {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        child.stdin.take().context("a pipe")?.write_all(b"hello\n")?;
        texts.push(String::from_utf8(child.wait_with_output()?.stdout)?);
    }
    assert!(texts[0].starts_with("hello\n0 1 "), "{texts:?}");
    assert_eq!(texts[0], texts[1], "as without msync");
    Ok(())
}

#[tokio::test]
async fn the_command_leads_a_process_group_of_its_own() -> Result<()> {
    let running = Running::start(alone(&["-q"], "echo $$ $(ps -o pgid= -p $$)"))?;
    let own = running.pid().to_string();
    let ended = running.end().await?;
    let (pid, group) = ended.out.trim().split_once(' ').context("two numbers")?;
    assert_eq!(pid, group.trim());
    assert_ne!(pid, own);
    Ok(())
}

#[tokio::test]
async fn who_holds_is_told_on_standard_error_and_quiet_hides_it() -> Result<()> {
    let ended_ = ended(alone(&[], "echo data")).await?;
    assert_eq!(ended_.out, "data\n");
    assert!(ended_.err.starts_with("msync: holds lock x, token "), "{}", ended_.err);
    assert_eq!(ended(alone(&["--quiet"], "true")).await?.err, "");
    Ok(())
}

/// `nohup msync run …`: what was ignored when it began is ignored by the command as well.
#[tokio::test]
async fn nohup_is_honoured() -> Result<()> {
    let script = format!(
        "{MSYNC} run x --store memory -- sh -c 'echo up; kill -HUP $PPID; kill -HUP $$; sleep 0.2; echo still'"
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("trap '' HUP; {script}")]);
    let running = Running::start(shell)?;
    running.says("up").await?;
    let ended = running.end().await?;
    assert!(ended.code == 0 && ended.out.contains("still"), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn after_max_hold_the_command_is_told_to_end_and_has_lost() -> Result<()> {
    let ended =
        ended(alone(&["--max-hold", "1500ms", "--grace", "500ms"], "trap 'echo told; exit 0' TERM; sleep 60 & wait"))
            .await?;
    assert_eq!((ended.code, ended.out.as_str()), (76, "told\n"), "{}", ended.err);
    assert!(ended.err.contains("about to be lost"), "{}", ended.err);
    Ok(())
}

#[tokio::test]
async fn a_command_that_does_not_hear_is_killed() -> Result<()> {
    let notes = Notes::new()?;
    let script = format!(
        "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > {0}/inner; sleep 600' & echo $$ > {0}/outer; sleep 600",
        notes.path().display()
    );
    let running = Running::start(alone(&["--max-hold", "1500ms", "--grace", "200ms"], &script))?;
    let (outer, inner) = (notes.pid("outer").await?, notes.pid("inner").await?);
    let ended = running.end().await?;
    assert_eq!(ended.code, 76, "{}", ended.err);
    assert!(!crate::child::lives(outer) && !crate::child::lives(inner), "nothing runs on");
    Ok(())
}

/// A frozen `msync` renews nothing: its warden ends the command, in order, before the hold ends.
#[tokio::test]
async fn a_stopped_msync_keeps_no_command_running() -> Result<()> {
    let notes = Notes::new()?;
    let script =
        format!("trap 'echo told; exit 0' TERM; echo $$ > {}/command; sleep 60 & wait", notes.path().display());
    let running = Running::start(alone(&["--ttl", "2s"], &script))?;
    let command = notes.pid("command").await?;
    running.signal(Signal::SIGSTOP)?;
    crate::child::is_gone(command).await?;
    running.signal(Signal::SIGCONT)?;
    let ended = running.end().await?;
    assert_eq!((ended.code, ended.out.as_str()), (76, "told\n"), "{}", ended.err);
    Ok(())
}
