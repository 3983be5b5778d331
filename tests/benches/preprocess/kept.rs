//! What stands between `image-preprocess` in wasm and the same code natively: one instance is kept for all calls, in an engine
//! that checks deadlines as the host does, and in one that does not. A run of the host also makes an instance.

use std::path::PathBuf;
use std::time::Instant;

use image_core::{Settings, prepare};
use plimsoll::base::bundled;
use plimsoll::serve::App;
use plimsoll_runtime::engine::config;
use plimsoll_runtime::kind::StageKind;
use plimsoll_runtime::stage::{PreprocessStage, Request};
use plimsoll_tests::bench::Table;
use plimsoll_tests::bench_support::ReusedInstance;
use tokio::runtime::Runtime;

/// Prints the medians for each image whose name has the first argument as a part. The second argument is the seconds for each
/// figure.
pub(crate) fn compare(runtime: &Runtime, app: &App, images: &[PathBuf], arguments: &[String], settings: &Settings) {
    let part = arguments.first().map(String::as_str).unwrap_or_default();
    let seconds = arguments.get(1).and_then(|argument| argument.parse().ok()).unwrap_or(3.0);
    let pipeline = app.pipeline("p").expect("configured");
    let mut instances = [false, true].map(|checks| {
        let mut config = config();
        config.epoch_interruption(checks);
        let component = bundled::plugin("image-preprocess").expect("shipped");
        let instance = ReusedInstance::in_engine(&pipeline.preprocess, StageKind::Preprocess, component, &config);
        runtime.block_on(instance).expect("an instance")
    });
    let figures =
        [("native ms", 3), ("no checks ms", 3), ("checks ms", 3), ("no checks/native", 3), ("checks/native", 3)];
    let mut table = Table::new("preprocess_kept", &[("image", 32)], &figures);
    for file in images.iter().filter(|file| file.to_string_lossy().contains(part)) {
        let body = std::fs::read(file).expect("readable");
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        let started = Instant::now();
        while started.elapsed().as_secs_f64() < 3.0 * seconds || times[0].len() < 15 {
            times[0].push(clock(|| drop(std::hint::black_box(prepare(&body, settings)).expect("an image"))));
            for (instance, times) in instances.iter_mut().zip(&mut times[1..]) {
                times.push(clock(|| runtime.block_on(call(instance, &body))));
            }
        }
        let [native, unchecked, checked] = times.map(median);
        let name = file.file_name().expect("a file").to_string_lossy();
        table.row(&[&name], &[native, unchecked, checked, unchecked / native, checked / native]);
    }
    table.end(
        "224 x 224, f32, NCHW; medians, by turns; one instance for all calls, with and without checks of the deadline",
    );
}

async fn call(instance: &mut ReusedInstance<'_, PreprocessStage>, body: &[u8]) {
    let request = Request { id: String::new(), content_type: None, parameters: Vec::new() };
    instance.preprocess(&request, body).await.expect("tensors");
}

/// The duration in milliseconds.
fn clock(call: impl FnOnce()) -> f64 {
    let started = Instant::now();
    call();
    started.elapsed().as_secs_f64() * 1000.0
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
