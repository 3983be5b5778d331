//! Measures the time that the host adds to the bare wasmtime calls of one stage run, in process:
//! `cargo bench --bench overhead`.
//!
//! Both sides run the same plugin that does nothing, in pairs of blocks. The bare side creates its store data before
//! the measurement starts. The host's own time is therefore cap, deadline, record, store data and the check of the
//! output.

use std::time::{Duration, Instant};

use plimsoll::serve::App;
use plimsoll_runtime::stage::{PreprocessStage, Request};
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::bench_support::{bare_state, preprocess_bare, request_record};
use plimsoll_tests::guests_config;
use plimsoll_tests::pairs::Pairs;

const PAIRS: usize = 1_000;
const RUNS: u32 = 50;

fn main() {
    let pairs = bench::count(PAIRS);
    bench::runtime().block_on(async {
        let app = bench::app(&guests_config("noop-preprocess", "")).await;
        let pipeline = app.pipeline("p").expect("configured");
        let stage = &pipeline.preprocess;
        let times = Pairs::run(pairs, async || bare_block(stage).await, async || host_block(&app, stage).await).await;
        let mut table = Table::new("overhead", &[("stage run", 28)], &[("µs", 2)]);
        table.row(&["bare wasmtime calls"], &[times.median(|bare, _| bare)]);
        table.row(&["run by the host"], &[times.median(|_, host| host)]);
        table.row(&["added by the host"], &[times.median(|bare, host| host - bare)]);
        table
            .end(&format!("a plugin that does nothing; medians of {pairs} pairs of blocks of {RUNS} runs, one thread"));
    });
}

fn request() -> Request {
    Request { id: String::new(), content_type: None, parameters: Vec::new() }
}

/// Microseconds per run, averaged over one block.
async fn bare_block(stage: &PreprocessStage) -> f64 {
    let request = request();
    let states: Vec<_> = (0..RUNS).map(|_| bare_state(stage)).collect();
    let started = Instant::now();
    for state in states {
        preprocess_bare(stage, state, &request, b"body").await.expect("an answer");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
}

/// As [`bare_block`], but run by the host.
async fn host_block(app: &App, stage: &PreprocessStage) -> f64 {
    let request = request();
    let time = Duration::from_secs(10);
    let mut records: Vec<_> = (0..RUNS).map(|_| request_record(app, "p", "echo", time, None)).collect();
    let started = Instant::now();
    for record in &mut records {
        stage.run(record, &request, b"body").await.expect("an answer");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
}
