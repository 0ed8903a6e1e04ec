//! How much is measured: the full sizes, and small ones that run the same code within seconds.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::quiet::Kind;

/// Sizes of all sections; lists are separated by commas.
#[derive(Args)]
pub(crate) struct Sizes {
    /// Small sizes wherever none is given: a check that everything runs, not a measurement.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Repetitions of what takes milliseconds.
    #[arg(long, default_value_t = 300, default_value_if("quick", "true", "5"))]
    pub(crate) samples: usize,
    /// Waiters in the hand-off between processes.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50", default_value_if("quick", "true", "1"))]
    pub(crate) waiters: Vec<usize>,
    /// How long each contention lasts, in seconds.
    #[arg(long, default_value_t = 15, default_value_if("quick", "true", "1"))]
    pub(crate) contention: u64,
    /// Elections that end by a resignation.
    #[arg(long, default_value_t = 50, default_value_if("quick", "true", "2"))]
    pub(crate) resignations: usize,
    /// Elections that end by SIGKILL.
    #[arg(long, default_value_t = 20, default_value_if("quick", "true", "1"))]
    pub(crate) kills: usize,
    /// How long everybody is quiet before a hand-off, in seconds.
    #[arg(long, default_value_t = 5, default_value_if("quick", "true", "1"))]
    pub(crate) quiet: u64,
    /// Hand-offs of each kind after that.
    #[arg(long, default_value_t = 12, default_value_if("quick", "true", "1"))]
    pub(crate) quiet_rounds: usize,
    /// Waiters in them.
    #[arg(long, value_delimiter = ',', default_value = "1,10,50", default_value_if("quick", "true", "1"))]
    pub(crate) quiet_waiters: Vec<usize>,
    /// What is handed on in them; everything if none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    quiet_kinds: Vec<Kind>,
    /// How long a leader and a follower are left alone to count their requests, in seconds.
    #[arg(long, default_value_t = 300, default_value_if("quick", "true", "2"))]
    pub(crate) idle: u64,
    /// Tasks of one process on one lock.
    #[arg(long, default_value_t = 1000, default_value_if("quick", "true", "50"))]
    pub(crate) tasks: usize,
    /// Locks held by one process, each `count:ttl in seconds:round trip of the API in milliseconds`.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000:60:50,1000:60:200,10000:300:50,10000:300:200",
        default_value_if("quick", "true", "20:3:50")
    )]
    pub(crate) held: Vec<Holding>,
    /// Locks of ttl 15 s held by one process, until some are lost.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000,2000,3000,4000,5000",
        default_value_if("quick", "true", "10")
    )]
    pub(crate) breaking: Vec<usize>,
    /// How long those are held, in seconds.
    #[arg(long, default_value_t = 30, default_value_if("quick", "true", "1"))]
    pub(crate) breaking_time: u64,
    /// Locks of ttl 15 s held by one process by a session; and each by itself, as far as the server bears it.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,10,100,1000,10000",
        default_value_if("quick", "true", "1,4")
    )]
    pub(crate) session_locks: Vec<usize>,
    /// Held by a session, as in `held`.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1000:15:50,1000:15:200,10000:15:50,10000:15:200",
        default_value_if("quick", "true", "20:3:50")
    )]
    pub(crate) session_held: Vec<Holding>,
    /// How long those are watched, in seconds.
    #[arg(long, default_value_t = 60, default_value_if("quick", "true", "3"))]
    pub(crate) session_time: u64,
    /// Locks of a process that is killed, as many as are waited for, each by one, elsewhere.
    #[arg(long, default_value_t = 100, default_value_if("quick", "true", "4"))]
    pub(crate) heirs: usize,
    /// Engines that wait, and locks that each of them waits for.
    #[arg(long, default_value_t = 100, default_value_if("quick", "true", "4"))]
    pub(crate) crowd: usize,
    /// The same, but all engines begin at once.
    #[arg(long, value_delimiter = ',', default_value = "10,20,30", default_value_if("quick", "true", "2"))]
    pub(crate) stampede: Vec<usize>,
    /// How long they are watched waiting, in seconds.
    #[arg(long, default_value_t = 60, default_value_if("quick", "true", "1"))]
    pub(crate) crowd_time: u64,
    /// Rounds in which two ways of doing the same take turns.
    #[arg(long, default_value_t = 4000, default_value_if("quick", "true", "20"))]
    pub(crate) rounds: usize,
    /// Incremental builds of each crate; a cold one of each is made as well. With 0 the section is left out.
    #[arg(long, default_value_t = 7, default_value_if("quick", "true", "0"))]
    pub(crate) builds: usize,
    /// Locks of the curve.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,10,100,1000,10000",
        default_value_if("quick", "true", "1,4")
    )]
    pub(crate) grow_locks: Vec<usize>,
    /// Waiters of the curve; beyond 64 the queue is full.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,10,25,50,64,100,200",
        default_value_if("quick", "true", "1,2")
    )]
    pub(crate) grow_waiters: Vec<usize>,
    /// Tasks of the curve.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,10,100,1000,10000,100000",
        default_value_if("quick", "true", "1,8")
    )]
    pub(crate) grow_tasks: Vec<usize>,
    /// Where the plots go.
    #[arg(long, default_value = "target/benches")]
    pub(crate) plots: PathBuf,
}

impl Sizes {
    /// What is handed on after quiet, in the order of its turns.
    pub(crate) fn quiet_kinds(&self) -> Vec<Kind> {
        if self.quiet_kinds.is_empty() { Kind::value_variants().to_vec() } else { self.quiet_kinds.clone() }
    }
}

/// So many locks, held for so long by an API so slow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    pub(crate) locks: usize,
    pub(crate) ttl: u64,
    pub(crate) round_trip: u64,
}

impl std::str::FromStr for Holding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<u64> = text.split(':').map_while(|number| number.parse().ok()).collect();
        let [locks, ttl, round_trip] = numbers[..] else {
            return Err("expected `locks:ttl in seconds:round trip in milliseconds`".to_owned());
        };
        let locks = usize::try_from(locks).map_err(|error| error.to_string())?;
        Ok(Self { locks, ttl, round_trip })
    }
}
