//! Measures pipelines of steps, in process: `cargo bench --bench steps`.
//!
//! - Three steps against the same plugins as three stages: in process, and over HTTP on one connection. The aim is at most 2 %
//!   more.
//! - 16 items in one request against 16 requests, one after the other and at once, for a model that batches help. The aim is 3
//!   times the items per second of requests one after the other.
//! - 10,000 requests with a step that leaks, for 4 items each: the resident memory after each tenth must stay the same, because
//!   every run has an instance of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::serve::App;
use plimsoll_runtime::outcome::Outcome;
use plimsoll_runtime::stage::{Request, StageReport};
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::bench_support::request_record;
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::pairs::Pairs;
use plimsoll_tests::{TempDir, guest};
use serde_json::json;

const PAIRS: usize = 1_000;
const RUNS: u32 = 50;
const ITEMS: usize = 16;
/// The width of the model: 16 MiB of weights, which a single row reads as a whole.
const WIDTH: usize = 2_048;
const LEAKS: usize = 10_000;

fn main() {
    bench::runtime().block_on(async {
        cost_of_steps().await;
        items_and_requests().await;
        leaks().await;
    });
}

fn plugin(name: &str) -> String {
    format!("[plugins.{name}]\nfile = {:?}\n", guest(name))
}

/// Runs one request. Returns the reports of its stages.
async fn run(app: &App, name: &str, parameters: &[(&str, &str)], body: &[u8]) -> Vec<StageReport> {
    let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = Request { id: String::new(), content_type: None, parameters };
    let pipeline = app.pipeline(name).expect("configured");
    // Unlike a `RunLog`, it observes runs at the same time.
    let mut record = request_record(app, name, "default", Duration::from_secs(60), None);
    let chip = pipeline.select("default").expect("configured");
    pipeline.run(chip, &mut record, &request, body).await.map_err(|failed| failed.error).expect("a reply");
    record.finish(Outcome::Ok);
    record.stages().to_vec()
}

async fn cost_of_steps() {
    let plugins: String = ["noop-preprocess", "noop-infer", "noop-postprocess"].map(plugin).concat();
    let app = bench::app(&format!(
        "{plugins}[pipelines.three.preprocess]\nplugin = \"noop-preprocess\"\n[pipelines.three.chips.default]\nplugin = \
         \"noop-infer\"\n[pipelines.three.postprocess]\nplugin = \"noop-postprocess\"\n[pipelines.steps]\nsteps = [\n{{ name = \
         \"a\", kind = \"preprocess\", plugin = \"noop-preprocess\" }},\n{{ name = \"b\", kind = \"infer\", plugin = \
         \"noop-infer\" }},\n{{ name = \"c\", kind = \"postprocess\", plugin = \"noop-postprocess\" }}]\n"
    ))
    .await;
    let block = async |pipeline: &str| {
        let started = Instant::now();
        for _ in 0..RUNS {
            run(&app, pipeline, &[], b"body").await;
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
    };
    let pairs = bench::count(PAIRS);
    let times = Pairs::run(pairs, async || block("three").await, async || block("steps").await).await;
    let mut table = Table::new("steps", &[("a request", 34)], &[("µs", 2), ("more %", 2)]);
    let mut rows = |place: &str, times: &Pairs| {
        table.row(&[&format!("three stages, {place}")], &[times.median(|three, _| three), 0.0]);
        let more = times.median(|three, steps| (steps / three - 1.0) * 100.0);
        table.row(&[&format!("the same as three steps, {place}")], &[times.median(|_, steps| steps), more]);
    };
    rows("in process", &times);
    let url = bench::serve(app).await;
    let client = reqwest::Client::new();
    let block = async |pipeline: &str| {
        let started = Instant::now();
        for _ in 0..RUNS {
            let reply = client.post(format!("{url}/v1/pipelines/{pipeline}/infer")).body("body").send().await;
            assert_eq!(reply.expect("an answer").bytes().await.expect("a complete body"), "ok");
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS)
    };
    rows("HTTP", &Pairs::run(pairs, async || block("three").await, async || block("steps").await).await);
    table.end(&format!("plugins that do nothing; medians of {pairs} pairs of blocks of {RUNS} requests, one thread"));
}

/// The body for `given-tensors`: a tensor `x` of rows.
fn rows(count: usize, width: usize) -> Vec<u8> {
    let text =
        json!({ "tensors": [{ "name": "x", "type": "fp32", "shape": [count, width] }], "context": 0 }).to_string();
    let mut body = u32::try_from(text.len()).expect("short").to_le_bytes().to_vec();
    body.extend(text.as_bytes());
    body.extend((0..count * width).flat_map(|at| ((at % 7) as f32 / 7.0).to_le_bytes()));
    body
}

/// A pipeline `p` of items: each row of `x` is one. `between` is a step that runs for each.
fn items(between: &str) -> String {
    let plugins: String = ["given-tensors", "transformer", "gather-postprocess"].map(plugin).concat();
    format!(
        "{plugins}[pipelines.p]\nsteps = [\n{{ name = \"in\", kind = \"preprocess\", plugin = \"given-tensors\" }},\n{{ name = \
         \"split\", kind = \"transform\", plugin = \"transformer\", items = true, config = {{ split = true }} }},\n{between},\n{{ \
         name = \"out\", kind = \"postprocess\", plugin = \"gather-postprocess\", gather = true }}]\n"
    )
}

async fn items_and_requests() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("wide.onnx");
    let width = WIDTH as i64;
    let weights: Vec<f32> = (0..WIDTH * WIDTH).map(|at| (at % 13) as f32 / 1e4).collect();
    let model = Onnx::new(13)
        .input("x", &[None, Some(width)])
        .floats("w", &[width, width], &weights)
        .floats("v", &[width, 8], &weights[..8 * WIDTH])
        .node("MatMul", &["x", "w"], "between", &[])
        .node("MatMul", &["between", "v"], "y", &[])
        .output("y", &[None, Some(8)]);
    std::fs::write(&file, model.bytes()).expect("written");
    let infer = r#"{ name = "model", kind = "infer", plugin = "infer-native", model = "wide" }"#;
    let text = format!("[models.wide]\nfile = {file:?}\nmax_batch = {ITEMS}\nmax_delay = \"2ms\"\n{}", items(infer));
    let app = Arc::new(bench::app(&text).await);
    let (one, many) = (Arc::new(rows(1, WIDTH)), rows(ITEMS, WIDTH));
    let rounds = bench::count(100);
    let mut table = Table::new("steps-items", &[("16 items", 34)], &[("ms", 2), ("items/s", 0)]);
    let mut row = |what: &str, times: Vec<f64>| {
        let mut times = times;
        times.sort_by(f64::total_cmp);
        let time = bench::quantile(&times, 0.5);
        table.row(&[what], &[time * 1e3, ITEMS as f64 / time]);
    };
    let (mut alone, mut at_once, mut together) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let started = Instant::now();
        for _ in 0..ITEMS {
            run(&app, "p", &[], &one).await;
        }
        alone.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        let requests = (0..ITEMS).map(|_| {
            let (app, one) = (Arc::clone(&app), Arc::clone(&one));
            tokio::spawn(async move { run(&app, "p", &[], &one).await })
        });
        for request in requests.collect::<Vec<_>>() {
            request.await.expect("no panic");
        }
        at_once.push(started.elapsed().as_secs_f64());
        let started = Instant::now();
        run(&app, "p", &[], &many).await;
        together.push(started.elapsed().as_secs_f64());
    }
    row("16 requests, one after the other", alone);
    row("16 requests at once", at_once);
    row("one request with 16 items", together);
    table.end(&format!("a product with a matrix of {WIDTH} x {WIDTH}; medians of {rounds} rounds, one thread"));
}

/// Resident memory of this process in MiB.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("pages");
    pages * 4096.0 / f64::from(1 << 20)
}

async fn leaks() {
    let each = r#"{ name = "leaks", kind = "transform", plugin = "transformer", config = { parameter = "each" } }"#;
    let app = bench::app(&items(each)).await;
    let body = rows(4, 2);
    let requests = bench::count(LEAKS / 10);
    let mut table = Table::new("steps-leak", &[("requests", 10)], &[("resident MiB", 2)]);
    let mut reports = Vec::new();
    for tenth in 1..=10 {
        for _ in 0..requests {
            reports = run(&app, "p", &[("each", "leak")], &body).await;
        }
        table.row(&[&(tenth * requests).to_string()], &[resident()]);
    }
    for report in reports {
        println!(
            "{:>10}: mark {} bytes, of which {} grown",
            report.stage,
            report.usage.high_water,
            report.usage.grown()
        );
    }
    table.end("a step that leaks 5,000 bytes for each of 4 items of a request");
}
