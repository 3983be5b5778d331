//! Chips that share nothing but the model: ONNX Runtime on the processor, OpenVINO on the processor (a build of ONNX
//! Runtime carries it: PyPI package `onnxruntime-openvino`), and a plugin execution provider (`onnxruntime-ggml`). The
//! plugin `onnxruntime-ep-openvino` offers processors of Intel only, so it cannot be tested everywhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use plimsoll_runtime::nn::{Backend, BackendName, Chip, Device, LoadError, Model, ModelSource};
use plimsoll_runtime::tensor::{Tensor, TensorType, Tensors};
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, bench, is_alone, shared};
use serde_json::{Value, json};

use crate::models::{config, examples, onnxruntime};

/// The largest difference between the chips, as a share of the largest absolute value of an output. OpenVINO computes
/// in the precision of the model, but in another order.
const TOLERANCE: f32 = 1e-3;

/// A library that is installed in `target` (`.ci/run` does that).
fn installed(path: &str) -> Option<PathBuf> {
    let path = bench::target().join(path);
    if path.is_file() {
        return path.canonicalize().ok();
    }
    plimsoll_tests::skip(&format!("{} is missing", path.display()));
    None
}

/// A build of ONNX Runtime that carries OpenVINO. A process can load only one build, so tests with this one run alone.
pub(crate) fn openvino() -> Option<PathBuf> {
    installed("onnxruntime-openvino/onnxruntime/capi/libonnxruntime.so.1.24.1")
}

/// ONNX Runtime, and a plugin for it that computes with ggml.
pub(crate) fn ggml() -> Option<(PathBuf, PathBuf)> {
    Some((onnxruntime()?, installed("onnxruntime-ggml/onnxruntime_ggml/lib/libonnxruntime_ggml.so")?))
}

pub(crate) fn plugin_table(plugin: &Path, lines: &str) -> String {
    format!("[chips.g]\nprovider = \"ggml\"\nlibrary = {plugin:?}\n{lines}\n")
}

/// The pipelines of both models, each with the chips `a` (the processor) and `b` (OpenVINO).
fn two_chips(models: &Path, library: &Path) -> String {
    let mut toml = config(models, "onnxruntime", Some(library));
    for model in ["ultraface", "squeezenet"] {
        let table = format!("[models.{model}]\n");
        let at = toml.find(&table).expect("the table");
        let end = toml[at + 1..].find("\n[").expect("another table") + at + 1;
        let second = toml[at..end].replacen(&table, &format!("[models.{model}-b]\ntarget = \"ov\"\n"), 1);
        toml.insert_str(end, &format!("\n{second}"));
    }
    for (pipeline, model) in [("faces", "ultraface"), ("things", "squeezenet")] {
        let chip = format!("[pipelines.{pipeline}.chips.cpu]\nplugin = \"infer-native\"\n");
        let second =
            format!("{chip}[pipelines.{pipeline}.chips.b]\nplugin = \"infer-native\"\nmodel = \"{model}-b\"\n");
        assert!(toml.contains(&chip));
        toml = toml.replace(&chip, &second);
    }
    toml + "\n[chips.ov]\nprovider = \"openvino\"\ndevice = \"CPU\"\n"
}

fn model_of<'a>(models: &'a Value, name: &str) -> &'a Value {
    let models = models["models"].as_array().expect("a list");
    models.iter().find(|model| model["name"] == name).unwrap_or_else(|| panic!("no {name} in {models:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_chips_of_a_pipeline_find_the_same() {
    if !is_alone("chips::two_chips_of_a_pipeline_find_the_same") {
        return;
    }
    let (Some(models), Some(library)) = (shared("models"), openvino()) else { return };
    let server = Server::start(&two_chips(&models, &library)).await;
    for (expected, image) in examples(&models.join("squeezenet-1.0")) {
        let mut found = Vec::new();
        for chip in ["cpu", "b"] {
            let reply = server.infer("things", &format!("?chip={chip}"), image.clone()).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            assert_eq!(reply.headers["x-plimsoll-chip"], chip);
            assert_eq!(reply.json()["predictions"][0]["label"], expected["top5"][0]["label"], "{chip}: {}", reply.text);
            found.push(reply.json()["predictions"].as_array().expect("a list").clone());
        }
        for (a, b) in found[0].iter().zip(&found[1]) {
            let number = |value: &Value| value["probability"].as_f64().expect("a number");
            assert!((number(a) - number(b)).abs() < 1e-3, "{a} on the processor, {b} on OpenVINO");
        }
    }
    for (expected, image) in examples(&models.join("ultraface-rfb-320")) {
        let reply = server.infer("faces", "?chip=b", image).await;
        let found = reply.json()["detections"].as_array().expect("a list").len();
        assert_eq!(found, expected["detections"].as_array().expect("a list").len(), "{}", reply.text);
    }
    let reply = server.get("/v1/models").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let models = reply.json();
    let (a, b) = (model_of(&models, "squeezenet"), model_of(&models, "squeezenet-b"));
    assert_eq!((&a["target"], &a["backend"], &a["providers"]), (&json!("cpu"), &json!("onnxruntime"), &json!([])));
    assert_eq!((&b["target"], &b["in_service"]), (&json!("ov"), &json!(true)));
    assert_eq!(a["digest"], b["digest"], "they share the file");
    let providers = b["providers"].as_array().expect("a list");
    let nodes = |name: &str| {
        let found = providers.iter().find(|provider| provider["provider"] == name);
        found.map_or(0, |provider| provider["nodes"].as_u64().expect("a number"))
    };
    assert_eq!(a["compared_with_cpu"], Value::Null, "the CPU is the reference: {a}");
    assert!(b["compared_with_cpu"]["relative"].as_f64().is_some_and(|it| it < f64::from(TOLERANCE)), "{b}");
    assert_eq!((nodes("OpenVINOExecutionProvider"), nodes("CPUExecutionProvider")), (65, 0), "{b}");
}

/// A model without a server.
pub(crate) fn try_load(library: &Path, device: Device, bytes: &[u8]) -> Result<Box<dyn Model>, LoadError> {
    let name: BackendName = "onnxruntime".parse().expect("known");
    let backend: Box<dyn Backend> = name.open(&json!({ "library": library, "sessions": 1 }), Path::new(""))?;
    let (path, options) = ("m.onnx".into(), Default::default());
    let source =
        ModelSource { name: "m".into(), path, bytes: Arc::new(bytes.to_vec()), external: Vec::new(), device, options };
    backend.load(&source)
}

fn load(library: &Path, device: Device, bytes: &[u8]) -> Box<dyn Model> {
    try_load(library, device, bytes).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn device(provider: &str, library: Option<&Path>, device: Option<&str>, options: &[(&str, &str)]) -> Device {
    Device::Chip(Arc::new(Chip {
        name: "chip".into(),
        provider: provider.into(),
        library: library.map(Path::to_owned),
        device: device.map(str::to_owned),
        options: options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    }))
}

/// Numbers that look like an image after preprocessing.
pub(crate) fn noise(shape: &[u32], seed: u32) -> Tensor {
    let elements: u32 = shape.iter().product();
    let number =
        |place: u32| ((place.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 8) % 2_001) as f32 / 1_000.0 - 1.0;
    let data = (0..elements).flat_map(|place| number(place).to_le_bytes()).collect();
    Tensor::new(shape.to_vec(), TensorType::Fp32, data)
}

fn floats(outputs: &Tensors) -> Vec<Vec<f32>> {
    let numbers = |tensor: &Tensor| tensor.data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    outputs.iter().map(|(_, tensor)| numbers(tensor)).collect()
}

#[test]
fn the_outputs_of_two_chips_differ_less_than_the_tolerance() {
    if !is_alone("chips::the_outputs_of_two_chips_differ_less_than_the_tolerance") {
        return;
    }
    let (Some(models), Some(library)) = (shared("models"), openvino()) else { return };
    for (name, shape) in [("squeezenet-1.0", [1, 3, 224, 224]), ("ultraface-rfb-320", [1, 3, 240, 320])] {
        let bytes = std::fs::read(models.join(name).join("model.onnx")).expect("present");
        let of_b = device("openvino", None, Some("CPU"), &[]);
        let (a, b) = (load(&library, Device::Cpu, &bytes), load(&library, of_b, &bytes));
        for seed in 0..3 {
            let input = [noise(&shape, seed)];
            let (of_a, of_b) = (a.run(&input).expect("a run"), b.run(&input).expect("a run"));
            for (a, b) in floats(&of_a).iter().zip(&floats(&of_b)) {
                assert_eq!(a.len(), b.len());
                let largest = a.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                let difference = a.iter().zip(b).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                println!("{name}: largest difference {difference:e}, largest value {largest}");
                assert!(difference <= TOLERANCE * largest, "{name}: {difference} of {largest}");
            }
        }
    }
}

/// The product of images of 8×8 numbers with a matrix, and a function of it.
pub(crate) fn product(function: &str) -> Vec<u8> {
    let weights: Vec<f32> = (0..8 * 10).map(|place| ((place * 37) % 101) as f32 / 101.0 - 0.5).collect();
    let model = Onnx::new(17).input("image", &[None, Some(1), Some(8), Some(8)]).floats("w", &[8, 10], &weights);
    let model = model.node("MatMul", &["image", "w"], "m", &[]).node(function, &["m"], "y", &[]);
    model.output("y", &[None, Some(1), Some(8), Some(10)]).bytes()
}

#[test]
fn nodes_that_a_plugin_does_not_compute_are_counted() {
    let Some((library, plugin)) = ggml() else { return };
    let on = |options: &[(&str, &str)]| device("ggml", Some(&plugin), None, options);
    let input = [noise(&[4, 1, 8, 8], 1)];
    let first = floats(&load(&library, Device::Cpu, &product("Sigmoid")).run(&input).expect("a run"));
    // The plugin keeps weights in half precision.
    let compare = |model: &dyn Model, bytes: &[u8]| {
        let input = [noise(&[4, 1, 8, 8], 1)];
        let (a, b) = (load(&library, Device::Cpu, bytes).run(&input), model.run(&input));
        let (a, b) = (floats(&a.expect("a run")), floats(&b.expect("a run")));
        assert_eq!(a[0].len(), 4 * 80);
        assert!(a[0].iter().zip(&b[0]).all(|(a, b)| (a - b).abs() < 1e-2), "{a:?}, {b:?}");
    };
    let whole = load(&library, on(&[]), &product("Sigmoid"));
    let placed = |model: &dyn Model| {
        let placement = model.properties().placement.iter();
        placement.map(|it| (it.provider.clone(), it.nodes, it.operators.clone())).collect::<Vec<_>>()
    };
    let operators = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(placed(&*whole), [("ggml".to_owned(), 2, operators(&["MatMul", "Sigmoid"]))]);
    compare(&*whole, &product("Sigmoid"));
    // The plugin cannot compute HardSigmoid. So it takes no node of the model, unless it may take a part of them.
    let error = try_load(&library, on(&[]), &product("HardSigmoid")).map(|_| ()).expect_err("refused").to_string();
    assert!(error.contains("computes none of the 2 nodes") && error.contains("(HardSigmoid, MatMul)"), "{error}");
    let part = load(&library, on(&[("partial", "1")]), &product("HardSigmoid"));
    // A model for the processor is not given to a plugin that is loaded, which would round its weights.
    let again = floats(&load(&library, Device::Cpu, &product("Sigmoid")).run(&input).expect("a run"));
    assert_eq!(again, first, "the same numbers as before the plugin was loaded");
    let (cpu, ggml) = (
        ("CPUExecutionProvider".to_owned(), 1, operators(&["HardSigmoid"])),
        ("ggml".to_owned(), 1, operators(&["MatMul"])),
    );
    assert_eq!(placed(&*part), [cpu, ggml]);
    compare(&*part, &product("HardSigmoid"));
}

/// A batch on a chip has prepared sizes, and every caller gets its own rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_serves_batches_over_http() {
    let Some((library, plugin)) = ggml() else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, product("HardSigmoid")).expect("written");
    let model = |lines: &str| {
        let model = format!("file = {file:?}\nbackend = \"onnxruntime\"\n{lines}");
        let echo = format!("[plugins.echo-postprocess]\nfile = {:?}\n", plimsoll_tests::guest("echo-postprocess"));
        let config = crate::batching::config(&model).replace("classify-postprocess", "echo-postprocess");
        let end = config.find("config = { labels").expect("the settings of the plugin");
        format!("[backends.onnxruntime]\nlibrary = {library:?}\n{echo}{}{}", &config[..end], plugin_table(&plugin, ""))
    };
    let lines = "target = \"g\"\noptions = { partial = 1 }\nmax_batch = 4\nmax_delay = \"100ms\"";
    let server = Arc::new(Server::start(&model(lines)).await);
    let listed = server.get("/v1/models").await.json()["models"][0].clone();
    assert_eq!((&listed["target"], &listed["max_batch"]), (&json!("g"), &json!(4)), "{listed}");
    let of_cpu = json!({ "provider": "CPUExecutionProvider", "nodes": 1, "operators": ["HardSigmoid"] });
    assert_eq!(listed["providers"][0], of_cpu, "{listed}");
    // At admission the outputs were compared with those on the CPU.
    let compared = &listed["compared_with_cpu"];
    assert_eq!(compared["runs"], 4, "{listed}");
    assert!(compared["relative"].as_f64().is_some_and(|it| it < 1e-2), "{listed}");
    let alone = load(&library, Device::Cpu, &product("HardSigmoid"));
    let requests: Vec<_> = (0..4)
        .map(|seed| {
            let server = Arc::clone(&server);
            let expected = floats(&alone.run(&[noise(&[1, 1, 8, 8], seed)]).expect("a run")).remove(0);
            tokio::spawn(async move {
                let input = noise(&[1, 1, 8, 8], seed);
                let data: Vec<f32> = input.data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
                let input = json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": data });
                let reply = server.infer_json("p.infer", &json!({ "inputs": [input] })).await;
                assert_eq!(reply.status, 200, "{}", reply.text);
                let found: Vec<f32> =
                    serde_json::from_value(reply.json()["outputs"][0]["data"].clone()).expect("numbers");
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-2), "{found:?}, {expected:?}");
            })
        })
        .collect();
    for request in requests {
        request.await.expect("no panic");
    }
}
