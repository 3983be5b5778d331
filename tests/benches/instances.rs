//! Measures the cost of an instance, in process: `cargo bench --bench instances`.
//!
//! Each figure includes the store, its WASI context, cap and deadline, because every request needs them.

use std::time::Duration;

use plimsoll::serve::App;
use plimsoll_runtime::stage::{Request, StageCore};
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::bench_support::request_record;
use tokio::runtime::Runtime;

const BLOCKS: usize = 2_000;

fn main() {
    let figures = [("least µs", 2), ("p50 µs", 2), ("p99 µs", 2)];
    let mut table = Table::new("instances", &[("run", 58)], &figures);
    let mut row = |what: &str, runs: u32, run: &mut dyn FnMut()| {
        let times = bench::times(bench::count(BLOCKS), runs, run);
        table.row(&[what], &[0.0, 0.5, 0.99].map(|part| bench::quantile(&times, part)));
    };
    let runtime = bench::runtime();

    for (what, plugin) in [
        ("instantiate and drop a small plugin (wasip2, no snapshot)", "noop-preprocess"),
        ("the same, a plugin whose snapshot holds 16 MiB", "init-big"),
    ] {
        let app = runtime.block_on(bench::app(&bench::noop_config(plugin)));
        let pipeline = app.pipeline("p").expect("configured");
        row(what, 10, &mut || instantiate(&runtime, &pipeline.preprocess));
    }
    for plugin in ["js-preprocess", "py-postprocess"] {
        let Some(app) = example(&runtime, plugin) else { continue };
        let pipeline = app.pipeline("p").expect("configured");
        let stage = if plugin == "js-preprocess" { pipeline.preprocess.core() } else { pipeline.postprocess.core() };
        row(&format!("the same, the example {plugin}"), 1, &mut || instantiate(&runtime, stage));
    }

    let app = runtime.block_on(bench::app(&bench::noop_config("noop-preprocess")));
    row("three stages that do nothing, with the record", 10, &mut || noop(&runtime, &app));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let url = format!("{}/v1/pipelines/p/infer", runtime.block_on(bench::serve(app)));
    let client = reqwest::Client::new();
    row("the same over HTTP on one connection, in this process", 1, &mut || {
        runtime.block_on(async {
            let reply = client.post(&url).body("body").send().await.expect("an answer");
            assert_eq!(reply.bytes().await.expect("a complete body"), "ok");
        });
    });
    table.end(&format!("{BLOCKS} blocks of 10 runs; blocks of one run for the examples and over HTTP"));
}

fn instantiate(runtime: &Runtime, stage: &StageCore) {
    runtime.block_on(stage.instantiate_only()).expect("instantiated");
}

/// A pipeline with an example plugin, or `None` if `plugins/examples/build.sh` has not built the plugin.
fn example(runtime: &Runtime, plugin: &str) -> Option<App> {
    let file = bench::target().join("examples").join(format!("{plugin}.wasm"));
    if !file.is_file() {
        eprintln!("SKIPPED: {} is missing; plugins/examples/build.sh builds it", file.display());
        return None;
    }
    let (preprocess, postprocess) = match plugin {
        "js-preprocess" => (plugin, "classify-postprocess"),
        _ => ("image-preprocess", plugin),
    };
    let toml = format!(
        "[plugins.{plugin}]\nfile = {file:?}\n[models.digits]\nfile = \"bundled:digits.onnx\"\n[pipelines.p]\n\
         model = \"digits\"\n[pipelines.p.preprocess]\nplugin = \"{preprocess}\"\n\
         config = {{ width = 8, height = 8, channels = \"gray\" }}\n\
         [pipelines.p.chips.c]\nplugin = \"infer-native\"\n[pipelines.p.postprocess]\nplugin = \"{postprocess}\"\n"
    );
    Some(runtime.block_on(bench::app(&toml)))
}

/// One request of a pipeline whose stages do nothing, as the HTTP handler runs it.
fn noop(runtime: &Runtime, app: &App) {
    let pipeline = app.pipeline("p").expect("configured");
    let infer = pipeline.chip("none").expect("configured");
    runtime.block_on(async {
        let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
        let mut record = request_record(app, "p", "none", Duration::from_secs(10), None);
        pipeline.run(infer, &mut record, &request, b"body").await.expect("a reply");
    });
}
