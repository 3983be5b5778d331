//! What an instance costs, in process: `cargo bench --bench instances`.
//!
//! The store, its WASI context, cap and deadline are part of each figure, for every request pays them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use plimsoll::app::App;
use plimsoll::config::Config;
use plimsoll::stage::bindings::Request;
use plimsoll::trace::Trace;
use plimsoll_tests::guest;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

fn app(runtime: &Runtime, preprocess: &str) -> App {
    let file = |name: &str| format!("[plugins.{name}]\nfile = {:?}\n", guest(name));
    let toml = format!(
        "{}{}{}[pipelines.p.preprocess]\nplugin = \"{preprocess}\"\n[pipelines.p.chips.none]\nplugin = \"noop-infer\"\n\
         [pipelines.p.postprocess]\nplugin = \"noop-postprocess\"\n",
        file(preprocess),
        file("noop-infer"),
        file("noop-postprocess"),
    );
    let config = Config::parse(&toml, Path::new("bench.toml")).expect("valid");
    let config = Config { cache_dir: Some(plimsoll_tests::shared_cache()), ..config };
    runtime.block_on(App::build(&config)).expect("served")
}

/// One worker; compiling a plugin that is not in the cache needs a runtime that can be blocked.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn instantiate(bencher: Bencher, plugin: &str) {
    let runtime = runtime();
    let app = app(&runtime, plugin);
    let pipeline = app.pipeline("p").expect("configured");
    let stage = &pipeline.preprocess;
    bencher.bench_local(|| runtime.block_on(stage.instantiate_only()).expect("instantiated"));
}

/// Instantiate and drop a small plugin (wasip2, no snapshot).
#[divan::bench(sample_count = 2000)]
fn instantiate_small(bencher: Bencher) {
    instantiate(bencher, "noop-preprocess");
}

/// Instantiate and drop a plugin whose snapshot holds 16 MiB.
#[divan::bench(sample_count = 2000)]
fn instantiate_16_mib_snapshot(bencher: Bencher) {
    instantiate(bencher, "init-big");
}

/// Instantiate and drop the example plugins, where `plugins/examples/build.sh` has built them.
#[divan::bench(sample_count = 500, args = ["js-preprocess", "py-postprocess"])]
fn instantiate_example(bencher: Bencher, plugin: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/examples").join(format!("{plugin}.wasm"));
    if !file.is_file() {
        eprintln!("SKIPPED: {} is missing; plugins/examples/build.sh builds it", file.display());
        return;
    }
    let runtime = runtime();
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
    let config = Config::parse(&toml, Path::new("bench.toml")).expect("valid");
    let config = Config { cache_dir: Some(plimsoll_tests::shared_cache()), ..config };
    let app = runtime.block_on(App::build(&config)).expect("served");
    let pipeline = app.pipeline("p").expect("configured");
    let stage = if plugin == preprocess { &pipeline.preprocess } else { &pipeline.postprocess };
    bencher.bench_local(|| runtime.block_on(stage.instantiate_only()).expect("instantiated"));
}

/// Three stages that do nothing, with the record of the request.
#[divan::bench(sample_count = 2000)]
fn noop_pipeline(bencher: Bencher) {
    let runtime = runtime();
    let app = app(&runtime, "noop-preprocess");
    let pipeline = app.pipeline("p").expect("configured");
    let infer = pipeline.chip("none").expect("configured");
    bencher.bench_local(|| {
        runtime.block_on(async {
            let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
            let mut trace = Trace::new(String::new(), "p", "none", Duration::from_secs(10), Arc::clone(&app.recorder));
            pipeline.run(infer, &mut trace, &request, b"body").await.expect("a reply");
        });
    });
}

/// The same over HTTP on one kept connection: client and server in one process.
#[divan::bench(sample_count = 2000)]
fn noop_pipeline_http(bencher: Bencher) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let app = Arc::new(app(&runtime, "noop-preprocess"));
    let (url, client) = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1/pipelines/p/infer", listener.local_addr().expect("bound"));
        tokio::spawn(plimsoll::http::serve(Arc::clone(&app), listener, std::future::pending()));
        (url, reqwest::Client::new())
    });
    bencher.bench_local(|| {
        runtime.block_on(async {
            let reply = client.post(&url).body("body").send().await.expect("an answer");
            assert_eq!(reply.bytes().await.expect("whole"), "ok");
        });
    });
}
