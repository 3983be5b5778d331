//! What the always-on report costs: the throughput of a pipeline of three stages that do nothing, in process, with the
//! record of each request and without it: `cargo bench --bench report`.
//!
//! The figures are medians over short blocks, and the difference is the median of the differences within pairs of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::app::App;
use plimsoll::config::Config;
use plimsoll::pipeline::Pipeline;
use plimsoll::stage::bindings::Request;
use plimsoll::trace::Trace;
use plimsoll_tests::guest;
use plimsoll_tests::pairs::Pairs;

const PAIRS: usize = 1_000;
const REQUESTS: u32 = 50;
const TIME: Duration = Duration::from_secs(10);

fn main() {
    // `cargo test --benches` passes `--test`, and wants to know only that it runs.
    let pairs = if std::env::args().any(|argument| argument == "--bench") { PAIRS } else { 2 };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let app = app().await;
        let pipeline = app.pipeline("p").expect("configured");
        block(&app, &pipeline, true).await;
        block(&app, &pipeline, false).await;
        let on = async || block(&app, &pipeline, true).await;
        let off = async || block(&app, &pipeline, false).await;
        let times = Pairs::run(pairs, on, off).await;
        let (with, without) = (times.median(|on, _| on), times.median(|_, off| off));
        let added = times.median(|on, off| (on - off) / off);
        println!("{:<28} {:>12} {:>14}", "three stages, no work", "µs", "requests/s");
        for (what, micros) in [("without the report", without), ("with the report", with)] {
            println!("{what:<28} {micros:>12.2} {:>14.0}", 1e6 / micros);
        }
        println!("throughput lost              {:>11.2} %", 100.0 * (1.0 - 1.0 / (1.0 + added)));
        println!("median of {pairs} pairs of blocks of {REQUESTS} requests, one thread");
    });
}

async fn app() -> App {
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    let toml = format!(
        "{}{}{}[pipelines.p.preprocess]\nplugin = \"noop-preprocess\"\n\
         [pipelines.p.chips.none]\nplugin = \"noop-infer\"\n[pipelines.p.postprocess]\nplugin = \"noop-postprocess\"\n",
        file("noop-preprocess"),
        file("noop-infer"),
        file("noop-postprocess"),
    );
    let config = Config::parse(&toml, Path::new("bench.toml")).expect("valid");
    let config = Config { cache_dir: Some(plimsoll_tests::shared_cache()), ..config };
    App::build(&config).await.expect("served")
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
