//! What OpenVINO computes differently from ONNX: models that are refused, nodes that are named, and numbers that are refused.
//! Each difference is shown, so that a newer OpenVINO without it fails the test.

use std::path::Path;

use plimsoll_runtime::nn::{Device, Model};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, guest, is_alone};
use rten_onnx::onnx::DataType;
use serde_json::json;

use crate::chips::{device, ggml, openvino, plugin_table, product, try_load};

fn int64(numbers: &[i64]) -> Tensor {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Tensor::new(vec![1, numbers.len() as u32], TensorType::I64, bytes)
}

fn floats(dimensions: &[u32], numbers: &[f32]) -> Tensor {
    Tensor::new(dimensions.to_vec(), TensorType::Fp32, numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
}

/// Loads a model on the CPU and on OpenVINO.
fn both(library: &Path, model: &Onnx) -> [Result<Box<dyn Model>, String>; 2] {
    [Device::Cpu, device("openvino", None, Some("CPU"), &[])]
        .map(|device| try_load(library, device, &model.bytes()).map_err(|error| error.to_string()))
}

/// The models, each with a part of the message.
fn refused() -> Vec<(Onnx, &'static str)> {
    let (rows, ty) = ([None, Some(6)], DataType::UINT8);
    let bytes = Onnx::new(14).typed_input("x", &rows, ty).node("Add", &["x", "x"], "y", &[]);
    let clip = Onnx::new(13).int_input("x", &rows).node("Clip", &["x"], "y", &[]);
    let sum = Onnx::new(13).input("x", &rows).node("ReduceLogSumExp", &["x"], "y", &[("keepdims", 1)]);
    let slope = Onnx::new(13).input("x", &[None, Some(2), Some(2)]).floats("slope", &[2], &[0.1, 0.9]).node(
        "PRelu",
        &["x", "slope"],
        "y",
        &[],
    );
    let root = Onnx::new(18)
        .input("x", &rows)
        .floats("two", &[], &[2.0])
        .floats("epsilon", &[], &[0.001])
        .floats("scale", &[6], &[1.0, 0.5, 1.5, 0.75, 1.25, 1.0])
        .ints("axes", &[-1])
        .node("Pow", &["x", "two"], "squares", &[])
        .node("ReduceMean", &["squares", "axes"], "mean", &[])
        .node("Add", &["mean", "epsilon"], "above", &[])
        .node("Sqrt", &["above"], "root", &[])
        .node("Div", &["x", "root"], "n", &[])
        .node("Mul", &["n", "scale"], "y", &[]);
    let one = Onnx::new(13).input("x", &rows).node("Max", &["x"], "y", &[]).output("y", &rows);
    vec![
        (one, "(Max): OpenVINO returns memory that nothing wrote"),
        (bytes.typed_output("y", &rows, ty), "(Add): OpenVINO computes integers of 8 bits with saturation"),
        (clip.int_output("y", &rows), "(Clip): OpenVINO cuts the limit"),
        (sum.output("y", &[Some(1), Some(1)]), "(ReduceLogSumExp): OpenVINO gives infinity"),
        (slope.output("y", &[None, Some(2), Some(2)]), "(PRelu): OpenVINO takes a slope of one dimension"),
        (root.output("y", &rows), "(Mul): OpenVINO ends the process"),
    ]
}

/// The models, each with a part of the note and an input for which the answers differ.
fn named() -> Vec<(Onnx, &'static str, Tensor)> {
    let rows = [None, Some(3)];
    let integers = || Onnx::new(13).int_input("x", &rows);
    let product = integers().node("Mul", &["x", "x"], "y", &[]).int_output("y", &rows);
    let most = integers().node("ReduceMax", &["x"], "y", &[("keepdims", 1)]).int_output("y", &[Some(1), Some(1)]);
    let truth = integers()
        .node("Concat", &["x", "x"], "twice", &[("axis", 1)])
        .node("Cast", &["twice"], "b", &[("to", 9)])
        .node("Cast", &["b"], "f", &[("to", 1)])
        .node("Concat", &["f", "f"], "y", &[("axis", 1)])
        .output("y", &[None, Some(12)]);
    let half = Onnx::new(13)
        .input("x", &rows)
        .node("Concat", &["x", "x"], "twice", &[("axis", 1)])
        .node("Cast", &["twice"], "h", &[("to", 10)])
        .node("Cast", &["h"], "f", &[("to", 1)])
        .node("Concat", &["f", "f"], "y", &[("axis", 1)])
        .output("y", &[None, Some(12)]);
    let table: Vec<f32> = (1..=6).map(|number| number as f32).collect();
    let tokens = Onnx::new(13)
        .int_input("x", &rows)
        .floats("table", &[3, 2], &table)
        .node("Gather", &["table", "x"], "g", &[("axis", 0)])
        .node("Add", &["g", "g"], "y", &[])
        .output("y", &[None, Some(3), Some(2)]);
    let cube = [None, Some(2), Some(3)];
    let softmax = Onnx::new(11).input("x", &cube).node("Softmax", &["x"], "y", &[("axis", 1)]).output("y", &cube);
    let numbers = floats(&[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    vec![
        (product, "(Mul): OpenVINO computes 64-bit integers in 32 bits", int64(&[100_000, 2, 3])),
        (most, "(ReduceMax): OpenVINO computes integers as FLOAT", int64(&[16_777_217, 2, 3])),
        (truth, "(Cast): OpenVINO computes 64-bit integers in 32 bits", int64(&[-(1 << 31), 0, 7])),
        (half, "(Cast): OpenVINO does not round to FLOAT16", floats(&[1, 3], &[100.7, 1e6, 0.5])),
        (tokens, "(Gather): OpenVINO gives zeros for an index outside", int64(&[0, 3, -4])),
        (softmax, "(Softmax): OpenVINO computes along `axis` only", numbers),
    ]
}

#[test]
fn nodes_that_openvino_computes_differently_are_refused_or_named() {
    if !is_alone("chip_numbers::nodes_that_openvino_computes_differently_are_refused_or_named") {
        return;
    }
    let Some(library) = openvino() else { return };
    for (model, reason) in refused() {
        let [cpu, chip] = both(&library, &model);
        cpu.unwrap_or_else(|error| panic!("{reason}: {error}"));
        let error = chip.map(|_| ()).expect_err(reason);
        assert!(error.contains("target `chip`: node `") && error.contains(reason), "{reason}: {error}");
        assert!(error.contains("Use another target for this model"), "{error}");
    }
    for (model, note, input) in named() {
        let [cpu, chip] = both(&library, &model).map(|model| model.unwrap_or_else(|error| panic!("{note}: {error}")));
        let notes = &chip.properties().differences;
        assert!(notes.iter().any(|found| found.contains(note)), "{note}: {notes:?}");
        assert!(cpu.properties().differences.is_empty(), "on the CPU nothing differs");
        let input = [input];
        chip.check_numbers(0, &input[0]).expect("accepted");
        let found = chip.run(&input).unwrap_or_else(|error| panic!("{note}: {error}")).remove(0).1;
        let is_different = match cpu.run(&input) {
            Ok(right) => right[0].1.dimensions == found.dimensions && right[0].1.data[..] != found.data[..],
            Err(_) => true,
        };
        assert!(is_different, "{note}: OpenVINO computes it as ONNX says; remove the note");
    }
    let plain = try_load(&library, device("openvino", None, Some("CPU"), &[]), &product("Sigmoid")).expect("loaded");
    assert_eq!(plain.properties().differences, Vec::<String>::new());
}

/// NaN would become a number, and infinities another one.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_openvino_loses_are_refused_by_request() {
    if !is_alone("chip_numbers::numbers_that_openvino_loses_are_refused_by_request") {
        return;
    }
    let Some(library) = openvino() else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("m.onnx");
    let rows = [None, Some(3)];
    let model = Onnx::new(13)
        .input("x", &rows)
        .node("Relu", &["x"], "r", &[])
        .node("Cast", &["r"], "i", &[("to", 7)])
        .node("Mul", &["i", "i"], "s", &[])
        .output("r", &rows)
        .int_output("s", &rows);
    std::fs::write(&file, model.bytes()).expect("written");
    let toml = format!(
        "[plugins.given-tensors]\nfile = {:?}\n[backends.onnxruntime]\nlibrary = {library:?}\nsessions = 1\n\
         [chips.ov]\nprovider = \"openvino\"\ndevice = \"CPU\"\n\
         [models.m]\nfile = {file:?}\nbackend = \"onnxruntime\"\ntarget = \"ov\"\n[pipelines.p]\nmodel = \"m\"\n\
         [pipelines.p.preprocess]\nplugin = \"given-tensors\"\n[pipelines.p.chips.c]\nplugin = \"infer-native\"\n\
         [pipelines.p.postprocess]\nplugin = \"tensors-postprocess\"\n",
        guest("given-tensors")
    );
    let server = Server::start(&toml).await;
    let listed = server.get("/v1/models").await.json()["models"][0].clone();
    let notes = listed["differences"].as_array().expect("a list");
    assert!(
        notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains("node `node_s` (Mul)"))),
        "{listed}"
    );
    let sent = |number: f32| {
        let bytes: Vec<u8> = [1.0, number, 3.0].iter().flat_map(|number: &f32| number.to_le_bytes()).collect();
        let parameters = json!({ "binary_data_size": bytes.len() });
        let input = json!({ "name": "x", "datatype": "FP32", "shape": [1, 3], "parameters": parameters });
        (json!({ "inputs": [input] }), bytes)
    };
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let (request, bytes) = sent(number);
        let reply = crate::oip_binary::post(&server, "p.infer", &request, &[&bytes]).await;
        assert_eq!(reply.status, 400, "{number}: {}", reply.text);
        assert!(reply.text.contains("OpenVINO loses NaN and infinities"), "{}", reply.text);
    }
    let (request, bytes) = sent(2.5);
    let reply = crate::oip_binary::post(&server, "p.infer", &request, &[&bytes]).await;
    assert_eq!((reply.status, &reply.json()["outputs"][0]["data"]), (200, &json!([1.0, 2.5, 3.0])), "{}", reply.text);
}

/// The same for a device of which nothing is known before: the comparison at admission sees that it loses NaN.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_seen_to_lose_nan_refuses_it() {
    let Some((library, plugin)) = ggml() else { return };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("m.onnx");
    std::fs::write(&file, product("Relu")).expect("written");
    let toml = format!(
        "[plugins.given-tensors]\nfile = {:?}\n[backends.onnxruntime]\nlibrary = {library:?}\nsessions = 1\n{}\
         [models.m]\nfile = {file:?}\nbackend = \"onnxruntime\"\ntarget = \"g\"\n[pipelines.p]\nmodel = \"m\"\n\
         [pipelines.p.preprocess]\nplugin = \"given-tensors\"\n[pipelines.p.chips.c]\nplugin = \"infer-native\"\n\
         [pipelines.p.postprocess]\nplugin = \"tensors-postprocess\"\n",
        guest("given-tensors"),
        plugin_table(&plugin, "")
    );
    let server = Server::start(&toml).await;
    let listed = server.get("/v1/models").await.json()["models"][0].clone();
    assert_eq!(listed["compared_with_cpu"]["keeps_not_finite"], json!(false), "{listed}");
    assert!(listed["differences"][0].as_str().is_some_and(|note| note.contains("NaN or infinities")), "{listed}");
    for (number, status) in [(f32::NAN, 400), (f32::INFINITY, 400), (0.5, 200)] {
        let bytes: Vec<u8> =
            (0..64).flat_map(|place| if place == 9 { number } else { 0.25_f32 }.to_le_bytes()).collect();
        let parameters = json!({ "binary_data_size": bytes.len() });
        let input = json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "parameters": parameters });
        let request = json!({ "inputs": [input] });
        let reply = crate::oip_binary::post(&server, "p.infer", &request, &[&bytes]).await;
        assert_eq!(reply.status, status, "{number}: {}", reply.text);
        assert_eq!(reply.text.contains("the device `g` loses NaN and infinities"), status == 400, "{}", reply.text);
    }
}
