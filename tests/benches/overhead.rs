//! What the host adds to the bare calls of wasmtime in one stage run, in process: `cargo bench --bench overhead`.
//!
//! Both run the same plugin that does nothing, in pairs of blocks. The bare side has its store's data made beforehand; cap, deadline, record, the data
//! of the store and the look at what came out are the host's own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::app::App;
use plimsoll::config::Config;
use plimsoll::stage::Stage;
use plimsoll::stage::bindings::Request;
use plimsoll::trace::Trace;
use plimsoll_tests::guests_config;
use plimsoll_tests::pairs::Pairs;

const PAIRS: usize = 1_000;
const RUNS: u32 = 50;

fn main() {
    // `cargo test --benches` passes `--test`, and wants to know only that it runs.
    let pairs = if std::env::args().any(|argument| argument == "--bench") { PAIRS } else { 2 };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config = Config::parse(&guests_config("noop-preprocess", ""), Path::new("bench.toml")).expect("valid");
        let config = Config { cache_dir: Some(plimsoll_tests::shared_cache()), ..config };
        let app = App::build(&config).await.expect("served");
        let pipeline = app.pipeline("p").expect("configured");
        let stage = &pipeline.preprocess;
        let times = Pairs::run(pairs, async || bare_block(stage).await, async || whole_block(&app, stage).await).await;
        println!("{:<28} {:>10}", "one stage, no work", "µs");
        println!("{:<28} {:>10.2}", "bare calls of wasmtime", times.median(|bare, _| bare));
        println!("{:<28} {:>10.2}", "a stage run of the host", times.median(|_, whole| whole));
        println!("{:<28} {:>10.2}", "the host's own", times.median(|bare, whole| whole - bare));
        println!("median of {pairs} pairs of blocks of {RUNS} runs, one thread");
    });
}

fn request() -> Request {
    Request { id: String::new(), content_type: None, parameters: Vec::new() }
}

/// Microseconds of one run, over a block of them.
async fn bare_block(stage: &Stage) -> f64 {
    let request = request();
    let states: Vec<_> = (0..RUNS).map(|_| stage.bare_state()).collect();
    let started = Instant::now();
    for state in states {
        stage.preprocess_bare(state, &request, b"body").await.expect("an answer");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
}

async fn whole_block(app: &App, stage: &Stage) -> f64 {
    let request = request();
    let time = Duration::from_secs(10);
    let mut traces: Vec<_> =
        (0..RUNS).map(|_| Trace::new(String::new(), "p", "echo", time, Arc::clone(&app.recorder))).collect();
    let started = Instant::now();
    for trace in &mut traces {
        stage.preprocess(trace, &request, b"body").await.expect("an answer");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
}
