//! `msync run` on a terminal: the command has it as if nobody stood between.

use std::process::Command;

use anyhow::{Context, Result};
use tests::eventually;

use crate::{
    child::{LIMIT, MSYNC, Notes, alone, is_gone, lives, msync},
    screen::Screen,
};

#[tokio::test]
async fn the_command_reads_what_is_typed() -> Result<()> {
    let mut screen = Screen::start(&alone(&[], "echo ready; read line; echo \"got <$line>\""), 80)?;
    screen.shows("ready").await?;
    screen.types("some words\n")?;
    screen.shows("got <some words>").await?;
    assert_eq!(screen.end().await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_interrupt_key_is_for_the_command() -> Result<()> {
    let mut screen =
        Screen::start(&alone(&[], "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done"), 80)?;
    screen.shows("ready").await?;
    screen.types("\x03")?;
    screen.shows("caught").await?;
    assert_eq!(screen.end().await?, 7, "it was the command's to decide");
    let mut screen = Screen::start(&alone(&[], "echo ready; exec sleep 600"), 80)?;
    screen.shows("ready").await?;
    screen.types("\x03")?;
    assert_eq!(screen.end().await?, 130);
    Ok(())
}

/// An interactive shell with job control, and a prompt that is known.
fn shell() -> Command {
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-i"])
        .env("PS1", "ready> ")
        .env("PATH", std::env::var("PATH").unwrap_or_default());
    bash
}

#[tokio::test]
async fn the_suspend_key_gives_the_shell_back_and_fg_goes_on() -> Result<()> {
    let (mut screen, notes) = (Screen::start(&shell(), 80)?, Notes::new()?);
    screen.shows("ready> ").await?;
    let script =
        format!("echo $$ > {}/command; while read line; do echo \"got <$line>\"; done", notes.path().display());
    screen.types(&format!("{MSYNC} run x --store memory --ttl 60s -- sh -c '{script}'; echo code $?\n"))?;
    let command = notes.pid("command").await?;
    screen.types("\x1a")?;
    screen.shows("Stopped").await?;
    screen.types("echo in the $((40 + 2)) shell\n")?;
    screen.shows("in the 42 shell").await?;
    assert!(lives(command));
    screen.types("fg\n")?;
    eventually("the command reads again", LIMIT, async || {
        let _ = screen_types(&screen);
        screen.seen().contains("got <once more>")
    })
    .await?;
    screen.types("\x04")?;
    is_gone(command).await?;
    screen.types("echo the $((40 + 2)) end\n")?;
    screen.shows("the 42 end").await
}

/// Typed again and again: what is typed before the command has the terminal is the shell's.
fn screen_types(screen: &Screen) -> Result<()> {
    use std::io::Write;
    Ok((&screen.keys).write_all(b"once more\n")?)
}

/// While the job is suspended nothing is renewed: others may have the lock, so the command does not wait in memory to go on
/// without it.
#[tokio::test]
async fn a_command_that_was_suspended_too_long_has_lost() -> Result<()> {
    let (mut screen, notes) = (Screen::start(&shell(), 80)?, Notes::new()?);
    screen.shows("ready> ").await?;
    let script = format!("echo $$ > {}/command; exec sleep 600", notes.path().display());
    screen.types(&format!("{MSYNC} run x --store memory --ttl 2s -- sh -c '{script}'\n"))?;
    let command = notes.pid("command").await?;
    screen.types("\x1a")?;
    screen.shows("Stopped").await?;
    is_gone(command).await?;
    screen.types("fg; echo code $?\n")?;
    screen.shows("code 76").await
}

/// Where no shell would let it go on, such as in `docker run --tty`, the suspend key does nothing.
#[tokio::test]
async fn without_a_shell_the_suspend_key_stops_nobody_for_ever() -> Result<()> {
    let mut screen = Screen::start(&alone(&[], "echo ready; read line; echo \"got <$line>\""), 80)?;
    screen.shows("ready").await?;
    screen.types("\x1a")?;
    screen.types("words\n")?;
    screen.shows("got <words>").await?;
    assert_eq!(screen.end().await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_terminal_left_raw_by_a_killed_command_is_mended() -> Result<()> {
    let mut screen = Screen::start(&shell(), 80)?;
    screen.shows("ready> ").await?;
    screen.types(&format!("{MSYNC} run x --store memory -- sh -c 'stty raw -echo; kill -KILL $$'; stty -a | grep -o '.icanon'; echo the $((40 + 2)) end\n"))?;
    screen.shows("the 42 end").await?;
    assert!(screen.seen().contains("\n icanon"), "{:?}", screen.seen());
    Ok(())
}

#[tokio::test]
async fn the_help_fits_the_terminal() -> Result<()> {
    for columns in [55, 80] {
        let mut command = msync(&["run", "--help"]);
        let mut screen = Screen::start(command.env("NO_COLOR", "1"), columns)?;
        screen.shows("Examples:").await?;
        assert_eq!(screen.end().await?, 0);
        let widest = screen.seen().lines().map(|line| line.trim_end().chars().count()).max();
        assert!(widest.is_some_and(|widest| widest > 35 && widest <= usize::from(columns)), "{widest:?}");
    }
    Ok(())
}

/// Examples are to be copied: on a usual terminal each stands on one line.
#[tokio::test]
async fn examples_are_not_wrapped() -> Result<()> {
    for verb in ["run", "ls", "get", "watch", "release", "hand-over", "gc", "doctor", "install"] {
        let mut command = msync(&[verb, "--help"]);
        let mut screen = Screen::start(command.env("NO_COLOR", "1"), 80)?;
        assert_eq!(screen.end().await?, 0);
        let definition = msync_cli::command();
        let examples = definition.find_subcommand(verb).and_then(|verb| verb.get_after_help()).context("examples")?;
        for line in examples.to_string().lines() {
            screen.shows(&format!("{}\r\n", line.trim_end())).await?;
        }
    }
    Ok(())
}
