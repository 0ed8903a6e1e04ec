//! `msync gc`: removes records of crashed holders that nobody asks for. The library's sweep, with words.

use serde::Serialize;

use crate::{
    args::{Cluster, Gc, Output},
    connect::Connection,
    exit::Failure,
    show,
    talk::Talk,
};

/// What was done, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done<'a> {
    removed: Vec<&'a str>,
    undecided: Vec<&'a str>,
    seen: usize,
    dry_run: bool,
}

pub(crate) async fn gc(cluster: &Cluster, args: &Gc) -> Result<(), Failure> {
    let mut talk = Talk::new(args.quiet);
    let connection = Connection::open(cluster).await?;
    let client = connection.msync(None)?;
    talk.show("watching old records for signs of life");
    let mut sweep = client.sweep().older_than(args.older_than).patience(args.patience).dry_run(args.dry_run);
    let swept = sweep.run().await;
    talk.clear();
    let swept = swept?;
    let names = |names: &[msync::LockName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (removed, undecided) = (names(&swept.removed), names(&swept.undecided));
    let done = Done {
        removed: removed.iter().map(String::as_str).collect(),
        undecided: undecided.iter().map(String::as_str).collect(),
        seen: swept.seen,
        dry_run: args.dry_run,
    };
    match args.output {
        Output::Json => show::json(&done)?,
        Output::Yaml => show::yaml(&done)?,
        Output::Table | Output::Wide => removed.iter().try_for_each(|name| show::print(&format!("{name}\n")))?,
    }
    let verb = if args.dry_run { "would be removed" } else { "removed" };
    talk.say(&format!("{} of {} records in {} {verb}", removed.len(), swept.seen, connection.namespace));
    if !undecided.is_empty() {
        let longest = "their ttl is longer than --patience, or they have changed";
        talk.say(&format!("{} old ones could be alive: {longest}: {}", undecided.len(), undecided.join(", ")));
    }
    Ok(())
}
