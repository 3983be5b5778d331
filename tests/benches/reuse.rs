//! Measures the cost of fresh instances for the demo, in process: `cargo bench --bench reuse`. One side runs the whole
//! pipeline with a fresh instance per stage and request. The other side uses one instance per stage for all requests.
//! The inputs are a digit and photos; the demo resizes each of them to 8 × 8 pixels.
//!
//! Neither side keeps request records. The figures are medians over blocks. The ratio is the median of the ratios
//! within pairs of blocks.

use std::time::{Duration, Instant};

use plimsoll::config::Config;
use plimsoll::serve::App;
use plimsoll_runtime::pipeline::Pipeline;
use plimsoll_runtime::stage::{InferStage, PostprocessStage, PreprocessStage, Request, RunLog};
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::bench_support::ReusedInstance;
use plimsoll_tests::pairs::Pairs;

const PAIRS: usize = 100;

fn main() {
    let pairs = bench::count(PAIRS);
    let digit = std::fs::read(plimsoll_tests::data("digits/7.jpg")).expect("a digit");
    // The last element is the number of requests per block. It is chosen so that all blocks take about the same time.
    let bodies = [("a digit", digit, 100), ("640 x 480", photo(640, 480), 20), ("4000 x 3000", photo(4000, 3000), 1)];
    bench::runtime().block_on(async {
        let config = Config::load(None).expect("the demo");
        let config = Config { cache_dir: Some(plimsoll_tests::shared_cache()), ..config };
        let app = App::build(&config).await.expect("served");
        let pipeline = app.pipeline("digits").expect("the demo's");
        let figures = [("fresh µs", 1), ("reused µs", 1), ("ratio", 3)];
        let mut table = Table::new("reuse", &[("image", 12), ("chip", 8)], &figures);
        for (image, body, requests) in &bodies {
            for (chip, infer) in &pipeline.chips {
                let mut instances = Reused::new(&pipeline, infer).await;
                let fresh = async || fresh_block(&pipeline, infer, body, *requests).await;
                let times = Pairs::run(pairs, fresh, async || instances.block(body, *requests).await).await;
                let (fresh, reused) = (times.median(|fresh, _| fresh), times.median(|_, reused| reused));
                let ratio = times.median(|fresh, reused| reused / fresh);
                table.row(&[image, chip], &[fresh, reused, ratio]);
            }
        }
        table.end(&format!(
            "ratio: throughput with fresh instances / throughput with reused instances; {pairs} pairs of blocks"
        ));
    });
}

/// A JPEG with grain, from a fixed seed.
fn photo(width: u32, height: u32) -> Vec<u8> {
    let mut state = 7_u32;
    let image = image::RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = (state >> 28) as u8;
        let of = |at: u32, side: u32| (200 * at / side) as u8 + grain;
        image::Rgb([of(x, width), of(y, height), of(x + y, width + height)])
    });
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image.write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("encoded");
    jpeg.into_inner()
}

fn request() -> Request {
    Request { id: String::new(), content_type: None, parameters: Vec::new() }
}

/// Microseconds per request, averaged over one block.
async fn fresh_block(pipeline: &Pipeline, infer: &InferStage, body: &[u8], requests: u32) -> f64 {
    let request = request();
    let started = Instant::now();
    for _ in 0..requests {
        let mut log = RunLog::new(Duration::from_secs(10));
        pipeline.run(infer, &mut log, &request, body).await.expect("a reply");
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(requests)
}

/// One instance of each stage, used for all requests.
struct Reused<'a> {
    preprocess: ReusedInstance<'a, PreprocessStage>,
    infer: ReusedInstance<'a, InferStage>,
    postprocess: ReusedInstance<'a, PostprocessStage>,
}

impl<'a> Reused<'a> {
    async fn new(pipeline: &'a Pipeline, infer: &'a InferStage) -> Self {
        Self {
            preprocess: ReusedInstance::new(&pipeline.preprocess).await.expect("an instance"),
            infer: ReusedInstance::new(infer).await.expect("an instance"),
            postprocess: ReusedInstance::new(&pipeline.postprocess).await.expect("an instance"),
        }
    }

    /// As [`fresh_block`], with the reused instances.
    async fn block(&mut self, body: &[u8], requests: u32) -> f64 {
        let request = request();
        let started = Instant::now();
        for _ in 0..requests {
            let (inputs, context) = self.preprocess.preprocess(&request, body).await.expect("tensors");
            let outputs = self.infer.infer(&request, inputs).await.expect("tensors");
            self.postprocess.postprocess(&request, outputs, &context).await.expect("a reply");
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(requests)
    }
}
