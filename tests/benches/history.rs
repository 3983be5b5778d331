//! Measures what the ring of the latest requests and the time series add to a request of a pipeline that does nothing:
//! `cargo bench --bench history`. The aim is at most 1 %.
//!
//! Both are always on, so "without" is the time of the request minus that of the same calls alone. The requests run in this
//! process, without HTTP, so the part is larger than that of a caller's request.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use plimsoll::records::memory::route_history::{RouteHistory, StageTimeline};
use plimsoll::records::recent::RecentRequest;
use plimsoll::serve::App;
use plimsoll_runtime::stage::Request;
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::bench_support::request_record;
use plimsoll_tests::pairs::Pairs;

const PAIRS: usize = 400;
const RUNS: u32 = 100;
const REQUESTS_PER_SECOND: u64 = 1_000;
const TIME: Duration = Duration::from_secs(10);

/// What is recorded for a request.
struct History {
    requests: RouteHistory,
    stages: [StageTimeline; 3],
    /// The template of the requests.
    request: RecentRequest,
    /// The requests so far.
    count: Cell<u64>,
}

fn main() {
    let pairs = bench::count(PAIRS);
    bench::runtime().block_on(async {
        let app = bench::app(&bench::noop_config("noop-preprocess")).await;
        requests(&app).await;
        let request = app.records.recent.latest(1, None).pop().expect("a request has ended");
        assert_eq!(request.stages.len(), 3);
        let history =
            History { requests: RouteHistory::default(), stages: Default::default(), request, count: Cell::new(0) };
        let times = Pairs::run(pairs, async || requests(&app).await, async || history_alone(&app, &history)).await;
        let figures = [("µs", 3), ("requests/s", 0), ("%", 2)];
        let mut table = Table::new("history", &[("request of one thread", 28)], &figures);
        let with = times.median(|request, _| request);
        let without = times.median(|request, history| request - history);
        let alone = times.median(|_, history| history);
        table.row(&["with ring and series"], &[with, 1e6 / with, 100.0]);
        table.row(&["without"], &[without, 1e6 / without, 100.0 * without / with]);
        table.row(&["ring and series alone"], &[alone, 1e6 / alone, 100.0 * alone / with]);
        table.end(&format!(
            "a pipeline that does nothing; medians of {pairs} pairs of blocks of {RUNS} requests, one thread"
        ));
        println!("the ring and the series take {:.2} % of a request; the aim is 1 %", 100.0 * alone / with);
    });
}

/// Microseconds per request, averaged over one block.
async fn requests(app: &App) -> f64 {
    let pipeline = app.pipeline("p").expect("configured");
    let infer = pipeline.chip("none").expect("configured");
    let started = Instant::now();
    for _ in 0..RUNS {
        let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
        let mut record = request_record(app, "p", "none", TIME, None);
        let reply = pipeline.run(infer, &mut record, &request, b"body").await;
        reply.map_err(|failed| failed.error).expect("a reply");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
}

/// As [`requests`], but only what is recorded for each request.
fn history_alone(app: &App, history: &History) -> f64 {
    let requests: Vec<_> = (0..RUNS).map(|_| history.request.clone()).collect();
    let started = Instant::now();
    for mut request in requests {
        // A busy pipeline.
        let second = history.count.get() / REQUESTS_PER_SECOND;
        history.count.set(history.count.get() + 1);
        history.requests.record_request(request.outcome, request.duration, second);
        for (stage, report) in history.stages.iter().zip(&request.stages) {
            stage.record(report.usage.high_water, second);
        }
        request.started = SystemTime::now().checked_sub(request.duration).unwrap_or(SystemTime::UNIX_EPOCH);
        app.records.recent.add(request);
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
}
