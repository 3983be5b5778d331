//! Runs whose inputs and outputs are bound to memory of the library (`io_binding`): they compute what other runs do, to the
//! bit, on the CPU, on OpenVINO and on a plugin. No device with memory of its own is needed: only the allocator differs there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_runtime::nn::{Cancellation, Device, Model, RunError};
use plimsoll_runtime::tensor::{Tensor, TensorType, join_strings};
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, is_alone};
use rten_onnx::onnx::DataType;
use serde_json::{Value, json};

use crate::chips::{device, ggml, noise, openvino, product};
use crate::models::onnxruntime;
use crate::shared_sessions::{load, network, same};

/// Runs at once.
const RUNS: usize = 6;

fn settings(library: &Path, io_binding: Option<bool>) -> Value {
    let mut settings = json!({ "library": library, "sessions": RUNS });
    if let Some(is_bound) = io_binding {
        settings["io_binding"] = json!(is_bound);
    }
    settings
}

/// The model with bound runs, and without.
fn both(library: &Path, device: &Device, bytes: &[u8]) -> [Box<dyn Model>; 2] {
    [true, false].map(|is_bound| load(&settings(library, Some(is_bound)), device.clone(), bytes))
}

/// A tensor in a reserved buffer of the model.
fn reserved(model: &dyn Model, tensor: &Tensor) -> Option<Tensor> {
    let mut buffer = model.buffer(tensor.data.len())?;
    assert!(buffer.extend(&tensor.data), "it has room");
    Some(Tensor::with_bytes(tensor.dimensions.clone(), tensor.ty, buffer.into()))
}

/// Concurrent bound runs with inputs of several shapes, in ordinary memory and in reserved buffers, compute what runs do
/// that are not bound.
fn bound_runs_are_right(library: &Path, device: &Device, bytes: &[u8], side: u32) {
    let [bound, plain] = both(library, device, bytes);
    let largest = (3 * side * side * 4) as usize;
    assert_eq!(plain.properties().bound_to, None);
    assert!(bound.properties().bound_to.is_some());
    let inputs: Vec<_> = (0..6).map(|seed| noise(&[1 + seed % 3, 1, side, side], seed)).collect();
    let expected: Vec<_> = inputs.iter().map(|input| plain.run(std::slice::from_ref(input)).expect("a run")).collect();
    plain.reserve_buffers(&[largest]);
    assert!(plain.buffer(1).is_none(), "nothing to reserve");
    bound.reserve_buffers(&[largest]);
    assert!(bound.buffer(largest + 1).is_none(), "no larger ones");
    std::thread::scope(|scope| {
        for thread in 0..RUNS {
            let (bound, expected, inputs) = (&*bound, &expected, &inputs);
            scope.spawn(move || {
                for run in 0..20 {
                    let place = (thread + run) % inputs.len();
                    let cancelled = Cancellation::default();
                    if run % 7 == thread {
                        cancelled.cancel();
                    }
                    let ordinary = inputs[place].clone();
                    let input = reserved(bound, &ordinary).unwrap_or(ordinary);
                    match bound.run_unless_cancelled(&[input], &cancelled) {
                        Err(RunError::Cancelled) => assert!(cancelled.is_cancelled()),
                        found => assert!(same(&found.expect("a run"), &expected[place]), "input {place}"),
                    }
                }
            });
        }
    });
    let all: Vec<_> = std::iter::from_fn(|| bound.buffer(1)).collect();
    assert_eq!(all.len(), 3, "every buffer came back: two batches in flight, and one that is gathered");
    drop(bound);
    // The memory lives as long as the last buffer.
    let sevens = vec![7; largest];
    assert!(all.into_iter().all(|mut buffer| buffer.extend(&sevens) && buffer.as_ref() == sevens));
}

#[test]
fn bound_runs_compute_what_others_do() {
    let Some(library) = onnxruntime() else { return };
    bound_runs_are_right(&library, &Device::Cpu, &network(), 16);
    let by_default = load(&settings(&library, None), Device::Cpu, &network());
    assert_eq!(by_default.properties().bound_to, None, "the CPU has no memory of its own");
}

#[test]
fn bound_runs_compute_what_others_do_on_a_plugin() {
    let Some((library, plugin)) = ggml() else { return };
    // The plugin computes no convolution of images.
    bound_runs_are_right(&library, &device("ggml", Some(&plugin), None, &[]), &product("Sigmoid"), 8);
}

#[test]
fn bound_runs_compute_what_others_do_on_openvino() {
    if !is_alone("bound_runs::bound_runs_compute_what_others_do_on_openvino") {
        return;
    }
    let Some(library) = openvino() else { return };
    bound_runs_are_right(&library, &device("openvino", None, Some("CPU"), &[]), &network(), 16);
}

/// Outputs that the library does not compute itself, of all kinds: an output that is an input, one that is a weight, one
/// whose shape depends on the numbers, strings, a scalar and one without elements.
#[test]
fn bound_outputs_of_all_kinds_are_those_of_other_runs() {
    let Some(library) = onnxruntime() else { return };
    let model = Onnx::new(17)
        .input("x", &[None, Some(4)])
        .typed_input("words", &[None], DataType::STRING)
        .input("unused", &[Some(1)])
        .floats("w", &[2], &[3.0, 4.0])
        .node("Identity", &["x"], "same", &[])
        .node("Identity", &["w"], "weight", &[])
        .node("NonZero", &["x"], "found", &[])
        .node("Identity", &["words"], "text", &[])
        .node("ReduceSum", &["x"], "sum", &[("keepdims", 0)])
        .output("same", &[None, Some(4)])
        .output("weight", &[Some(2)])
        .int_output("found", &[Some(2), None])
        .typed_output("text", &[None], DataType::STRING)
        .output("sum", &[]);
    let [bound, plain] = both(&library, &Device::Cpu, &model.bytes());
    let words = join_strings(&["", "two words", "Ärger"]).expect("short");
    for numbers in [vec![0.0_f32; 4], vec![1.0, 0.0, 2.0, 0.0], vec![], (0..12).map(|n| n as f32).collect()] {
        let rows = numbers.len() as u32 / 4;
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let inputs = [
            Tensor::new(vec![rows, 4], TensorType::Fp32, bytes),
            Tensor::new(vec![3], TensorType::Bytes, words.clone()),
            Tensor::new(vec![1], TensorType::Fp32, vec![0; 4]),
        ];
        let (one, other) = (bound.run(&inputs).expect("a run"), plain.run(&inputs).expect("a run"));
        assert!(same(&one, &other), "{one:?}, {other:?}");
        drop(inputs);
        assert!(same(&one, &other), "an output does not use the memory of an input");
    }
}

/// An error of the model, and a run that is stopped, are what they are without a binding; the next run is right.
#[test]
fn errors_and_stopped_runs_leave_nothing_bound() {
    let Some(library) = onnxruntime() else { return };
    let gather = Onnx::new(17)
        .int_input("x", &[None])
        .floats("table", &[3], &[1.0, 2.0, 3.0])
        .node("Gather", &["table", "x"], "y", &[("axis", 0)])
        .output("y", &[None]);
    let [bound, plain] = both(&library, &Device::Cpu, &gather.bytes());
    let at = |index: i64| [Tensor::new(vec![1], TensorType::I64, index.to_le_bytes().to_vec())];
    let errors = [&bound, &plain].map(|model| model.run(&at(9)).expect_err("outside of the table"));
    assert_eq!(errors[0], errors[1]);
    assert!(matches!(errors[0], RunError::Backend(_)), "{}", errors[0]);
    let found = bound.run(&at(1)).expect("a run");
    assert_eq!(found[0].1.data[..], 2.0_f32.to_le_bytes());

    let size = 1_000;
    let weights: Vec<f32> = (0..size * size).map(|place| (place % 7) as f32 / 7_000.0).collect();
    let mut slow = Onnx::new(17).input("v0", &[None, Some(size)]).floats("w", &[size, size], &weights);
    for step in 0..60 {
        slow = slow.node("MatMul", &[&format!("v{step}"), "w"], &format!("v{}", step + 1), &[]);
    }
    let [bound, _] = both(&library, &Device::Cpu, &slow.output("v60", &[None, Some(size)]).bytes());
    let cancellation = Cancellation::default();
    let result = std::thread::scope(|scope| {
        let run = scope.spawn(|| bound.run_unless_cancelled(&[noise(&[2_000, size as u32], 1)], &cancellation));
        std::thread::sleep(Duration::from_millis(150));
        cancellation.cancel();
        run.join().expect("no panic")
    });
    assert!(matches!(result, Err(RunError::Cancelled)), "{:?}", result.map(|_| ()));
    bound.run(&[noise(&[1, size as u32], 2)]).expect("a run");
}

/// Batches are gathered in reserved buffers, and each caller gets its own rows.
#[tokio::test(flavor = "multi_thread")]
async fn batches_in_reserved_buffers_are_served() {
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, network()).expect("written");
    let model = format!("file = {file:?}\nbackend = \"onnxruntime\"\nmax_batch = 4\nmax_delay = \"100ms\"");
    let echo = format!("[plugins.echo-postprocess]\nfile = {:?}\n", plimsoll_tests::guest("echo-postprocess"));
    let config = crate::batching::config(&model).replace("classify-postprocess", "echo-postprocess");
    let config = config.replace("width = 8, height = 8", "width = 16, height = 16");
    let end = config.find("config = { labels").expect("the settings of the plugin");
    let toml = format!("[backends.onnxruntime]\nlibrary = {library:?}\nio_binding = true\n{echo}{}", &config[..end]);
    let server = Arc::new(Server::start(&toml).await);
    let listed = server.get("/v1/models").await.json()["models"][0].clone();
    assert_eq!(listed["bound_to"], "Cpu", "{listed}");
    let alone = load(&settings(&library, Some(false)), Device::Cpu, &network());
    let requests: Vec<_> = (0..12)
        .map(|seed| {
            let server = Arc::clone(&server);
            let input = noise(&[1, 1, 16, 16], seed);
            let expected = alone.run(std::slice::from_ref(&input)).expect("a run").remove(0).1;
            tokio::spawn(async move {
                let parameters = json!({ "binary_data_size": input.data.len() });
                let input_json =
                    json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, 16, 16], "parameters": parameters });
                let request = json!({ "parameters": { "binary_data_output": true }, "inputs": [input_json] });
                let reply = crate::oip_binary::post(&server, "p.infer", &request, &[&input.data]).await;
                let (_, tail) = crate::oip_binary::parts(&reply);
                assert_eq!(tail, expected.data[..], "the rows of {seed}");
            })
        })
        .collect();
    for request in requests {
        request.await.expect("no panic");
    }
    let copied = crate::batching::metric(
        &server.get("/metrics").await.text,
        "plimsoll_model_batch_copied_bytes_total{model=\"m\"}",
    );
    assert!(copied > 0.0 && copied <= 12.0 * 1_024.0, "each row at most once: {copied}");
}

/// What does not fit into `max_bound_memory` takes ordinary memory: the replies are right, and the report has the figures.
#[tokio::test(flavor = "multi_thread")]
async fn runs_without_room_take_ordinary_memory() {
    if !is_alone("bound_runs::runs_without_room_take_ordinary_memory") {
        return;
    }
    let Some(library) = onnxruntime() else { return };
    let model = "file = \"bundled:digits.onnx\"\nbackend = \"onnxruntime\"\nmax_batch = 4";
    let backend = |limit: &str| format!("[backends.onnxruntime]\nlibrary = {library:?}\nio_binding = true\n{limit}");
    let digit = std::fs::read(plimsoll_tests::data("digits/4.png")).expect("a digit");
    // Three batches of four digits of 8×8 FLOAT are reserved. A row of outputs has 40 bytes.
    let reserved: u64 = 3 * 4 * 8 * 8 * 4;
    let limit = format!("max_bound_memory = {reserved}\n");
    let server = Server::start(&format!("{}{}", backend(&limit), crate::batching::config(model))).await;
    let before = server.get("/v1/memory").await.json()["bound"].clone();
    assert_eq!((&before["bytes"], &before["limit"]), (&json!(reserved), &json!(reserved)), "{before}");
    let reply = server.infer("p", "", digit).await;
    assert_eq!(reply.json()["predictions"][0]["label"], "4", "{}", reply.text);
    let after = server.get("/v1/memory").await.json()["bound"].clone();
    let runs = |report: &Value| report["unbound_runs"].as_u64().expect("a count");
    assert_eq!(after["bytes"], reserved, "outputs are not in it: {after}");
    assert!(runs(&after) > runs(&before), "{before} {after}");
    assert!(after["high_water"].as_u64() >= Some(reserved), "{after}");
    let metrics = server.get("/metrics").await.text;
    assert_eq!(crate::batching::metric(&metrics, "plimsoll_bound_memory_bytes") as u64, reserved);
    assert_eq!(crate::batching::metric(&metrics, "plimsoll_unbound_runs_total") as u64, runs(&after));
    server.stop().await;
    let toml = format!("{}{}", backend("max_bound_memory = \"much\"\n"), crate::batching::config(model));
    let error = Server::rejection(&toml).await;
    assert!(error.contains("backends.onnxruntime"), "{error}");
}

#[tokio::test]
async fn the_switch_takes_true_or_false() {
    let toml = crate::batching::config("file = \"bundled:digits.onnx\"");
    let error = Server::rejection(&format!("[backends.onnxruntime]\nio_binding = \"auto\"\n{toml}")).await;
    assert!(error.contains("backends.onnxruntime") && error.contains("boolean"), "{error}");
}
