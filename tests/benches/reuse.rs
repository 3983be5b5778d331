//! What fresh instances cost the demo: its whole pipeline with a fresh instance for each stage of each request, and with
//! one instance for each stage that serves them all, in process: `cargo bench --bench reuse`.
//!
//! Neither side has the record of a request. Blocks of both alternate, in turned order, so that whatever else the machine
//! does meets both alike; the figures are medians over blocks, and the ratio is the median of those of the pairs.

use std::time::{Duration, Instant};

use plimsoll::app::App;
use plimsoll::config::Config;
use plimsoll::pipeline::Pipeline;
use plimsoll::stage::Stage;
use plimsoll::stage::apart::Kept;
use plimsoll::stage::bindings::Request;
use plimsoll::trace::Trace;

const PAIRS: usize = 200;
const REQUESTS: u32 = 50;

fn main() {
    // `cargo test --benches` passes `--test`, and wants to know only that it runs.
    let pairs = if std::env::args().any(|argument| argument == "--bench") { PAIRS } else { 2 };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let body = std::fs::read(plimsoll_tests::data("digits/7.jpg")).expect("a digit");
    runtime.block_on(async {
        let config = Config::load(None).expect("the demo");
        let config = Config { cache_dir: Some(plimsoll_tests::shared_cache()), ..config };
        let app = App::build(&config).await.expect("served");
        let pipeline = app.pipeline("digits").expect("the demo's");
        println!("{:<24} {:>10} {:>10} {:>8}", "the demo, by its chip", "fresh µs", "reused µs", "ratio");
        for (chip, infer) in &pipeline.chips {
            let mut kept = Reused::new(&pipeline, infer).await;
            let (mut fresh, mut reused, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for pair in 0..pairs {
                let (one, other);
                if pair % 2 == 0 {
                    one = fresh_block(&pipeline, infer, &body).await;
                    other = kept.block(&body).await;
                } else {
                    other = kept.block(&body).await;
                    one = fresh_block(&pipeline, infer, &body).await;
                }
                fresh.push(one);
                reused.push(other);
                ratios.push(other / one);
            }
            println!("{chip:<24} {:>10.1} {:>10.1} {:>8.3}", median(fresh), median(reused), median(ratios));
        }
        println!(
            "ratio: throughput with fresh instances over that with reused ones; {pairs} pairs of {REQUESTS} requests"
        );
    });
}

fn request() -> Request {
    Request { id: String::new(), content_type: None, parameters: Vec::new() }
}

/// Microseconds of one request, over a block of them.
async fn fresh_block(pipeline: &Pipeline, infer: &Stage, body: &[u8]) -> f64 {
    let request = request();
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let mut trace = Trace::unrecorded("digits", "", Duration::from_secs(10));
        pipeline.run(infer, &mut trace, &request, body).await.expect("a reply");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
}

/// One instance of each stage.
struct Reused<'a> {
    preprocess: Kept<'a>,
    infer: Kept<'a>,
    postprocess: Kept<'a>,
}

impl<'a> Reused<'a> {
    async fn new(pipeline: &'a Pipeline, infer: &'a Stage) -> Self {
        Self {
            preprocess: pipeline.preprocess.keep().await.expect("an instance"),
            infer: infer.keep().await.expect("an instance"),
            postprocess: pipeline.postprocess.keep().await.expect("an instance"),
        }
    }

    async fn block(&mut self, body: &[u8]) -> f64 {
        let request = request();
        let started = Instant::now();
        for _ in 0..REQUESTS {
            let (inputs, context) = self.preprocess.preprocess(&request, body).await.expect("tensors");
            let outputs = self.infer.infer(&request, inputs).await.expect("tensors");
            self.postprocess.postprocess(&request, outputs, &context).await.expect("a reply");
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
