//! The clocks: how far this machine's is off, which only people notice, and how fast it runs, which safety rests on.
//!
//! The API server tells whole seconds, so what is looked for is the moment at which one begins: it is known as exactly as
//! one answer takes.

use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use msync::clock::{BootClock, Clock, Moment};

use super::Finding;
use crate::{exit::Failure, look};

/// Between two edges: a per cent of it is ten times what an answer takes.
const SPAN: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);
/// An edge comes every second.
const TRIES: u32 = 300;
/// What the promises allow.
const MOST: f64 = 0.01;
/// Dates in records are for people, who notice more than this.
const NOTICEABLE: Duration = Duration::from_secs(5);

/// The beginning of one of the server's seconds.
#[derive(Debug, Clone, Copy)]
struct Edge {
    server: Timestamp,
    here: Moment,
    wall: Timestamp,
    /// How long before `here` it may have been.
    blur: Duration,
}

pub(super) async fn clocks(client: &Client, quick: bool) -> Vec<Finding> {
    let first = match edge(client).await {
        Ok(first) => first,
        Err(failure) => return vec![Finding::doubtful("clock", failure.to_string(), "run it again")],
    };
    let offset = offset(&first);
    if quick {
        return vec![offset];
    }
    BootClock.sleep_until(first.here + SPAN - Duration::from_millis(500)).await;
    let rate = match edge(client).await {
        Ok(second) => rate(&first, &second),
        Err(failure) => Finding::doubtful("clock rate", failure.to_string(), "run it again"),
    };
    vec![offset, rate]
}

async fn edge(client: &Client) -> Result<Edge, Failure> {
    let mut before: Option<(Timestamp, Moment)> = None;
    for _ in 0..TRIES {
        let server = look::server_date(client).await?;
        let (here, wall) = (BootClock.now(), look::wall());
        if let Some((_, asked)) = before.filter(|(date, _)| *date < server) {
            return Ok(Edge { server, here, wall, blur: here.since(asked) });
        }
        before = Some((server, here));
        BootClock.sleep_until(here + PAUSE).await;
    }
    Err(Failure::new(crate::exit::UNAVAILABLE, "the API server's date stands still"))
}

fn offset(edge: &Edge) -> Finding {
    const CHECK: &str = "clock offset";
    let off = edge.wall.duration_since(edge.server).as_secs_f64();
    let found = format!("{off:+.2} s against the API server");
    if off.abs() <= NOTICEABLE.as_secs_f64() {
        return Finding::good(CHECK, found);
    }
    Finding::doubtful(CHECK, found, "set the clock (NTP): dates shown to people are wrong; locks are safe all the same")
}

fn rate(first: &Edge, second: &Edge) -> Finding {
    const CHECK: &str = "clock rate";
    let server = second.server.duration_since(first.server).as_secs_f64();
    let here = second.here.since(first.here).as_secs_f64();
    let (off, blur) = (here / server - 1.0, (first.blur + second.blur).as_secs_f64() / server);
    let found = format!("{:+.2} % against the API server, measured to {:.2} %", off * 100.0, blur * 100.0);
    if off.abs() - blur > MOST {
        let advice =
            "this machine's or the API server's clock is broken: two could hold one lock; do not use locks here";
        return Finding::bad(CHECK, found, advice);
    }
    if off.abs() + blur > MOST {
        return Finding::doubtful(CHECK, found, "answers were too slow to tell; run it again when less is going on");
    }
    Finding::good(CHECK, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    fn edge_at(server: i64, here_millis: u64, blur_millis: u64) -> Edge {
        let here = Moment::from_nanos(here_millis * 1_000_000);
        let (server, blur) = (Timestamp::from_second(server).unwrap(), Duration::from_millis(blur_millis));
        Edge { server, here, wall: server, blur }
    }

    #[test]
    fn a_rate_is_judged_by_what_is_certain() {
        let health = |millis: u64, blur| rate(&edge_at(100, 1000, blur), &edge_at(105, 1000 + millis, blur)).health;
        assert_eq!(health(5000, 5), Health::Good);
        assert_eq!(health(5200, 5), Health::Bad, "4 % fast");
        assert_eq!(health(4800, 5), Health::Bad, "4 % slow");
        assert_eq!(health(5200, 200), Health::Doubtful, "or answers were slow");
    }

    #[test]
    fn an_offset_is_no_danger() {
        let mut edge = edge_at(100, 0, 0);
        assert_eq!(offset(&edge).health, Health::Good);
        edge.wall = Timestamp::from_second(3700).unwrap();
        assert_eq!(offset(&edge).health, Health::Doubtful);
    }
}
