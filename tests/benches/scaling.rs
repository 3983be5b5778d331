//! Measures how throughput grows with the number of threads, in process: `cargo bench --bench scaling -- [WORK] [THREADS]`
//! (part of the name of the work, and one number of threads, for a profile). Each thread runs one request after the other.
//! Ideal is as many times the throughput of one thread as there are threads.
//!
//! Instances alone use the locks of the pool about three times as often as a request to stages that do nothing, and more than
//! ten times as often as one with an image. So a machine with few cores shows where the curve would bend on one with more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::deploy::ServedPipeline;
use plimsoll::serve::App;
use plimsoll_runtime::pipeline::Pipeline;
use plimsoll_runtime::stage::Request;
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::bench_support::request_record;

const ROUNDS: usize = 5;
const THREADS: [usize; 5] = [1, 2, 4, 8, 16];

#[derive(Clone, Copy)]
enum Work {
    /// Instantiates and drops the first stage.
    Instances,
    /// A whole request, with its record.
    Requests,
}

fn main() {
    let cores = std::thread::available_parallelism().expect("known").get();
    let threads: Vec<_> = THREADS.into_iter().filter(|&threads| threads == 1 || threads <= cores).collect();
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let [wanted, count] = [0, 1].map(|index| arguments.get(index).map(String::as_str));
    let threads = count.map_or(threads, |count| vec![count.parse().expect("THREADS is a number")]);
    let time = if bench::measures() { Duration::from_millis(700) } else { Duration::from_millis(20) };
    let photo = std::fs::read(plimsoll_tests::data("digits/7.jpg")).expect("a digit");
    let image = "[pipelines.p]\nmodel = \"digits\"\n[pipelines.p.preprocess]\nplugin = \"image-preprocess\"\nconfig = { width = 8, \
                 height = 8, channels = \"gray\" }\n[pipelines.p.chips.none]\nplugin = \"infer-wasm\"\n\
                 [pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n";
    let image = format!("[models.digits]\nfile = \"bundled:digits.onnx\"\n{image}");
    let noop = bench::noop_config("noop-preprocess");
    let figures = [("per second", 0), ("of ideal", 3)];
    let mut table = Table::new("scaling", &[("work", 40), ("threads", 7)], &figures);
    for (what, config, body, work) in [
        ("three stages that do nothing", &noop, b"body".to_vec(), Work::Requests),
        ("instances of a small plugin alone", &noop, b"body".to_vec(), Work::Instances),
        ("a digit, model in WebAssembly", &image, photo, Work::Requests),
    ] {
        if wanted.is_some_and(|wanted| !what.contains(wanted)) {
            continue;
        }
        let mut rates = vec![Vec::new(); threads.len()];
        for _ in 0..bench::count(ROUNDS) {
            for (rates, &threads) in rates.iter_mut().zip(&threads) {
                rates.push(rate(config, &body, work, threads, time));
            }
        }
        let medians: Vec<_> = rates.into_iter().map(median).collect();
        for (&threads, &rate) in threads.iter().zip(&medians) {
            // Without the row of one thread, it is not known what is ideal.
            let of_ideal = if count.is_none() { rate / medians[0] / threads as f64 } else { f64::NAN };
            table.row(&[what, &threads.to_string()], &[rate, of_ideal]);
        }
    }
    table.end(&format!("{cores} cores; medians of {ROUNDS} rounds of {} ms", time.as_millis()));
}

/// Runs per second of all threads together.
fn rate(config: &str, body: &[u8], work: Work, threads: usize, time: Duration) -> f64 {
    let runtime = bench::runtime();
    let app = runtime.block_on(bench::app(config));
    let pipeline = app.pipeline("p").expect("configured");
    let started = Instant::now();
    let count = || {
        let mut runs = 0u32;
        while started.elapsed() < time {
            runtime.block_on(run(&app, &pipeline, body, work));
            runs += 1;
        }
        runs
    };
    let runs: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    f64::from(runs) / started.elapsed().as_secs_f64()
}

async fn run(app: &App, pipeline: &Arc<ServedPipeline>, body: &[u8], work: Work) {
    let pipeline: &Pipeline = pipeline;
    match work {
        Work::Instances => drop(pipeline.preprocess.instantiate_only().await.expect("instantiated")),
        Work::Requests => {
            let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
            let mut record = request_record(app, "p", "none", Duration::from_secs(10), None);
            let infer = pipeline.chip("none").expect("configured");
            pipeline.run(infer, &mut record, &request, body).await.expect("a reply");
        }
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
