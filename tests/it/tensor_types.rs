//! Every element type on every backend: through each form of the Open Inference Protocol, through `wasi:nn`, and in
//! batches. `tests/conformance/test_triton_types.py` does the same with Triton's client.

mod conversions;
mod datatypes;
mod guests;
mod models;
mod protocol;
mod type_table;
mod wasm;

use std::path::Path;
use std::sync::Arc;

use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, is_alone, shared};
use rten_onnx::onnx::DataType;
use serde_json::json;

use self::datatypes::{TABLE, floats, rows, twice};
use self::guests::check_guests;
pub(crate) use self::models::all_on_onnxruntime;
use self::models::pipelines;
use self::protocol::check_protocol;
use crate::batching::metric;
use crate::chips::openvino;
use crate::models::{config, examples, onnxruntime};
use crate::oip_binary::{parts, post};

async fn check_backend(backend: &str, library: Option<&Path>) {
    let folder = TempDir::new().expect("a folder");
    let returned = |(name, on_rten): (&'static str, &'static str)| match backend {
        "rten" => (name, on_rten),
        _ => (name, name),
    };
    let table = TABLE.map(returned);
    let accepted: Vec<_> = table.iter().filter(|(_, returned)| !returned.is_empty()).collect();
    let names: Vec<_> = accepted.iter().map(|(name, _)| *name).collect();
    let server = Server::start(&pipelines(folder.path(), backend, library, &names, "")).await;
    for (name, returned) in accepted {
        check_protocol(&server, name, backend, returned).await;
        check_guests(&server, name, backend, returned).await;
    }
    if backend != "onnxruntime" {
        let data = json!([1, 1_u64 << 31, 2]);
        let input = json!({ "name": "x", "shape": [1, 3], "datatype": "INT64", "data": data });
        let reply = server.infer_json("INT64.infer", &json!({ "inputs": [input] })).await;
        assert!(reply.status == 400 && reply.text.contains("2147483648 is too large"), "{}", reply.text);
    }
    server.stop().await;
    for (name, _) in table.iter().filter(|(_, returned)| returned.is_empty()) {
        let error = Server::rejection(&pipelines(folder.path(), backend, library, &[name], "")).await;
        assert!(error.contains("input `x`") && error.contains(element_name(name)), "{name}: {error}");
        assert!(error.contains("use the backend `onnxruntime`"), "{name}: {error}");
    }
}

/// ONNX's name.
fn element_name(datatype: &str) -> &str {
    match datatype {
        "BF16" => "BFLOAT16",
        "FP64" => "DOUBLE",
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_served_exactly_by_onnxruntime() {
    let Some(library) = onnxruntime() else { return };
    check_backend("onnxruntime", Some(&library)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_served_exactly_or_rejected_by_rten() {
    check_backend("rten", None).await;
}

/// Each type goes to the device and back, where OpenVINO takes it, and else to the part on the processor.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_served_exactly_by_openvino() {
    if !is_alone("tensor_types::every_type_is_served_exactly_by_openvino") {
        return;
    }
    let Some(library) = openvino() else { return };
    check_backend("openvino", Some(&library)).await;
    // Strings stay on the processor, and what is computed beside them goes to the device.
    let folder = TempDir::new().expect("a folder");
    let toml = pipelines(folder.path(), "openvino", Some(&library), &["FP32"], "");
    let identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0];
    let model = Onnx::new(13)
        .typed_input("words", &[None], DataType::STRING)
        .input("x", &[None, Some(3)])
        .floats("identity", &[3, 3], &identity)
        .node("Identity", &["words"], "text", &[])
        .node("MatMul", &["x", "identity"], "a", &[])
        .node("MatMul", &["a", "identity"], "b", &[])
        .node("Concat", &["b", "x"], "y", &[("axis", 1)])
        .typed_output("text", &[None], DataType::STRING)
        .output("y", &[None, Some(6)]);
    std::fs::write(folder.path().join("FP32.onnx"), model.bytes()).expect("written");
    let server = Server::start(&toml).await;
    let words = json!({ "name": "words", "shape": [2], "datatype": "BYTES", "data": ["two words", "Ärger"] });
    let x = json!({ "name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1.5, -2.0, 0.25] });
    let reply = server.infer_json("FP32.infer", &json!({ "inputs": [words, x] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["outputs"][0]["data"], json!(["two words", "Ärger"]));
    assert_eq!(reply.json()["outputs"][1]["data"], json!([1.5, -2.0, 0.25, 1.5, -2.0, 0.25]));
    server.stop().await;
}

/// Rows of several callers share a run, and each caller gets its own. The check of the rows at admission reads every type.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_every_type_are_batched_and_padded() {
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let names: Vec<_> = TABLE.iter().map(|(name, _)| *name).collect();
    let model = "max_batch = 8\nmax_delay = \"300ms\"\nbatch_sizes = [1, 4, 8]";
    let toml = pipelines(folder.path(), "onnxruntime", Some(&library), &names, model);
    let server = Arc::new(Server::start(&toml).await);
    for name in names {
        let requests: Vec<_> = (0..6)
            .map(|index| {
                let (server, row) = (Arc::clone(&server), rows(name)[index % 2].clone());
                tokio::spawn(async move {
                    let size = row.bytes.len();
                    let input = json!({ "name": "x", "shape": [1, 3], "datatype": name, "parameters": { "binary_data_size": size } });
                    let request = json!({ "parameters": { "binary_data_output": true }, "inputs": [input] });
                    let (json, tail) = parts(&post(&server, &format!("{name}.infer"), &request, &[&row.bytes]).await);
                    assert_eq!(json["outputs"][0]["shape"], json!([1, 6]), "{name}");
                    assert_eq!(&tail[..size * 2], twice(std::slice::from_ref(&row.bytes)).concat(), "{name}");
                    assert_eq!(floats(&tail[size * 2..]), row.floats, "{name}");
                })
            })
            .collect();
        for request in requests {
            request.await.expect("no panic");
        }
        let text = server.get("/metrics").await.text;
        let batches = metric(&text, &format!("plimsoll_model_batch_rows_count{{model=\"{name}\"}}"));
        let rows = metric(&text, &format!("plimsoll_model_batch_rows_sum{{model=\"{name}\"}}"));
        assert!(rows >= 6.0 && batches < rows, "{name}: {rows} rows in {batches} batches");
    }
}

/// Quantised models (QDQ) with 8-bit inputs and outputs. The scales are powers of two, so the numbers are exact.
#[tokio::test(flavor = "multi_thread")]
async fn a_quantised_model_takes_and_returns_8_bit_integers() {
    let folder = TempDir::new().expect("a folder");
    let bytes = Onnx::new(13)
        .typed_input("x", &[None, Some(3)], DataType::INT8)
        .floats("x_scale", &[], &[0.5])
        .typed("x_zero", &[], DataType::INT8, &[2])
        .typed("w", &[3, 6], DataType::INT8, &(1..=18).collect::<Vec<u8>>())
        .floats("w_scale", &[], &[0.25])
        .typed("w_zero", &[], DataType::INT8, &[0])
        .floats("y_scale", &[], &[2.0])
        .typed("y_zero", &[], DataType::INT8, &[256_u16.wrapping_sub(3) as u8])
        .node("DequantizeLinear", &["x", "x_scale", "x_zero"], "x_float", &[])
        .node("DequantizeLinear", &["w", "w_scale", "w_zero"], "w_float", &[])
        .node("MatMul", &["x_float", "w_float"], "product", &[])
        .node("QuantizeLinear", &["product", "y_scale", "y_zero"], "y", &[])
        .typed_output("y", &[None, Some(6)], DataType::INT8)
        .bytes();
    let row: [i8; 3] = [127, -128, 2];
    let expected: Vec<i32> = (0..6)
        .map(|column| {
            let product: f64 = (0..3)
                .map(|place| (f64::from(row[place]) - 2.0) * 0.5 * f64::from(place as u8 * 6 + column + 1) * 0.25)
                .sum();
            ((product / 2.0).round_ties_even() - 3.0).clamp(-128.0, 127.0) as i32
        })
        .collect();
    for backend in ["onnxruntime", "rten"] {
        let library = onnxruntime();
        if backend == "onnxruntime" && library.is_none() {
            continue;
        }
        let toml = pipelines(folder.path(), backend, library.as_deref(), &["INT8"], "");
        std::fs::write(folder.path().join("INT8.onnx"), &bytes).expect("written");
        let server = Server::start(&toml).await;
        let input = json!({ "name": "x", "shape": [1, 3], "datatype": "INT8", "data": row });
        let reply = server.infer_json("INT8.infer", &json!({ "inputs": [input] })).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let output = reply.json()["outputs"][0].clone();
        assert_eq!((&output["datatype"], &output["data"]), (&json!("INT8"), &json!(expected)), "{backend}");
        server.stop().await;
    }
}

/// SqueezeNet in FP16, from the picture to the label.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_fp16_finds_the_same_as_in_fp32() {
    let Some(models) = shared("models") else { return };
    for (backend, library) in [("onnxruntime", onnxruntime()), ("rten", None)] {
        if backend == "onnxruntime" && library.is_none() {
            continue;
        }
        // `infer-wasm` takes long to compile, and is tested above.
        let toml = config(&models, backend, library.as_deref())
            .replace("squeezenet-1.0/model.onnx", "squeezenet-1.0/model_fp16.onnx")
            .replace("channels = \"bgr\"", "channels = \"bgr\", dtype = \"f16\"")
            .replace("[pipelines.faces.chips.wasm]\nplugin = \"infer-wasm\"\n", "")
            .replace("[pipelines.things.chips.wasm]\nplugin = \"infer-wasm\"\n", "");
        let server = Server::start(&toml).await;
        let datatype = if backend == "rten" { "FP32" } else { "FP16" };
        assert_eq!(server.get("/v2/models/things.infer").await.json()["outputs"][0]["datatype"], datatype);
        // One picture on rten, which is slow without optimisation.
        let pictures = if backend == "rten" { 1 } else { 3 };
        for (expected, image) in examples(&models.join("squeezenet-1.0")).into_iter().take(pictures) {
            let reply = server.infer("things", "", image).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
            let (best, wanted) = (&reply.json()["predictions"][0], &expected["top5"][0]);
            assert_eq!(best["label"], wanted["label"], "{backend}: {}", reply.text);
        }
        server.stop().await;
    }
}
