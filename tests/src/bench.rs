//! What benchmarks in process share: whether figures are wanted, a runtime, times of one thing, and a table.

use std::path::{Path, PathBuf};
use std::time::Instant;

use plimsoll::config::Config;
use plimsoll::serve::App;
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::{guest, shared_cache};

/// Whether figures are wanted. `cargo bench` passes `--bench`; `cargo test --benches` does not, and wants to know only
/// that it runs.
pub fn measures() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// `many` where figures are wanted, or else 2, for medians have to be of something.
pub fn count(many: usize) -> usize {
    if measures() { many } else { 2 }
}

/// A runtime of one worker. Compiling a plugin needs one whose threads may block.
///
/// # Panics
/// When the kernel gives no thread.
pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A configuration of one pipeline `p` with one chip `none`: the given preprocess plugin, and guests that do nothing.
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

/// What a configuration serves, with the compiled cache that all tests share.
///
/// # Panics
/// When the configuration is refused.
pub async fn app(toml: &str) -> App {
    let config = Config::parse(toml, Path::new("bench.toml")).expect("valid");
    let config = Config { cache_dir: Some(shared_cache()), ..config };
    App::build(&config).await.expect("served")
}

/// Where benchmarks write: `target` beside the packages.
pub fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// Microseconds of one run in each of `blocks` blocks of `runs`, in ascending order.
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

/// What lies at `part` (0 to 1) of figures in ascending order: 0 is the least, 0.5 the median.
///
/// # Panics
/// When there is none.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

/// A table whose rows are printed as they come, and written as JSON at the end.
pub struct Table {
    bench: &'static str,
    /// Titles of what a row is about, with the width of each column.
    labels: Vec<(&'static str, usize)>,
    /// Titles of its figures, with the decimals that are printed.
    figures: Vec<(&'static str, usize)>,
    rows: Vec<Value>,
}

/// Spaces between figures, at least.
const GAP: usize = 2;
/// The least width of a figure.
const FIGURE: usize = 8;

impl Table {
    /// Prints the head of a benchmark's table: columns of text with their widths, then figures with their decimals.
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
    /// When the row has another number of columns than the table.
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

    /// Prints what the figures are, and writes the table to `target/bench/NAME.json` where figures are wanted.
    ///
    /// # Panics
    /// When the file cannot be written.
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

/// The key of a column in JSON: its title, as a word of ASCII.
fn key(title: &str) -> String {
    title.replace('µ', "u").replace('/', " per ").split_whitespace().collect::<Vec<_>>().join("_")
}
