//! Helpers for the in-process benchmarks: measuring or smoke run, a runtime, timing loops, and the result table.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::config::Config;
use plimsoll::deploy::ServedPipeline;
use plimsoll::serve::App;
use plimsoll_runtime::pipeline::Pipeline;
use plimsoll_runtime::stage::{Request, RunLog};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::{guest, shared_cache};

/// Returns true if results are measured. `cargo bench` passes `--bench`; `cargo test --benches` does not, because it
/// only checks that the benchmark runs.
pub fn measures() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Returns `many` if results are measured, otherwise 2, because a median needs at least one value.
pub fn count(many: usize) -> usize {
    if measures() { many } else { 2 }
}

/// A multi-threaded runtime with one worker. Compiling a plugin blocks its thread, which this kind of runtime allows.
///
/// # Panics
/// If the thread cannot be created.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A configuration of one pipeline `p` with one chip `none`: the given preprocess plugin, then guests that do nothing.
pub fn noop_config(preprocess: &str) -> String {
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    format!(
        "{}{}{}[pipelines.p.preprocess]\nplugin = \"{preprocess}\"\n[pipelines.p.chips.none]\nplugin = \"noop-infer\"\n\
         [pipelines.p.postprocess]\nplugin = \"noop-postprocess\"\n",
        file(preprocess),
        file("noop-infer"),
        file("noop-postprocess"),
    )
}

/// Builds the application of a configuration, with the compiled cache that all tests share.
///
/// # Panics
/// If the configuration is rejected.
pub async fn app(toml: &str) -> App {
    let config = Config::parse(toml, Path::new("bench.toml")).expect("valid");
    let config = Config { cache_dir: Some(shared_cache()), ..config };
    App::build(&config).await.expect("served")
}

/// Serves the app in this process. Returns its address as a URL.
///
/// # Panics
/// If there is no free port.
pub async fn serve(app: App) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (stop, stops) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let served = plimsoll::serve::serve(Arc::new(app), listener, stops).await;
        // The server stops when the sender of stop signals is dropped.
        drop(stop);
        served
    });
    url
}

/// Runs a pipeline in this process for this many callers, each with one request at a time. Returns the number of requests
/// and the requests per second.
///
/// # Panics
/// If a request fails.
pub async fn served(
    pipeline: &Arc<ServedPipeline>,
    chip: &str,
    body: &Arc<Vec<u8>>,
    callers: usize,
    time: Duration,
) -> (u32, f64) {
    let started = Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (pipeline, body, chip) = (Arc::clone(pipeline), Arc::clone(body), chip.to_owned());
            tokio::spawn(async move {
                let mut requests = 0u32;
                while started.elapsed() < time {
                    let pipeline: &Pipeline = &pipeline;
                    let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
                    let mut log = RunLog::new(Duration::from_secs(60));
                    let infer = pipeline.chip(&chip).expect("configured");
                    let reply = pipeline.run(infer, &mut log, &request, &body).await;
                    reply.map_err(|failed| failed.error).expect("a reply");
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    let mut requests = 0;
    for caller in callers {
        requests += caller.await.expect("no panic");
    }
    (requests, f64::from(requests) / started.elapsed().as_secs_f64())
}

/// The folder to which benchmarks write: `target` of the workspace.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// The mean time of one run in µs for each of `blocks` blocks of `runs` runs, in ascending order.
pub fn times(blocks: usize, runs: u32, mut run: impl FnMut()) -> Vec<f64> {
    let block = |_| {
        let started = Instant::now();
        for _ in 0..runs {
            run();
        }
        started.elapsed().as_secs_f64() * 1e6 / f64::from(runs)
    };
    let mut times: Vec<_> = (0..blocks).map(block).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The quantile `part` (0 to 1) of numbers in ascending order: 0 is the minimum, 0.5 the median.
///
/// # Panics
/// If `sorted` is empty.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// A table that prints each row when it is added, and writes all rows as JSON at the end.
pub struct Table {
    bench: &'static str,
    /// Titles of the text columns, with the width of each column.
    labels: Vec<(&'static str, usize)>,
    /// Titles of the number columns, with the number of decimals that are printed.
    figures: Vec<(&'static str, usize)>,
    rows: Vec<Value>,
}

/// The minimum number of spaces between figures.
const GAP: usize = 2;
/// The minimum width of a figure.
const FIGURE: usize = 8;

impl Table {
    /// Prints the header of a benchmark's table: text columns with their widths, then figures with their decimals.
    pub fn new(bench: &'static str, labels: &[(&'static str, usize)], figures: &[(&'static str, usize)]) -> Self {
        let table = Self { bench, labels: labels.to_vec(), figures: figures.to_vec(), rows: Vec::new() };
        let figures: Vec<_> = figures.iter().map(|(title, _)| (*title).to_owned()).collect();
        let labels: Vec<_> = labels.iter().map(|(title, _)| *title).collect();
        table.print(&labels, &figures);
        table
    }

    fn print(&self, labels: &[&str], figures: &[String]) {
        let mut line = String::new();
        for ((_, width), label) in self.labels.iter().zip(labels) {
            line.push_str(&format!("{label:<width$} "));
        }
        for ((title, _), figure) in self.figures.iter().zip(figures) {
            let width = title.chars().count().max(FIGURE) + GAP;
            line.push_str(&format!("{figure:>width$}"));
        }
        println!("{line}");
    }

    /// Prints a row. A figure that is not a number is printed as `-`, and is `null` in JSON.
    ///
    /// # Panics
    /// If the row does not have as many columns as the table.
    pub fn row(&mut self, labels: &[&str], figures: &[f64]) {
        assert_eq!((labels.len(), figures.len()), (self.labels.len(), self.figures.len()), "columns");
        let text = |(figure, (_, decimals)): (&f64, &(_, usize))| {
            if figure.is_nan() { "-".to_owned() } else { format!("{figure:.decimals$}") }
        };
        let texts: Vec<_> = figures.iter().zip(&self.figures).map(text).collect();
        self.print(labels, &texts);
        let labels = self.labels.iter().zip(labels).map(|((title, _), label)| (key(title), json!(label)));
        let figures = self.figures.iter().zip(figures).map(|((title, _), figure)| (key(title), json!(figure)));
        self.rows.push(Value::Object(labels.chain(figures).collect::<Map<_, _>>()));
    }

    /// Prints `note`, which explains the figures. If results are measured, writes the table to
    /// `target/bench/NAME.json`.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn end(self, note: &str) {
        println!("{note}");
        if !measures() {
            return;
        }
        let folder = target().join("bench");
        std::fs::create_dir_all(&folder).expect("a folder");
        let report = json!({ "bench": self.bench, "note": note, "rows": self.rows });
        let text = serde_json::to_vec_pretty(&report).expect("JSON");
        std::fs::write(folder.join(format!("{}.json", self.bench)), text).expect("written");
        println!("as JSON: target/bench/{}.json", self.bench);
    }
}

/// The JSON key of a column: its title with `u` for `µ`, `per` for `/` and `_` for spaces.
fn key(title: &str) -> String {
    title.replace('µ', "u").replace('/', " per ").split_whitespace().collect::<Vec<_>>().join("_")
}
