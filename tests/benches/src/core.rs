//! g: what takes nanoseconds, by criterion: steps of the protocol's core, a guard's check.

use std::{
    fs,
    hint::black_box,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use criterion::Criterion;
use msync::{
    Client, MemoryStore, Timing,
    clock::{BootClock, Clock, Moment, Now, Wall},
    unstable::{
        crd::Lock,
        protocol::{Action, Event, Keeper, Ticket, Want},
        record::EngineId,
        store::Snapshot,
    },
};
use serde::Deserialize;

use crate::{
    figures::{Figure, Sample, Table},
    raw,
    sizes::Sizes,
};

/// What criterion writes down of each sample.
#[derive(Deserialize)]
struct Samples {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// A store that is a variable: it applies what the keeper asks for, and answers at once.
struct Driver {
    keeper: Keeper,
    record: Option<Snapshot>,
    version: u64,
    now: Now,
    bits: u64,
    steps: u64,
}

pub(crate) fn measure(sizes: &Sizes, table: &mut Table) -> Result<()> {
    let bench = Bench::new(sizes);
    let steps = Driver::new().cycle();
    let cycle = bench.run("acquire and release", || Driver::new().cycle())?;
    let step = Sample::from(cycle.median() / steps as f64);
    table.add(Figure::new('g', "steps of the core in an acquire and release", "steps", steps as f64));
    table.add(Figure::new('g', "the core alone: one acquire and release", "ns", cycle));
    table.add(Figure::new('g', "steps of the core", "per second", 1e9 / step.median()));
    let mut holding = Driver::new();
    holding.acquire();
    let renewal = bench.run("renewal", || holding.renew())?;
    table.add(Figure::new('g', "the core alone: one renewal, 2 steps", "ns", renewal));
    let object = raw::object("parsed", 0)?;
    let wire = serde_json::to_string(&object)?;
    let parse = bench.run("reply", || serde_json::from_str::<Lock>(&wire).map(|lock| lock.spec.waiters.len()).ok())?;
    table.add(Figure::new('g', "a reply, from JSON to an object", "ns", parse));
    check(&bench, table)
}

fn check(bench: &Bench, table: &mut Table) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let timing = Timing::with_ttl(Duration::from_secs(3600))?;
    let client = Client::builder().memory(&MemoryStore::new()).timing(timing).build();
    let lock = client.lock("check")?;
    // On a worker of its own: this thread already drives a runtime.
    let guard = std::thread::scope(|scope| {
        let acquire = scope.spawn(|| runtime.block_on(lock.acquire()));
        acquire.join().ok().context("acquire does not panic")?.context("acquire in memory")
    })?;
    let clock = bench.run("clock", || BootClock.now())?.median();
    let check = bench.run("check", || black_box(&guard).check().is_ok())?;
    table.add(Figure::new('g', "guard.check()", "ns", check).over("a look at the clock", clock).budget("<= 50 ns"));
    drop(guard);
    runtime.shutdown_background();
    Ok(())
}

/// Criterion, and where it writes its samples.
struct Bench {
    dir: PathBuf,
    quick: bool,
}

// === impl Bench ===

impl Bench {
    fn new(sizes: &Sizes) -> Self {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/criterion");
        Self { dir, quick: sizes.quick }
    }

    /// Nanoseconds of one call, one value for each of criterion's samples.
    fn run<T>(&self, name: &str, mut call: impl FnMut() -> T) -> Result<Sample> {
        let [warm_up, time] = if self.quick { [1, 5] } else { [1000, 3000] }.map(Duration::from_millis);
        let mut criterion = Criterion::default()
            .output_directory(&self.dir)
            .warm_up_time(warm_up)
            .measurement_time(time)
            .sample_size(if self.quick { 10 } else { 100 })
            .without_plots();
        criterion.bench_function(name, |bencher| bencher.iter(&mut call));
        let file = self.dir.join(name).join("new/sample.json");
        let samples = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let Samples { iters, times } = serde_json::from_str(&samples).context("criterion's samples")?;
        Ok(times.iter().zip(&iters).map(|(time, iters)| time / iters).collect())
    }
}

// === impl Driver ===

impl Driver {
    fn new() -> Self {
        let now = Now { local: Moment::from_nanos(1), wall: Wall::from_millis(0) };
        let keeper = Keeper::new(EngineId::new("bench", 1));
        Self { keeper, record: None, version: 0, now, bits: 0, steps: 0 }
    }

    /// Returns how many steps it takes.
    fn cycle(mut self) -> u64 {
        self.acquire();
        self.step(Event::Release(Ticket(1), None));
        assert!(self.keeper.is_idle(), "released");
        self.steps
    }

    fn acquire(&mut self) {
        self.step(Event::Want(Want::new(Ticket(1), Timing::default())));
        assert!(self.keeper.hold().is_some(), "acquired");
        self.step(Event::Collected(Ticket(1), self.now.local));
    }

    fn renew(&mut self) -> u64 {
        let version = self.version;
        self.now.local = self.now.local + Timing::default().ttl() / 3;
        self.step(Event::Tick);
        assert!(self.version > version, "renewed");
        self.version
    }

    /// Steps until the keeper asks for nothing more.
    fn step(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            let bits = &mut self.bits;
            let action: Action = self.keeper.step(event, self.now, &mut || {
                *bits += 1;
                *bits
            });
            self.steps += 1;
            next = action.call.map(|call| {
                self.version += 1;
                Event::Reply(call.serve(&mut self.record, self.version))
            });
        }
    }
}
