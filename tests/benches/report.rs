//! Measures the cost of the report, which is always on. A pipeline of three stages that do nothing runs in process,
//! with and without a record of each request: `cargo bench --bench report`.
//!
//! The figures are medians over short blocks. The difference is the median of the differences within pairs of blocks.

use std::time::{Duration, Instant};

use plimsoll::serve::App;
use plimsoll_runtime::pipeline::Pipeline;
use plimsoll_runtime::stage::{Request, RunLog};
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::bench_support::request_record;
use plimsoll_tests::pairs::Pairs;

const PAIRS: usize = 1_000;
const REQUESTS: u32 = 50;
const TIME: Duration = Duration::from_secs(10);

fn main() {
    let pairs = bench::count(PAIRS);
    bench::runtime().block_on(async {
        let app = bench::app(&bench::noop_config("noop-preprocess")).await;
        let pipeline = app.pipeline("p").expect("configured");
        block(&app, &pipeline, true).await;
        block(&app, &pipeline, false).await;
        let on = async || block(&app, &pipeline, true).await;
        let off = async || block(&app, &pipeline, false).await;
        let times = Pairs::run(pairs, on, off).await;
        let (with, without) = (times.median(|on, _| on), times.median(|_, off| off));
        let added = times.median(|on, off| (on - off) / off);
        let figures = [("µs", 2), ("requests/s", 0), ("lost %", 2)];
        let mut table = Table::new("report", &[("pipeline", 28)], &figures);
        table.row(&["without the report"], &[without, 1e6 / without, f64::NAN]);
        table.row(&["with the report"], &[with, 1e6 / with, 100.0 * (1.0 - 1.0 / (1.0 + added))]);
        table.end(&format!(
            "three stages that do nothing; lost: share of the throughput; medians of {pairs} pairs of blocks of \
             {REQUESTS} requests, one thread"
        ));
    });
}

/// Microseconds per request, averaged over one block.
async fn block(app: &App, pipeline: &Pipeline, recorded: bool) -> f64 {
    let infer = pipeline.chip("none").expect("configured");
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
        let reply = if recorded {
            let mut record = request_record(app, "p", "none", TIME, Some(b"customer-7"));
            pipeline.run(infer, &mut record, &request, b"body").await
        } else {
            pipeline.run(infer, &mut RunLog::new(TIME), &request, b"body").await
        };
        reply.expect("a reply");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
}
