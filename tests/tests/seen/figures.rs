//! Figures: what is scraped is what the operations page promises, by either collector.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use msync::{
    Client, MemoryStore,
    clock::TokioClock,
    listener::{FIGURES, Facade, LOSSES, Listener, Prometheus, Subject},
    locked,
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tests::{
    faulty::{Fate, Faulty, forbidden, unknown},
    memory::{builder, pass, waiter},
};

/// Runs through all that is counted.
async fn run_through<L: Listener>(figures: &Arc<L>) {
    let make = |owner: &str| builder(owner, TokioClock::default()).listener(Arc::clone(figures));
    let faulty = Faulty::new(MemoryStore::new());
    let client = |owner: &str| make(owner).store(Arc::new(faulty.clone())).build();
    let (a, b) = (client("a"), client("b"));
    let term = a.election("scheduler").unwrap().campaign().await.unwrap();
    let guard = a.lock("invoices-17").unwrap().label("invoices").acquire().await.unwrap();
    assert!(b.lock("invoices-17").unwrap().label("invoices").try_acquire().await.unwrap().is_none());
    let waiting = waiter(&b, "invoices-17");
    pass(Duration::from_secs(20)).await;
    waiting.abort();
    faulty.every(Fate::Fail(unknown()));
    guard.lost().await;
    pass(Duration::from_secs(5)).await;
    drop(guard);
    faulty.heal();
    pass(Duration::from_secs(20)).await;
    drop(term);
    a.shutdown().await;
    b.shutdown().await;
    drop((a, b));
    all_told(figures);
}

/// Waits until the threads that tell have told everything: then they let go of whom they tell.
pub(crate) fn all_told<L>(figures: &Arc<L>) {
    for _ in 0..30_000 {
        if Arc::strong_count(figures) == 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("not all is told after half a minute");
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().expect("a number")
}

async fn scraped() -> String {
    let mut registry = Registry::default();
    let figures = Arc::new(Prometheus::register(&mut registry));
    run_through(&figures).await;
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_counted() {
    let text = scraped().await;
    let is = |series: &str, expected: f64| {
        let found = value(&text, series);
        assert!((found - expected).abs() < 1e-9, "{series} is {found}, not {expected}, in\n{text}");
    };
    is("msync_acquire_seconds_count{name=\"invoices\",outcome=\"acquired\"}", 1.0);
    is("msync_acquire_seconds_count{name=\"invoices\",outcome=\"busy\"}", 1.0);
    is("msync_acquire_seconds_count{name=\"invoices-17\",outcome=\"given_up\"}", 1.0);
    is("msync_acquire_seconds_sum{name=\"invoices-17\",outcome=\"given_up\"}", 20.0);
    is("msync_acquire_seconds_count{name=\"scheduler\",outcome=\"acquired\"}", 1.0);
    is("msync_held{name=\"invoices\"}", 0.0);
    is("msync_held{name=\"scheduler\"}", 0.0);
    is("msync_waiting{name=\"invoices-17\"}", 0.0);
    is("msync_lost_total{name=\"invoices\",reason=\"deadline\"}", 1.0);
    is("msync_lost_total{name=\"scheduler\",reason=\"deadline\"}", 1.0);
    is("leader_election_master_status{name=\"scheduler\"}", 0.0);
    assert!(value(&text, "leader_election_slowpath_total{name=\"scheduler\"}") >= 1.0);
    assert!(value(&text, "msync_renewals_total{outcome=\"done\"}") >= 6.0);
    assert!(value(&text, "msync_renewals_total{outcome=\"failed\"}") >= 2.0);
    assert!(value(&text, "msync_api_seconds_count{verb=\"create\",outcome=\"done\"}") >= 2.0);
}

/// `increase` of a counter that appears with its first loss is zero, and no alert is raised.
#[tokio::test(start_paused = true)]
async fn what_is_held_has_lost_nothing_and_not_no_figure() {
    let mut registry = Registry::default();
    let figures = Arc::new(Prometheus::register(&mut registry));
    let client = builder("a", TokioClock::default()).listener(Arc::clone(&figures)).memory(&MemoryStore::new()).build();
    let guard = client.lock("invoices").unwrap().acquire().await.unwrap();
    let term = client.election("scheduler").unwrap().campaign().await.unwrap();
    drop(guard);
    term.resign().await.unwrap();
    client.shutdown().await;
    drop(client);
    all_told(&figures);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for name in ["invoices", "scheduler"] {
        for reason in LOSSES.map(msync::LossReason::as_str) {
            let lost = value(&text, &format!("msync_lost_total{{name=\"{name}\",reason=\"{reason}\"}}"));
            assert!(lost < 1.0, "{name} {reason} in\n{text}");
        }
    }
    assert!(value(&text, "leader_election_slowpath_total{name=\"scheduler\"}") < 1.0);
    assert!(!text.contains("leader_election_slowpath_total{name=\"invoices\"}"), "a lock has no leaders");
}

/// Hears refusals, and of whom they are.
#[derive(Default)]
struct Refusals(Mutex<Vec<String>>);

impl Listener for Refusals {
    fn refused(&self, subject: &Subject<'_>, fault: &str) {
        self.0.lock().unwrap().push(format!("{}: {fault}", subject.name()));
    }
}

/// Not what is busy, nor what an outage or a cancellation ends: what a right or a policy forbids.
#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_is_told_with_its_words() {
    let refusals = Arc::new(Refusals::default());
    let faulty = Faulty::new(MemoryStore::new());
    let client =
        builder("a", TokioClock::default()).listener(Arc::clone(&refusals)).store(Arc::new(faulty.clone())).build();
    faulty.every(Fate::Fail(unknown()));
    client.lock("away").unwrap().acquire_timeout(Duration::from_secs(30)).await.unwrap_err();
    client.lock("away").unwrap().try_acquire().await.unwrap_err();
    faulty.every(Fate::Fail(forbidden()));
    client.lock("forbidden").unwrap().acquire().await.unwrap_err();
    client.shutdown().await;
    drop(client);
    all_told(&refusals);
    let told = refusals.0.lock().unwrap().clone();
    assert!(told.len() == 1 && told[0].starts_with("forbidden: "), "{told:?}");
}

/// The reasons of losses that the page lists are those of the code.
#[test]
fn the_operations_page_has_every_reason_of_a_loss() {
    let page = include_str!("../../../docs/operations.md");
    let reasons = LOSSES.map(|reason| format!("`{}`", reason.as_str())).join(", ");
    assert!(page.contains(&format!("`reason`: {reasons}.")), "{reasons}");
}

/// Names of figures with their labels, from a text of Prometheus.
fn figures_of(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let kinds: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| {
            (if kind == "counter" { format!("{name}_total") } else { name.to_owned() }, kind.to_owned())
        })
        .collect();
    let labels = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('{'));
        let own = lines.filter(|(series, _)| {
            [name.to_owned(), format!("{name}_count"), format!("{name}_bucket")].contains(&(*series).to_owned())
        });
        own.flat_map(|(_, labels)| {
            labels.split(',').filter_map(|label| label.split_once('=')).map(|(key, _)| key.to_owned())
        })
        .filter(|key| key != "le")
        .collect::<BTreeSet<_>>()
    };
    kinds.into_iter().map(|(name, kind)| (name.clone(), (kind, labels(&name)))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_scraped_is_what_the_table_says() {
    let text = scraped().await;
    let table = FIGURES.map(|figure| {
        let labels = figure.labels.iter().map(|label| (*label).to_owned()).collect();
        (figure.name.to_owned(), (figure.kind.to_owned(), labels))
    });
    assert_eq!(figures_of(&text), BTreeMap::from(table), "in\n{text}");
}

/// The table of the operations page is the code's.
#[test]
fn the_operations_page_has_the_table() {
    let page = include_str!("../../../docs/operations.md");
    for figure in FIGURES {
        let labels = figure.labels.join("`, `");
        let row = format!("| `{}` | {} | {} | `{labels}` | {} |", figure.name, figure.kind, figure.unit, figure.help);
        assert!(page.lines().any(|line| line == row), "docs/operations.md lacks this row:\n{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `msync_") || line.starts_with("| `leader_election_"));
    assert_eq!(rows.filter(|row| !row.contains("_sidecar_")).count(), FIGURES.len(), "and no other");
}

#[test]
fn the_facade_is_told_the_same() {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    metrics::set_global_recorder(recorder).expect("no other test of this program sets one");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let figures = Arc::new(Facade::new());
    runtime.block_on(run_through(&figures));
    let told = snapshots.snapshot().into_vec();
    let found: BTreeMap<_, BTreeSet<_>> = told.iter().fold(BTreeMap::new(), |mut found, (key, ..)| {
        let labels = key.key().labels().map(|label| label.key().to_owned());
        found.entry(key.key().name().to_owned()).or_insert_with(BTreeSet::new).extend(labels);
        found
    });
    let table = FIGURES.map(|figure| (figure.name.to_owned(), figure.labels.iter().map(|l| (*l).to_owned()).collect()));
    assert_eq!(found, BTreeMap::from(table));
    let of = |name: &str, label: &str, expected: &str| -> Vec<_> {
        let is = |key: &metrics::Key| key.labels().any(|found| found.key() == label && found.value() == expected);
        told.iter()
            .filter(|(key, ..)| key.key().name() == name && is(key.key()))
            .map(|(_, _, _, value)| value)
            .collect()
    };
    let lost = of("msync_lost_total", "reason", "deadline");
    assert!(lost.len() == 2 && lost.iter().all(|lost| matches!(lost, DebugValue::Counter(1))), "{lost:?}");
    let deleted = of("msync_lost_total", "reason", "deleted");
    assert!(deleted.len() == 2 && deleted.iter().all(|none| matches!(none, DebugValue::Counter(0))), "{deleted:?}");
    assert!(told.iter().all(|(_, _, help, _)| help.is_some()), "all are described");
}

#[locked("bill-{customer}", via = client)]
async fn bill(client: &Client, customer: u32) -> Result<(), msync::Error> {
    Ok(())
}

/// A series for each customer would fill somebody's Prometheus.
#[tokio::test(start_paused = true)]
async fn an_annotated_function_is_counted_by_its_template() {
    let mut registry = Registry::default();
    let figures = Arc::new(Prometheus::register(&mut registry));
    let client = builder("a", TokioClock::default()).listener(Arc::clone(&figures)).memory(&MemoryStore::new()).build();
    for customer in 0..200 {
        bill(&client, customer).await.unwrap();
    }
    drop(client);
    all_told(&figures);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert!(value(&text, "msync_acquire_seconds_count{name=\"bill-{customer}\",outcome=\"acquired\"}") > 199.0);
    assert!(!text.contains("bill-1\"") && !text.contains("other"), "{text}");
}
