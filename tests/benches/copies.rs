//! Measures how often the bytes of a request are copied at each boundary: `cargo bench --bench copies`.
//!
//! A copy needs a destination of the same size. In the host, this is an allocation, which the allocator counts. In a
//! guest, it is linear memory, which raises the high-water mark. Both are measured with payloads of 4 MiB and 8 MiB.
//! The number of copies is the difference between the two, divided by 4 MiB. It includes the copies that the plugins
//! make themselves; the plugins used here make as few as possible.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use plimsoll_runtime::nn::{BackendName, Device, Model, ModelSource};
use plimsoll_runtime::pipeline::Pipeline;
use plimsoll_runtime::stage::{Request, RunLog};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::bench::{self, Table};
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{guest, guests_config};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const STEP: usize = 4 << 20;

fn main() {
    let _counting = dhat::Profiler::builder().testing().build();
    bench::runtime().block_on(async {
        let app = bench::app(&guests_config("tester", "")).await;
        let pipeline = app.pipeline("p").expect("configured");
        // One-time allocations are counted in the first measurement.
        let (less, more) = (measured(&pipeline, STEP).await, measured(&pipeline, 2 * STEP).await);
        let mut table = Table::new("copies", &[("what", 46)], &[("in host", 2), ("in guest", 2)]);
        let boundaries = [
            "a body into preprocess, a tensor out of it",
            "the tensor through infer",
            "the tensor into postprocess, a reply out of it",
        ];
        for ((boundary, less), more) in boundaries.iter().zip(less).zip(more) {
            let copies = |less: u64, more: u64| more.saturating_sub(less) as f64 / STEP as f64;
            table.row(&[boundary], &[copies(less.0, more.0), copies(less.1, more.1)]);
        }
        // Three steps that take the tensor and hand it on under another name, as branches do with a picture.
        let app = bench::app(&steps()).await;
        let pipeline = app.pipeline("p").expect("configured");
        let [less, more] = [measured_steps(&pipeline, STEP).await, measured_steps(&pipeline, 2 * STEP).await];
        let copies = |less: u64, more: u64| more.saturating_sub(less) as f64 / STEP as f64;
        let what = "a body into a tensor that three steps get";
        table.row(&[what], &[copies(less.0, more.0), copies(less.1, more.1)]);
        // ONNX Runtime allocates its own memory, which is not counted.
        for (what, is_bound) in
            [("a tensor through onnxruntime", false), ("the same, bound and in a reserved buffer", true)]
        {
            let Some(model) = onnxruntime(is_bound) else { continue };
            let [less, more] = [STEP, 2 * STEP].map(|bytes| measured_run(&*model, bytes));
            table.row(&[what], &[copies(less, more), 0.0]);
        }
        table.end("copies of the payload, computed from the bytes that 4 MiB more of payload need");
    });
}

/// For each stage: bytes that the host allocated, and high-water mark of the guest's linear memory in bytes.
async fn measured(pipeline: &Pipeline, bytes: usize) -> [(u64, u64); 3] {
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    let allocated = || {
        let now = dhat::HeapStats::get().total_bytes;
        now - BEFORE.swap(now, Relaxed)
    };
    let parameter = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let parameters = vec![parameter("do", "carry"), parameter("post", "carry")];
    let request = Request { id: String::new(), content_type: None, parameters };
    let body = vec![7; bytes];
    let mut log = RunLog::new(Duration::from_secs(60));
    allocated();
    let (inputs, context) = pipeline.preprocess.run(&mut log, &request, &body).await.expect("a tensor");
    let preprocess = allocated();
    let infer = pipeline.chip("echo").expect("configured");
    let outputs = infer.run(&mut log, &request, inputs).await.expect("a tensor");
    let infer = allocated();
    let reply = pipeline.postprocess.run(&mut log, &request, outputs, &context).await.expect("a reply");
    let postprocess = allocated();
    assert!(reply.body == body, "the reply differs from the body");
    let marks: Vec<u64> = log.reports().iter().map(|stage| stage.usage.high_water).collect();
    [(preprocess, marks[0]), (infer, marks[1]), (postprocess, marks[2])]
}

/// A pipeline whose steps `a`, `b` and `c` get the tensor of preprocessing.
fn steps() -> String {
    let plugins = ["tester", "transformer", "noop-postprocess"];
    let plugins = plugins.map(|name| format!("[plugins.{name}]\nfile = {:?}\n", guest(name)));
    let step = |name: &str| {
        format!(
            "{{ name = \"{name}\", kind = \"transform\", plugin = \"transformer\", from = [\"in\"], config = {{ rename = \"{name}\" }} }},\n"
        )
    };
    format!(
        "{}[pipelines.p]\nsteps = [\n{{ name = \"in\", kind = \"preprocess\", plugin = \"tester\" }},\n{}{}{}{{ name = \"out\", kind = \
         \"postprocess\", plugin = \"noop-postprocess\", from = [\"a\", \"b\", \"c\"] }}]\n",
        plugins.concat(),
        step("a"),
        step("b"),
        step("c"),
    )
}

/// A model that returns its numbers with the other sign, on ONNX Runtime; `None` without the library.
fn onnxruntime(is_bound: bool) -> Option<Box<dyn Model>> {
    let library = std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from).filter(|path| path.is_file())?;
    let name: BackendName = "onnxruntime".parse().expect("known");
    let settings = json!({ "library": library, "sessions": 1, "io_binding": is_bound });
    let backend = name.open(&settings, Path::new("")).expect("opened");
    let model = Onnx::new(17).input("x", &[None, Some(256)]).node("Neg", &["x"], "y", &[]);
    let source = ModelSource {
        name: "m".into(),
        path: "m.onnx".into(),
        bytes: Arc::new(model.output("y", &[None, Some(256)]).bytes()),
        external: Vec::new(),
        device: Device::Cpu,
        options: BTreeMap::new(),
    };
    let model = backend.load(&source).expect("loaded");
    model.reserve_buffers(&[2 * STEP]);
    Some(model)
}

/// Bytes that the host allocates for a run. The input is in a reserved buffer, if the model has one.
fn measured_run(model: &dyn Model, bytes: usize) -> u64 {
    let (shape, data) = (vec![bytes as u32 / 1024, 256], vec![0; bytes]);
    let input = match model.buffer(bytes) {
        Some(mut buffer) => {
            assert!(buffer.extend(&data), "it has room");
            Tensor::with_bytes(shape, TensorType::Fp32, buffer.into())
        }
        None => Tensor::new(shape, TensorType::Fp32, data),
    };
    let before = dhat::HeapStats::get().total_bytes;
    let outputs = model.run(&[input]).expect("a run");
    assert_eq!(outputs[0].1.data.len(), bytes);
    dhat::HeapStats::get().total_bytes - before
}

/// For a whole request: bytes that the host allocated, and the highest mark of the steps after preprocessing.
async fn measured_steps(pipeline: &Pipeline, bytes: usize) -> (u64, u64) {
    let request =
        Request { id: String::new(), content_type: None, parameters: vec![("do".to_owned(), "carry".to_owned())] };
    let body = vec![7; bytes];
    let mut log = RunLog::new(Duration::from_secs(60));
    let chip = pipeline.select(&pipeline.default_chip).expect("configured");
    let before = dhat::HeapStats::get().total_bytes;
    pipeline.run(chip, &mut log, &request, &body).await.map_err(|failed| failed.error).expect("a reply");
    let allocated = dhat::HeapStats::get().total_bytes - before;
    let marks = log.reports().iter().skip(1).map(|stage| stage.usage.high_water);
    (allocated, marks.max().expect("stages"))
}
