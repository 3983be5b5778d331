//! What the host leaves unused of a device that prepares itself for every new shape: `cargo bench --bench device`.
//!
//! The device is simulated (`tests/src/simulated.rs`), so its own throughput is known and no GPU is needed. The callers
//! run the whole pipeline of the demo in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll::serve::App;
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::data;
use plimsoll_tests::simulated::{self, Device};

/// A run takes 20 ms and 1 ms for each row; the first run of a shape 300 ms more. `copy` is the time in which its inputs are
/// copied to the device, which can compute another run meanwhile.
fn costs(copy: &'static str) -> [(&'static str, &'static str); 4] {
    [("new_shape_ms", "300"), ("copy_ms", copy), ("run_ms", "20"), ("row_ms", "1")]
}

fn config(device: &str, batches: &str, copy: &'static str) -> String {
    let costs: String = costs(copy).iter().map(|(name, value)| format!(", {name} = {value}")).collect();
    format!(
        "[models.m]\nfile = \"bundled:digits.onnx\"\nbackend = \"simulated\"\n{batches}\n\
         options = {{ device = \"{device}\", sessions = 2{costs} }}\n[pipelines.p]\nmodel = \"m\"\n\
         [pipelines.p.preprocess]\nplugin = \"image-preprocess\"\n\
         config = {{ width = 8, height = 8, channels = \"gray\", scale = 0.00392156862745098 }}\n\
         [pipelines.p.chips.c]\nplugin = \"infer-native\"\n[pipelines.p.postprocess]\nplugin = \"classify-postprocess\"\n\
         config = {{ labels = \"labels.txt\" }}\nassets = {{ \"labels.txt\" = \"bundled:digits-labels.txt\" }}\n"
    )
}

/// Rows per second of the device alone, in runs of this many rows.
fn alone(rows: u32, runs: u32, copy: &'static str) -> f64 {
    let digits = plimsoll::base::bundled::file("digits.onnx").expect("bundled");
    let model = simulated::load(digits, &costs(copy));
    let shape = model.inputs()[0].shape.clone().expect("known");
    let dimensions: Vec<u32> =
        std::iter::once(rows).chain(shape.iter().skip(1).map(|size| size.expect("fixed"))).collect();
    let elements: u32 = dimensions.iter().product();
    let input = [Tensor::new(dimensions, TensorType::Fp32, vec![0; elements as usize * 4])];
    model.warm(&input).expect("a run");
    let started = Instant::now();
    for _ in 0..runs {
        model.run(&input).expect("a run");
    }
    f64::from(rows * runs) / started.elapsed().as_secs_f64()
}

/// The bytes of inputs that were written into the buffers of batches.
fn copied(app: &App) -> f64 {
    let text = app.records.metrics.encode(&plimsoll::base::process::process_memory(), None);
    let line = text.lines().find(|line| line.starts_with("plimsoll_model_batch_copied_bytes_total{"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let time = Duration::from_secs(if bench::measures() { 10 } else { 1 });
        let body = Arc::new(std::fs::read(data("digits/4.png")).expect("a digit"));
        let titles =
            [("device/s", 0), ("host/s", 0), ("share", 2), ("rows/run", 1), ("copied/request", 0), ("reserved", 2), ("overlaps", 2), ("new shapes", 0)];
        let mut table = Table::new("device", &[("batches", 24), ("callers", 8)], &titles);
        for (name, batches, rows, copy) in [
            ("none", "", 1, "0"),
            ("max_batch = 8", "max_batch = 8", 8, "0"),
            ("max_batch = 16", "max_batch = 16", 16, "0"),
            ("16, max_delay = 10ms", "max_batch = 16\nmax_delay = \"10ms\"", 16, "0"),
            ("16, copies of 20 ms", "max_batch = 16", 16, "20"),
        ] {
            let device = Device::of(name);
            let own = alone(rows, 20, copy);
            let app = bench::app(&config(name, batches, copy)).await;
            let pipeline = app.pipeline("p").expect("configured");
            for callers in [1, 16, 32] {
                device.take_new_shapes();
                device.take_runs();
                device.take_reserved();
                device.take_overlaps();
                let before = copied(&app);
                let (requests, rate) = bench::served(&pipeline, "c", &body, callers, time).await;
                let (new, runs) = (device.take_new_shapes().len() as f64, device.take_runs());
                let mean = f64::from(runs.iter().sum::<u32>()) / runs.len().max(1) as f64;
                let share = |count: u32, of: f64| f64::from(count) / of.max(1.0);
                let reserved = share(device.take_reserved(), f64::from(runs.iter().sum::<u32>()));
                let overlaps = share(device.take_overlaps(), runs.len() as f64);
                let copied = (copied(&app) - before) / f64::from(requests.max(1));
                table.row(&[name, &callers.to_string()], &[own, rate, rate / own, mean, copied, reserved, overlaps, new]);
            }
        }
        table.end(
            "rows per second of the device alone in full batches, and requests per second of the host; bytes of inputs \
             that were written into batches for each request (a row has 256); the share of rows that were gathered in memory which \
             the device reads directly, and of runs whose inputs were copied while the device computed another one",
        );
    });
}
