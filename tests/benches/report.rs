//! What the always-on report costs: the throughput of a pipeline of three stages that do nothing, in process, with the
//! record of each request and without it: `cargo bench --bench report`.
//!
//! The figures are medians over short blocks, and the difference is the median of the differences within pairs of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::app::App;
use plimsoll::pipeline::Pipeline;
use plimsoll::stage::bindings::Request;
use plimsoll::trace::Trace;
use plimsoll_tests::bench::{self, Table};
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
        table.end(&format!("three stages that do nothing; lost: throughput; medians of {pairs} pairs of blocks of {REQUESTS} requests, one thread"));
    });
}

/// Microseconds of one request, over a block of them.
async fn block(app: &App, pipeline: &Pipeline, recorded: bool) -> f64 {
    let infer = pipeline.chip("none").expect("configured");
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
        let mut trace = if recorded {
            let mut trace = Trace::new(String::new(), "p", "none", TIME, Arc::clone(&app.recorder));
            // As the HTTP handler does where the header is there.
            trace.of_caller(app.recorder.caller(Some(b"customer-7")));
            trace
        } else {
            Trace::unrecorded("p", "none", TIME)
        };
        pipeline.run(infer, &mut trace, &request, b"body").await.expect("a reply");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
}
