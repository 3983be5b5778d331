//! Concurrent runs of a model share one session: they compute what single runs do, and the weights are held once.

use std::path::Path;
use std::sync::Arc;

use plimsoll_runtime::nn::{BackendName, Cancellation, Device, Model, ModelSource, RunError};
use plimsoll_runtime::tensor::{Tensor, Tensors};
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{is_alone, shared};
use serde_json::{Value, json};

use crate::chips::{device, ggml, noise, openvino};
use crate::models::onnxruntime;

/// Runs at once.
const RUNS: usize = 8;

/// A model of `[backends.onnxruntime]` with these settings.
pub(crate) fn load(settings: &Value, device: Device, bytes: &[u8]) -> Box<dyn Model> {
    let name: BackendName = "onnxruntime".parse().expect("known");
    let backend = name.open(settings, Path::new("")).unwrap_or_else(|error| panic!("{error}"));
    let (path, options) = ("m.onnx".into(), Default::default());
    let source =
        ModelSource { name: "m".into(), path, bytes: Arc::new(bytes.to_vec()), external: Vec::new(), device, options };
    backend.load(&source).unwrap_or_else(|error| panic!("{error}"))
}

/// Resident memory of this process in bytes.
pub(crate) fn resident() -> i64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: i64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4_096
}

/// A model of images of 8×8 numbers whose weights take `megabytes` MB; its output has ten numbers for each image.
pub(crate) fn heavy(megabytes: i64) -> Vec<u8> {
    let columns = megabytes * 1_000_000 / (64 * 4);
    let weights: Vec<f32> = (0..64 * columns).map(|place| ((place * 37) % 101) as f32 / 101.0 - 0.5).collect();
    let model = Onnx::new(17).input("image", &[None, Some(1), Some(8), Some(8)]).ints("flat", &[-1, 64]);
    let model = model.floats("w", &[64, columns], &weights).ints("first", &(0..10).collect::<Vec<_>>());
    let model = model.node("Reshape", &["image", "flat"], "x", &[]).node("MatMul", &["x", "w"], "m", &[]);
    model.node("Gather", &["m", "first"], "y", &[("axis", 1)]).output("y", &[None, Some(10)]).bytes()
}

/// A convolution, a matrix product and a reduction of any number of images of 16×16 numbers.
pub(crate) fn network() -> Vec<u8> {
    let weights = |count: usize, seed: usize| -> Vec<f32> {
        (0..count).map(|place| ((place * 37 + seed) % 101) as f32 / 101.0 - 0.5).collect()
    };
    let model = Onnx::new(17).input("image", &[None, Some(1), Some(16), Some(16)]);
    let model = model.floats("k", &[8, 1, 3, 3], &weights(72, 1)).floats("w", &[14, 300], &weights(4_200, 2));
    let model = model.node("Conv", &["image", "k"], "c", &[]).node("Relu", &["c"], "r", &[]);
    let model = model.node("MatMul", &["r", "w"], "m", &[]).node("Sigmoid", &["m"], "s", &[]);
    model.node("Softmax", &["s"], "y", &[("axis", 3)]).output("y", &[None, Some(8), Some(14), Some(300)]).bytes()
}

pub(crate) fn same(a: &Tensors, b: &Tensors) -> bool {
    let equal = |(a, b): (&(String, Tensor), &(String, Tensor))| {
        a.0 == b.0 && a.1.dimensions == b.1.dimensions && a.1.data[..] == b.1.data[..]
    };
    a.len() == b.len() && a.iter().zip(b).all(equal)
}

/// Concurrent runs with inputs of different shapes compute, to the bit, what the same runs do one after another in a
/// session of their own.
fn concurrent_runs_are_right(library: &Path, device: &Device, threads: usize, bytes: &[u8], inputs: &[Tensor]) {
    let settings = |runs: usize| json!({ "library": library, "sessions": runs, "threads": threads });
    let alone = load(&settings(1), device.clone(), bytes);
    let expected: Vec<_> = inputs.iter().map(|input| alone.run(std::slice::from_ref(input)).expect("a run")).collect();
    drop(alone);
    let model = load(&settings(RUNS), device.clone(), bytes);
    assert_eq!((model.properties().concurrent_runs, model.properties().copies), (RUNS, 1), "one session, {RUNS} runs");
    std::thread::scope(|scope| {
        for thread in 0..RUNS {
            let (model, expected) = (&*model, &expected);
            scope.spawn(move || {
                for run in 0..40 {
                    let place = (thread * 7 + run * 3) % inputs.len();
                    // Another run's end must not end this one.
                    let cancelled = Cancellation::default();
                    if run % 10 == thread {
                        cancelled.cancel();
                    }
                    match model.run_unless_cancelled(std::slice::from_ref(&inputs[place]), &cancelled) {
                        Err(RunError::Cancelled) => assert!(cancelled.is_cancelled()),
                        found => {
                            let found = found.expect("a run");
                            assert!(same(&found, &expected[place]), "input {place} in run {run} of thread {thread}");
                        }
                    }
                }
            });
        }
    });
}

fn images() -> Vec<Tensor> {
    (0..12).map(|seed| noise(&[1 + seed % 5, 1, 16, 16], seed)).collect()
}

#[test]
fn concurrent_runs_of_one_session_compute_what_single_runs_do() {
    let Some(library) = onnxruntime() else { return };
    for threads in [1, 2] {
        concurrent_runs_are_right(&library, &Device::Cpu, threads, &network(), &images());
    }
    let Some(models) = shared("models") else { return };
    let bytes = std::fs::read(models.join("squeezenet-1.0/model.onnx")).expect("present");
    let inputs: Vec<_> = (0..3).map(|seed| noise(&[1, 3, 224, 224], seed)).collect();
    concurrent_runs_are_right(&library, &Device::Cpu, 1, &bytes, &inputs);
}

#[test]
fn concurrent_runs_of_one_session_of_openvino_compute_what_single_runs_do() {
    if !is_alone("shared_sessions::concurrent_runs_of_one_session_of_openvino_compute_what_single_runs_do") {
        return;
    }
    let Some(library) = openvino() else { return };
    let chip = device("openvino", None, Some("CPU"), &[]);
    concurrent_runs_are_right(&library, &chip, 1, &network(), &images());
}

/// Where concurrent runs were not tested, each has a session, unless the configuration says otherwise.
#[test]
fn a_chip_of_a_plugin_has_a_session_for_each_run_unless_it_is_told_to_share() {
    let Some((library, plugin)) = ggml() else { return };
    let chip = || device("ggml", Some(&plugin), None, &[("partial", "1")]);
    let copies = |lines: Value| {
        let mut settings = json!({ "library": library, "sessions": 3 });
        settings.as_object_mut().expect("a table").extend(lines.as_object().expect("a table").clone());
        let model = load(&settings, chip(), &network());
        (model.properties().concurrent_runs, model.properties().copies)
    };
    assert_eq!(copies(json!({})), (3, 3));
    assert_eq!(copies(json!({ "shared_session": true })), (3, 1));
    let cpu = load(&json!({ "library": library, "sessions": 3, "shared_session": false }), Device::Cpu, &network());
    assert_eq!((cpu.properties().concurrent_runs, cpu.properties().copies), (3, 3));
}

/// Prints what four runs at once need: the table of `host/docs/performance.md`.
#[test]
fn four_runs_at_once_hold_the_weights_once() {
    // Other tests would take and return memory meanwhile.
    if !is_alone("shared_sessions::four_runs_at_once_hold_the_weights_once") {
        return;
    }
    let Some(library) = onnxruntime() else { return };
    let megabytes = std::env::var("PLIMSOLL_WEIGHTS_MB").map_or(40, |text| text.parse().expect("a number"));
    let bytes = heavy(megabytes);
    let grown = |lines: Value| {
        let mut settings = json!({ "library": library, "sessions": 4 });
        settings.as_object_mut().expect("a table").extend(lines.as_object().expect("a table").clone());
        let before = resident();
        let model = load(&settings, Device::Cpu, &bytes);
        model.run(&[noise(&[1, 1, 8, 8], 1)]).expect("a run");
        let grown = resident() - before;
        println!("{megabytes} MB of weights, four runs at once, {lines}: {} MiB", grown >> 20);
        grown / 1_000_000
    };
    let shared = grown(json!({}));
    // The last copies of the file may not be returned yet.
    assert!((megabytes..megabytes * 5 / 2).contains(&shared), "{shared} MB");
    let separate = grown(json!({ "shared_session": false }));
    assert!(separate > megabytes * 3, "{separate} MB");
}
