//! Seeing locks and freeing them, on a real API server.

use anyhow::{Context, Result};
use msync::unstable::record::Record;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::{
    cluster::Cluster,
    eventually,
    testbed::{ADMIN, Options, TestServer},
};

use crate::{
    child::{Ended, LIMIT, Running, ended, msync},
    cluster::{on, run},
    screen::Screen,
};

async fn admin(cluster: &Cluster, args: &[&str]) -> Result<Ended> {
    ended(on(cluster, ADMIN, args)?).await
}

async fn json_of(cluster: &Cluster, args: &[&str]) -> Result<Value> {
    let ended = admin(cluster, args).await?;
    serde_json::from_str(&ended.out).with_context(|| format!("{ended:?}"))
}

/// A holder and two who wait, in this order.
async fn three(cluster: &Cluster) -> Result<[Running; 3]> {
    let start =
        |owner| Running::start(run(cluster, &["--owner", owner], &format!("echo {owner} holds; exec sleep 600"))?);
    let first = start("first")?;
    first.says("holds").await?;
    let second = start("second")?;
    cluster.until_waiting("x", 1).await?;
    let third = start("third")?;
    cluster.until_waiting("x", 2).await?;
    Ok([first, second, third])
}

/// Makes a record of a holder that is gone.
async fn dead(cluster: &Cluster, name: &str, ttl: u64) -> Result<()> {
    let spec = json!({
        "owner": "gone", "engine": "gone.0000000000000001", "term": "00000000000000aa", "beat": "00000000000000bb", "renewals": 1,
        "instant": true, "ttlMilliseconds": ttl, "acquired": "2026-01-01T00:00:00Z", "expiry": "2026-01-01T00:00:30Z",
    });
    cluster.make(name, spec).await
}

#[tokio::test]
async fn ls_and_get_tell_the_holder_and_the_queue() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let empty = admin(&cluster, &["ls"]).await?;
    assert_eq!((empty.code, empty.out.as_str()), (0, ""));
    assert!(empty.err.contains("nobody has a lock"), "{}", empty.err);

    let _three = three(&cluster).await?;
    let record = cluster.record("x").await?;
    let table = admin(&cluster, &["ls"]).await?.out;
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("NAME   STATE   HOLDER   SINCE"), "{table}");
    assert!(lines[1].starts_with("x      alive   first") && lines[1].contains("2: second "), "{table}");
    let third = lines[1].rsplit_once(", third ").map(|(_, waited)| waited);
    assert!(third.is_some_and(|waited| waited.ends_with(['s', 'm'])), "for how long: {table}");
    let wide = admin(&cluster, &["ls", "-o", "wide"]).await?.out;
    assert!(wide.contains(&record.term.to_string()) && wide.contains(record.engine.as_str()), "{wide}");
    let all = admin(&cluster, &["ls", "-A"]).await?.out;
    assert!(all.starts_with("NAMESPACE") && all.contains(cluster.namespace()), "{all}");

    let list = json_of(&cluster, &["ls", "-o", "json"]).await?;
    let row = &list["items"][0];
    let shown = (&row["name"], &row["state"], &row["holder"], &row["queue"][1]["owner"], &row["queue"][1]["place"]);
    assert_eq!(shown, (&json!("x"), &json!("alive"), &json!("first"), &json!("third"), &json!(2)));
    assert_eq!(row["term"], record.term.to_string());
    assert_eq!(json_of(&cluster, &["get", "x", "-o", "json"]).await?["queue"], row["queue"]);
    let yaml: Value = serde_saphyr::from_str(&admin(&cluster, &["get", "x", "-o", "yaml"]).await?.out)?;
    assert_eq!(yaml["holder"], "first");
    let yaml: Value = serde_saphyr::from_str(&admin(&cluster, &["ls", "-o", "yaml"]).await?.out)?;
    assert_eq!(yaml["items"][0]["queue"][1]["owner"], "third");
    let told = admin(&cluster, &["get", "x"]).await?.out;
    for part in
        ["alive, last sign of life", "Holder:      first", "PLACE   OWNER    WAITED", "2       third    ", "lock   30s"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    Ok(())
}

/// The names of the JSON are an interface.
#[tokio::test]
async fn the_fields_of_the_json_are_these() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let _three = three(&cluster).await?;
    let row = json_of(&cluster, &["get", "x", "-o", "json"]).await?;
    let keys = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
    let fields =
        "engine holder name namespace queue renewals silentSeconds since state term tokenAtMost ttlMilliseconds";
    assert_eq!(keys(&row).map(|keys| keys.join(" ")).as_deref(), Some(fields));
    assert_eq!(
        keys(&row["queue"][0]).map(|keys| keys.join(" ")).as_deref(),
        Some("engine kind owner place since term ttlMilliseconds")
    );
    Ok(())
}

#[tokio::test]
async fn a_lock_that_is_not_there_is_free_and_no_success() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    for line in
        [&["get", "x"][..], &["release", "x", "--term", "00000000000000aa", "-y"], &["hand-over", "x", "me", "-y"]]
    {
        let ended = admin(&cluster, line).await?;
        assert_eq!(ended.code, 1, "{line:?}");
        assert!(ended.err.contains("nobody has it"), "{}", ended.err);
    }
    Ok(())
}

/// Its date lies in 2026-01, which says nothing: what counts is that nobody writes.
#[tokio::test]
async fn a_dead_holder_is_seen_by_its_silence() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    dead(&cluster, "x", 6000).await?;
    let state = async || json_of(&cluster, &["get", "x", "-o", "json"]).await.map(|row| row["state"].clone());
    assert_eq!(state().await?, "alive", "it was written just now");
    eventually("it is silent", LIMIT, async || state().await.is_ok_and(|state| state == "silent")).await?;
    eventually("it is dead", LIMIT, async || state().await.is_ok_and(|state| state == "dead")).await
}

#[tokio::test]
async fn watch_follows_a_lock_from_holder_to_holder_and_runs_a_script() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let script = "echo \"$MSYNC_LOCK $MSYNC_STATE <$MSYNC_HOLDER>\"; cat > /dev/null";
    let watch = Running::start(on(&cluster, ADMIN, &["watch", "x", "--exec", script])?)?;
    watch.says("NAME").await?;
    let [first, second, third] = three(&cluster).await?;
    watch.says("x alive <first>").await?;
    watch.says("2: second, third").await?;
    first.signal(Signal::SIGTERM)?;
    watch.says("x alive <second>").await?;
    third.signal(Signal::SIGTERM)?;
    third.end().await?;
    second.signal(Signal::SIGTERM)?;
    watch.says("x free <>").await?;
    Ok(())
}

#[tokio::test]
async fn watch_fits_a_narrow_terminal() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let _three = three(&cluster).await?;
    let screen = Screen::start(&on(&cluster, ADMIN, &["watch", "x"])?, 45)?;
    screen.shows("2: seco\u{2026}").await?;
    Ok(())
}

#[tokio::test]
async fn watch_tells_that_a_holder_falls_silent_and_dies() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let watch = Running::start(on(&cluster, ADMIN, &["watch", "-o", "json"])?)?;
    dead(&cluster, "x", 3000).await?;
    for state in ["alive", "silent", "dead"] {
        watch.says(&format!("\"state\":\"{state}\"")).await?;
    }
    let told: Vec<Value> = watch.out().lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(told.len(), 3, "a line for each change: {told:?}");
    Ok(())
}

#[tokio::test]
async fn release_serves_the_first_in_the_queue_and_not_the_old_leader() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let [first, second, _third] = three(&cluster).await?;
    let term = cluster.record("x").await?.term.to_string();
    let ended = admin(&cluster, &["release", "x", "--term", &term, "--yes"]).await?;
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("was handed to second"), "{}", ended.err);
    second.says("second holds").await?;
    let lost = first.end().await?;
    assert_eq!(lost.code, 76, "its command was ended: {}", lost.err);
    let record = cluster.record("x").await?;
    assert_eq!((record.engine.owner(), record.waiters.len()), ("second", 1));
    Ok(())
}

#[tokio::test]
async fn release_ends_only_what_was_shown() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let [first, ..] = three(&cluster).await?;
    let held: Record = cluster.record("x").await?;
    let none = admin(&cluster, &["release", "x", "--yes"]).await?;
    assert_eq!(none.code, 2);
    assert!(none.err.contains(&format!("msync release x --term {}", held.term)), "{}", none.err);
    let other = admin(&cluster, &["release", "x", "--term", "00000000000000aa", "--yes"]).await?;
    assert_eq!(other.code, 1);
    assert!(other.err.contains("has changed hands: first holds it"), "{}", other.err);
    let term = held.term.to_string();
    let unasked = admin(&cluster, &["release", "x", "--term", &term]).await?;
    assert_eq!(unasked.code, 2, "nobody can answer");
    assert!(unasked.err.contains("add --yes"), "{}", unasked.err);
    let mut screen = Screen::start(&on(&cluster, ADMIN, &["release", "x", "--term", &term])?, 100)?;
    screen.shows("Take it away? (second gets it) [y/N]").await?;
    screen.types("n\n")?;
    assert_eq!(screen.end().await?, 1);
    assert_eq!(cluster.record("x").await?.term, held.term);
    drop(first);
    Ok(())
}

#[tokio::test]
async fn who_says_yes_on_a_terminal_is_obeyed() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    dead(&cluster, "x", 1000).await?;
    let mut screen = Screen::start(&on(&cluster, ADMIN, &["release", "x", "--term", "00000000000000aa"])?, 100)?;
    screen.shows("[y/N]").await?;
    screen.types("y\n")?;
    assert_eq!(screen.end().await?, 0);
    cluster.until_gone("x").await
}

#[tokio::test]
async fn hand_over_serves_the_one_who_is_named() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let [_first, _second, third] = three(&cluster).await?;
    let nobody = admin(&cluster, &["hand-over", "x", "fourth", "--yes"]).await?;
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("who does: second, third"), "{}", nobody.err);
    assert_eq!(admin(&cluster, &["hand-over", "x", "third", "--yes"]).await?.code, 0);
    third.says("third holds").await?;
    let waiting: Vec<_> = cluster.record("x").await?.waiters;
    assert_eq!(waiting.len(), 1, "the second waits on");
    Ok(())
}

#[tokio::test]
async fn gc_removes_the_dead_and_nothing_else() -> Result<()> {
    let Some(cluster) = Cluster::shared().await? else { return Ok(()) };
    let _three = three(&cluster).await?;
    dead(&cluster, "old-1", 1500).await?;
    dead(&cluster, "old-2", 1500).await?;
    dead(&cluster, "patient", 3_600_000).await?;
    let dry = admin(&cluster, &["gc", "--dry-run", "--patience", "10s"]).await?;
    assert_eq!(dry.out, "old-1\nold-2\n", "{}", dry.err);
    assert!(
        dry.err.contains("2 of 4 records") && dry.err.contains("could be alive") && dry.err.contains("patient"),
        "{}",
        dry.err
    );
    let young = admin(&cluster, &["gc", "--older-than", "36500d"]).await?;
    assert_eq!(young.out, "");
    let done = json_of(&cluster, &["gc", "--patience", "10s", "-o", "json", "--quiet"]).await?;
    assert_eq!(done["removed"], json!(["old-1", "old-2"]));
    cluster.until_gone("old-1").await?;
    assert!(!cluster.record("x").await?.is_free() && !cluster.record("patient").await?.is_free());
    Ok(())
}

/// One server without the resource: doctor says so, install mends it, doctor is content, and so is a user with the rights.
#[tokio::test]
async fn doctor_and_install_go_hand_in_hand() -> Result<()> {
    let Some(server) = TestServer::start(Options::with_users(&["limited"])).await? else { return Ok(()) };
    let namespace = server.namespace().await?;
    let as_user = |user: &str, args: &[&str]| -> Result<_> {
        let mut command = msync(args);
        command.env("KUBECONFIG", server.kubeconfig(user)?).env("MSYNC_NAMESPACE", &namespace);
        Ok(command)
    };
    let missing = ended(as_user(ADMIN, &["run", "x", "--", "true"])?).await?;
    assert_eq!(missing.code, 78, "{}", missing.err);
    assert!(missing.err.contains("msync install"), "{}", missing.err);
    let sick = ended(as_user(ADMIN, &["doctor", "--quick"])?).await?;
    assert_eq!(sick.code, 1);
    assert!(sick.out.contains("Lock resource") && sick.out.contains("-> run `msync install`"), "{}", sick.out);

    let refused = ended(as_user("limited", &["install"])?).await?;
    assert_eq!(refused.code, 77, "{}", refused.err);
    let installed = ended(as_user(ADMIN, &["install", "--rbac", &namespace])?).await?;
    assert_eq!(installed.code, 0, "{}", installed.err);
    let again = ended(as_user(ADMIN, &["install", "--rbac", &namespace, "--service-account", "worker"])?).await?;
    assert_eq!(again.code, 0, "{}", again.err);

    let well = ended(as_user(ADMIN, &["doctor", "-o", "json"])?).await?;
    let report: Value = serde_json::from_str(&well.out)?;
    let findings = report["findings"].as_array().context("findings")?;
    let checks: Vec<_> = findings.iter().filter_map(|finding| finding["check"].as_str()).collect();
    let expected = [
        "API server",
        "Lock resource",
        "may create locks",
        "may delete locks",
        "may get locks",
        "may list locks",
        "may patch locks",
        "may watch locks",
        "clock offset",
        "clock rate",
        "watch",
    ];
    assert_eq!(checks, expected);
    let bad: Vec<_> = findings.iter().filter(|finding| finding["health"] == "bad").collect();
    assert!(bad.is_empty() && well.code == 0, "{bad:?}");

    let everywhere = ended(as_user("limited", &["ls", "-A"])?).await?;
    assert!(everywhere.code == 77 && everywhere.err.contains("leave `-A` out"), "{}", everywhere.err);
    let nowhere = ended(as_user(ADMIN, &["install", "--rbac", "nowhere"])?).await?;
    assert!(nowhere.code == 1 && nowhere.err.contains("create it"), "{}", nowhere.err);
    let stranger = ended(as_user("limited", &["doctor", "--quick"])?).await?;
    assert_eq!(stranger.code, 1);
    assert!(!stranger.out.contains("or see `msync doctor`"), "{}", stranger.out);
    assert!(
        stranger.out.contains(&format!("-> let an administrator run `msync install --rbac {namespace}`")),
        "{}",
        stranger.out
    );
    Ok(())
}

#[tokio::test]
async fn what_install_prints_is_what_the_manifests_say() -> Result<()> {
    let printed = ended(msync(&["install", "--rbac", "billing", "--print", "yaml"])).await?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&printed.out)?;
    let file = |name: &str| -> Result<Vec<Value>> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/manifests").join(name);
        Ok(serde_saphyr::from_multiple(&std::fs::read_to_string(path)?)?)
    };
    let mut expected = [file("crd.yaml")?, file("rbac.yaml")?].concat();
    for document in &mut expected[1..] {
        document["metadata"]["namespace"] = json!("billing");
    }
    expected[2]["subjects"][0]["namespace"] = json!("billing");
    assert_eq!(documents, expected);
    Ok(())
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_told_with_what_to_do() -> Result<()> {
    let kubeconfig = tempfile::NamedTempFile::new()?;
    std::fs::write(
        kubeconfig.path(),
        "{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: a, cluster: {server: 'https://127.0.0.1:1'}}], \
         contexts: [{name: a, context: {cluster: a, user: a}}], users: [{name: a, user: {}}]}",
    )?;
    for (line, code, told) in [
        (&["ls"][..], 69, "msync doctor"),
        (&["get", "x"], 69, "msync doctor"),
        (&["watch"], 69, "msync doctor"),
        (&["doctor", "--quick"], 1, "what to do stands beside"),
        (&["ls", "--context", "b"], 2, "contexts are: a"),
    ] {
        let mut command = msync(line);
        command.env("KUBECONFIG", kubeconfig.path());
        let ended = ended(command).await?;
        assert_eq!(ended.code, code, "{line:?}: {}", ended.err);
        assert!(ended.err.contains(told), "{line:?}: {}", ended.err);
        // What kube calls it helps nobody; where it was looked for does.
        let said = ended.out + &ended.err;
        assert!(!said.contains("ServiceError"), "{line:?}: {said}");
        assert!(line[0] != "doctor" || said.contains("https://127.0.0.1:1"), "{said}");
    }
    Ok(())
}

/// Another cluster than the one that is meant would know nothing of its locks: what is there and broken is not passed over.
#[tokio::test]
async fn a_kubeconfig_that_cannot_be_used_is_named() -> Result<()> {
    let broken = tempfile::NamedTempFile::new()?;
    std::fs::write(broken.path(), "clusters: [")?;
    let broken = broken.path().display().to_string();
    for (path, says) in [("/nowhere/config", "cannot be read"), (&broken, "is not valid YAML")] {
        let mut command = msync(&["ls"]);
        command.env("KUBECONFIG", path);
        let ended = ended(command).await?;
        let begins = format!("msync: kubeconfig {path} {says}");
        assert!(ended.code == 69 && ended.err.starts_with(&begins), "{}", ended.err);
    }
    Ok(())
}

#[tokio::test]
async fn completions_and_manual_pages_tell_of_every_verb() -> Result<()> {
    let verbs = ["run", "ls", "get", "watch", "release", "hand-over", "gc", "doctor", "install"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = ended(msync(&["completion", shell])).await?;
        assert!(script.code == 0 && verbs.iter().all(|verb| script.out.contains(verb)), "{shell}");
    }
    let page = ended(msync(&["man"])).await?.out;
    assert!(page.contains(".TH msync 1") && page.contains("hand\\-over"), "{page}");
    for verb in verbs {
        let page = ended(msync(&["man", verb])).await?.out;
        assert!(page.contains(".SH SYNOPSIS") && page.contains(".SH OPTIONS"), "{verb}: {page}");
        assert!(page.contains("Example"), "{verb}: {page}");
    }
    let page = ended(msync(&["man", "run"])).await?.out;
    assert!(page.contains("<\\fINAME\\fR> \\-\\- <\\fICOMMAND\\fR>..."), "{page}");
    assert!(["MSYNC_TOKEN", "128 + N", "SIGTERM"].iter().all(|part| page.contains(part)), "{page}");
    assert_eq!(ended(msync(&["man", "nothing"])).await?.code, 2);
    Ok(())
}

/// `msync ls | head -1` is no failure.
#[tokio::test]
async fn who_stops_reading_is_no_failure() -> Result<()> {
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", "set -o pipefail; $0 completion bash | head -1", crate::child::MSYNC]).env("LC_ALL", "C");
    let ended = ended(shell).await?;
    assert_eq!((ended.code, ended.err.as_str()), (0, ""));
    Ok(())
}
