//! Every element type on every backend: through each form of the Open Inference Protocol, through `wasi:nn`, and in
//! batches. `tests/conformance/test_triton_types.py` does the same with Triton's client.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use plimsoll::serve::grpc::inference::model_infer_request::InferInputTensor;
use plimsoll::serve::grpc::inference::*;
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, guest, shared};
use rten_onnx::onnx::DataType;
use serde_json::{Value, json};

use crate::batching::metric;
use crate::grpc_calls::client;
use crate::models::{config, examples, onnxruntime};
use crate::oip_binary::{parts, post};

/// For each datatype that a model declares: what it returns on rten, natively and in WebAssembly, or "" if the model is
/// rejected. rten computes FP16 as FP32, and INT64 and BOOL as INT32. On onnxruntime it is the same datatype.
const TABLE: [(&str, &str); 13] = [
    ("BOOL", "INT32"),
    ("UINT8", "UINT8"),
    ("UINT16", ""),
    ("UINT32", ""),
    ("UINT64", ""),
    ("INT8", "INT8"),
    ("INT16", ""),
    ("INT32", "INT32"),
    ("INT64", "INT32"),
    ("FP16", "FP32"),
    ("BF16", ""),
    ("FP32", "FP32"),
    ("FP64", ""),
];

/// A row of three numbers.
#[derive(Clone)]
struct Row {
    /// Its elements, little-endian.
    bytes: Vec<u8>,
    /// Its elements as FLOAT.
    floats: [f32; 3],
    /// Its elements in JSON; `None` if the type has no form there.
    json: Option<[Value; 3]>,
}

fn row<const N: usize>(bytes: [[u8; N]; 3], floats: [f32; 3], json: Option<[Value; 3]>) -> Row {
    Row { bytes: bytes.concat(), floats, json }
}

macro_rules! numbers {
    ($ty:ty, $a:expr, $b:expr, $c:expr) => {{
        let numbers: [$ty; 3] = [$a, $b, $c];
        let json = numbers.map(|number| json!(number));
        row(numbers.map(<$ty>::to_le_bytes), numbers.map(|number| number as f32), Some(json))
    }};
}

/// Two rows with the extreme numbers of a datatype. The bytes of FP16 and BF16 are those of numpy and `ml_dtypes`.
fn rows(datatype: &str) -> [Row; 2] {
    let half = |bytes: [u16; 3], floats| row(bytes.map(u16::to_le_bytes), floats, None);
    let bools = |numbers: [u8; 3]| {
        row(numbers.map(|it| [it]), numbers.map(f32::from), Some(numbers.map(|number| json!(number == 1))))
    };
    match datatype {
        "BOOL" => [bools([0, 1, 1]), bools([1, 0, 0])],
        "UINT8" => [numbers!(u8, 0, 255, 7), numbers!(u8, 1, 128, 2)],
        "UINT16" => [numbers!(u16, 0, u16::MAX, 258), numbers!(u16, 1, 0x8000, 2)],
        "UINT32" => [numbers!(u32, 0, u32::MAX, 16_777_217), numbers!(u32, 1, 1 << 31, 2)],
        "UINT64" => [numbers!(u64, 0, u64::MAX, 9_007_199_254_740_993), numbers!(u64, 1, 1 << 63, 2)],
        "INT8" => [numbers!(i8, -128, 127, -1), numbers!(i8, 1, -2, 3)],
        "INT16" => [numbers!(i16, i16::MIN, i16::MAX, -1), numbers!(i16, 1, -2, 300)],
        "INT32" => [numbers!(i32, i32::MIN, i32::MAX, -1), numbers!(i32, 1, -2, 16_777_217)],
        "INT64" => [numbers!(i64, i64::MIN, i64::MAX, 9_007_199_254_740_993), numbers!(i64, 1, -2, 1 << 40)],
        "FP16" => [
            half([0x3E00, 0xFBFF, 1], [1.5, -65504.0, 5.960_464_5e-8]),
            half([0xC000, 0, 0x3555], [-2.0, 0.0, 0.333_251_95]),
        ],
        "BF16" => [
            half([0x3FC0, 0xFF7F, 1], [1.5, -3.389_531_4e38, 9.183_55e-41]),
            half([0xC000, 0, 0x3EAB], [-2.0, 0.0, 0.333_984_38]),
        ],
        "FP32" => [numbers!(f32, 0.1, f32::MAX, -1e-45), numbers!(f32, -2.0, 0.0, 1e-10)],
        "FP64" => [numbers!(f64, 0.1, -1e30, 5e-324), numbers!(f64, -2.0, 0.0, 1e-10)],
        other => panic!("{other}"),
    }
}

/// The rows that rten can take: it computes 64-bit integers in 32 bits.
fn rows_on(backend: &str, datatype: &str) -> [Row; 2] {
    match (backend, datatype) {
        ("rten", "INT64") => [numbers!(i64, i32::MIN.into(), i32::MAX.into(), -1), numbers!(i64, 1, -2, 16_777_217)],
        _ => rows(datatype),
    }
}

fn element(datatype: &str) -> DataType {
    match datatype {
        "BOOL" => DataType::BOOL,
        "UINT8" => DataType::UINT8,
        "UINT16" => DataType::UINT16,
        "UINT32" => DataType::UINT32,
        "UINT64" => DataType::UINT64,
        "INT8" => DataType::INT8,
        "INT16" => DataType::INT16,
        "INT32" => DataType::INT32,
        "INT64" => DataType::INT64,
        "FP16" => DataType::FLOAT16,
        "BF16" => DataType::BFLOAT16,
        "FP32" => DataType::FLOAT,
        "FP64" => DataType::DOUBLE,
        other => panic!("{other}"),
    }
}

/// The type with which guests see a datatype.
fn seen(datatype: &str) -> &str {
    match datatype {
        "BOOL" => "UINT8",
        "INT8" | "INT16" | "UINT16" => "INT32",
        "UINT32" | "UINT64" => "INT64",
        other => other,
    }
}

/// A model whose outputs are `y`, the row twice in its own type, and `f`, the row in FLOAT.
fn model(backend: &str, datatype: &str) -> Vec<u8> {
    let ty = element(datatype);
    let model = Onnx::new(13).typed_input("x", &[None, Some(3)], ty);
    // Each has this type of node for every type that it has.
    let model = match backend {
        "rten" => model.ints("times", &[1, 2]).node("Tile", &["x", "times"], "y", &[]),
        _ => model.node("Concat", &["x", "x"], "y", &[("axis", 1)]),
    };
    model
        .node("Cast", &["x"], "f", &[("to", 1)])
        .typed_output("y", &[None, Some(6)], ty)
        .output("f", &[None, Some(3)])
        .bytes()
}

/// A configuration with one pipeline for each datatype, whose name is that of the datatype. `model` is added to each
/// model.
fn pipelines(folder: &Path, backend: &str, library: Option<&Path>, datatypes: &[&str], model: &str) -> String {
    let mut toml = format!("[plugins.given-tensors]\nfile = {:?}\n", guest("given-tensors"));
    if let Some(library) = library {
        write!(toml, "[backends.onnxruntime]\nlibrary = {library:?}\nsessions = 1\n").expect("text");
    }
    for name in datatypes {
        let file = folder.join(format!("{name}.onnx"));
        std::fs::write(&file, self::model(backend, name)).expect("written");
        write!(
            toml,
            "[models.{name}]\nfile = {file:?}\nbackend = \"{backend}\"\n{model}\n[pipelines.{name}]\nmodel = \"{name}\"\n\
             [pipelines.{name}.preprocess]\nplugin = \"given-tensors\"\n[pipelines.{name}.chips.c]\nplugin = \"infer-native\"\n\
             [pipelines.{name}.postprocess]\nplugin = \"tensors-postprocess\"\n"
        )
        .expect("text");
    }
    toml
}

/// A configuration with models of all datatypes.
pub(crate) fn all_on_onnxruntime(folder: &Path, library: &Path) -> String {
    pipelines(folder, "onnxruntime", Some(library), &TABLE.map(|(name, _)| name), "")
}

/// The elements that `y` must have: the row twice.
fn twice<T: Clone>(row: &[T]) -> Vec<T> {
    [row, row].concat()
}

/// Bytes of a row in the datatype that the model returns.
fn returned(row: &Row, sent: &str, returned: &str) -> Vec<u8> {
    match (sent, returned) {
        ("FP16", "FP32") => row.floats.iter().flat_map(|float| float.to_le_bytes()).collect(),
        ("BOOL", "INT32") => row.bytes.iter().flat_map(|&byte| i32::from(byte).to_le_bytes()).collect(),
        ("INT64", "INT32") => {
            let numbers = row.bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as i32);
            numbers.flat_map(i32::to_le_bytes).collect()
        }
        _ => row.bytes.clone(),
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// Checks metadata, REST and gRPC of one model.
async fn check_protocol(server: &Server, name: &str, backend: &str, wanted: &str) {
    let rows = rows_on(backend, name);
    let url = format!("{name}.infer");
    let metadata = server.get(&format!("/v2/models/{url}")).await.json();
    let config = server.get(&format!("/v2/models/{url}/config")).await.json();
    assert_eq!(metadata["outputs"][0]["datatype"], wanted, "{metadata}");
    // rten returns what it computes in, and takes that as well as the model's own type.
    assert_eq!(metadata["inputs"][0]["datatype"], wanted, "{metadata}");
    assert_eq!(config["input"][0]["data_type"], format!("TYPE_{wanted}"));
    let all: Vec<u8> = rows.iter().flat_map(|row| row.bytes.clone()).collect();
    let y: Vec<u8> = rows.iter().flat_map(|row| twice(&[returned(row, name, wanted)]).concat()).collect();
    let f: Vec<f32> = rows.iter().flat_map(|row| row.floats).collect();

    // REST, binary in both directions.
    let input =
        json!({ "name": "x", "shape": [2, 3], "datatype": name, "parameters": { "binary_data_size": all.len() } });
    let request = json!({ "parameters": { "binary_data_output": true }, "inputs": [input] });
    let (json, tail) = parts(&post(server, &url, &request, &[&all]).await);
    assert_eq!(
        (&json["outputs"][0]["datatype"], &json["outputs"][0]["shape"]),
        (&json!(wanted), &json!([2, 6])),
        "{name}"
    );
    assert_eq!(&tail[..y.len()], y, "{name}");
    assert_eq!(floats(&tail[y.len()..]), f, "{name}: the library reads the elements as this type");
    // REST, a body of nothing but the elements.
    if wanted == name {
        let header = [("inference-header-content-length", "0")];
        let (_, tail) = parts(&server.send("POST", &format!("/v2/models/{url}/infer"), &header, all.clone()).await);
        assert_eq!(&tail[..y.len()], y, "{name}");
    }
    // REST, JSON.
    let json: Option<Vec<Value>> =
        rows.iter().map(|row| row.json.clone()).collect::<Option<Vec<_>>>().map(|it| it.concat());
    let input = |data: Value| json!({ "inputs": [{ "name": "x", "shape": [2, 3], "datatype": name, "data": data }] });
    match json {
        Some(elements) => {
            let reply = server.infer_json(&url, &input(json!(elements))).await;
            assert_eq!(reply.status, 200, "{name}: {}", reply.text);
            let found = reply.json()["outputs"][0]["data"].clone();
            let expected: Vec<Value> = elements.chunks(3).flat_map(twice).collect();
            match (name, wanted) {
                ("BOOL", "INT32") => {
                    let numbers: Vec<_> = expected.iter().map(|it| u8::from(it == &json!(true))).collect();
                    assert_eq!(found, json!(numbers));
                }
                ("FP16" | "FP32", _) => {
                    let single = |it: &Value| it.as_f64().expect("a number") as f32;
                    let found: Vec<_> = found.as_array().expect("a list").iter().map(single).collect();
                    assert_eq!(found, expected.iter().map(single).collect::<Vec<_>>());
                }
                _ => assert_eq!(found, json!(expected), "{name}"),
            }
        }
        None => {
            let reply = server.infer_json(&url, &input(json!([1, 2, 3, 4, 5, 6]))).await;
            assert!(reply.status == 400 && reply.text.contains("has no JSON form"), "{}", reply.text);
        }
    }
    check_grpc(server, (name, wanted), &all, &y, &rows).await;
}

/// Checks raw and typed contents.
async fn check_grpc(server: &Server, (name, wanted): (&str, &str), all: &[u8], y: &[u8], rows: &[Row; 2]) {
    let mut client = client(server).await;
    let request = |contents, raw: Vec<Vec<u8>>| ModelInferRequest {
        model_name: format!("{name}.infer"),
        inputs: vec![InferInputTensor {
            name: "x".into(),
            datatype: name.into(),
            shape: vec![2, 3],
            parameters: HashMap::new(),
            contents,
        }],
        raw_input_contents: raw.into_iter().map(Into::into).collect(),
        ..ModelInferRequest::default()
    };
    let message = client.model_infer(request(None, vec![all.to_vec()])).await.expect("an answer").into_inner();
    assert_eq!((&*message.outputs[0].datatype, &message.raw_output_contents[0][..]), (wanted, y), "{name}");
    let metadata = ModelMetadataRequest { name: format!("{name}.infer"), version: String::new() };
    let metadata = client.model_metadata(metadata).await.expect("there").into_inner();
    assert_eq!((&*metadata.inputs[0].datatype, &*metadata.outputs[0].datatype), (wanted, wanted));

    let integers = || rows.iter().flat_map(|row| row.json.clone().expect("a JSON form"));
    let signed = || integers().map(|it| it.as_i64().expect("an integer"));
    let unsigned = || integers().map(|it| it.as_u64().expect("an integer"));
    let empty = InferTensorContents::default;
    let contents = match name {
        "BOOL" => InferTensorContents { bool_contents: all.iter().map(|byte| *byte == 1).collect(), ..empty() },
        "INT8" | "INT16" | "INT32" => {
            InferTensorContents { int_contents: signed().map(|it| it as i32).collect(), ..empty() }
        }
        "INT64" => InferTensorContents { int64_contents: signed().collect(), ..empty() },
        "UINT8" | "UINT16" | "UINT32" => {
            InferTensorContents { uint_contents: unsigned().map(|it| it as u32).collect(), ..empty() }
        }
        "UINT64" => InferTensorContents { uint64_contents: unsigned().collect(), ..empty() },
        "FP32" => InferTensorContents { fp32_contents: floats(all), ..empty() },
        "FP64" => {
            let doubles = all.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
            InferTensorContents { fp64_contents: doubles.collect(), ..empty() }
        }
        _ => {
            let status = client.model_infer(request(Some(empty()), Vec::new())).await.expect_err("no field");
            assert!(status.message().contains("send it in `raw_input_contents`"), "{status}");
            return;
        }
    };
    let message =
        client.model_infer(request(Some(contents.clone()), Vec::new())).await.expect("an answer").into_inner();
    assert_eq!(message.outputs[0].datatype, wanted);
    let found = message.outputs[0].contents.as_ref().expect("typed, like the request");
    if name == wanted {
        let expected = match name {
            "FP32" => found.fp32_contents[..3] == contents.fp32_contents[..3],
            "FP64" => found.fp64_contents[..3] == contents.fp64_contents[..3],
            "BOOL" => found.bool_contents[..3] == contents.bool_contents[..3],
            "UINT64" => found.uint64_contents[..3] == contents.uint64_contents[..3],
            "INT64" => found.int64_contents[..3] == contents.int64_contents[..3],
            "UINT8" | "UINT16" | "UINT32" => found.uint_contents[..3] == contents.uint_contents[..3],
            _ => found.int_contents[..3] == contents.int_contents[..3],
        };
        assert!(expected, "{name}: {found:?}");
    }
}

/// The name that the guest `given-tensors` has for a datatype.
fn guest_name(datatype: &str) -> &str {
    match datatype {
        "FP16" => "fp16",
        "BF16" => "bf16",
        "FP32" => "fp32",
        "FP64" => "fp64",
        "UINT8" => "u8",
        "INT32" => "i32",
        "INT64" => "i64",
        other => panic!("wasi:nn has no {other}"),
    }
}

/// The body for `given-tensors`.
fn body(datatype: &str, shape: [usize; 2], bytes: &[u8]) -> Vec<u8> {
    let tensor = json!({ "name": "x", "type": guest_name(datatype), "shape": shape });
    let text = json!({ "tensors": [tensor], "context": {} }).to_string();
    [&u32::try_from(text.len()).expect("short").to_le_bytes(), text.as_bytes(), bytes].concat()
}

/// A row as guests see it.
fn seen_bytes(row: &Row, datatype: &str) -> Vec<u8> {
    let integers = || row.json.as_ref().expect("a JSON form").iter();
    match (datatype, seen(datatype)) {
        ("BOOL", _) => row.bytes.clone(),
        (own, other) if own == other => row.bytes.clone(),
        (_, "INT32") => integers().flat_map(|it| (it.as_i64().expect("an integer") as i32).to_le_bytes()).collect(),
        _ => integers().flat_map(|it| it.as_i64().expect("it fits").to_le_bytes()).collect(),
    }
}

/// A guest makes the input and another one reads the output, both in the types of `wasi:nn`.
async fn check_guests(server: &Server, name: &str, backend: &str, wanted: &str) {
    let rows = rows_on(backend, name);
    // The second row of UINT64 has a number that no type of `wasi:nn` has.
    let row = if name == "UINT64" { numbers!(u64, 1, i64::MAX as u64, 2) } else { rows[1].clone() };
    let sent = body(seen(name), [1, 3], &seen_bytes(&row, name));
    let reply = server.infer(name, "", sent).await;
    assert_eq!(reply.status, 200, "{name}: {}", reply.text);
    let outputs = reply.json()["outputs"].clone();
    assert_eq!(outputs[0]["datatype"], seen(wanted), "{name}: {}", reply.text);
    let found = outputs[0]["data"].as_array().expect("a list");
    for (place, float) in found.iter().zip(twice(&row.floats)) {
        let found = place.as_f64().expect("a number") as f32;
        assert!(found == float || (found - float).abs() <= 1e-6 * float.abs(), "{name}: {found} instead of {float}");
    }
}

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
    if backend == "rten" {
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

/// A model with an input and an output of each type, because a guest with a model takes long to compile. The plugin sees
/// the types of `wasi:nn`.
#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_served_exactly_by_rten_in_wasm() {
    let types: Vec<_> = TABLE.iter().filter(|(_, on_rten)| !on_rten.is_empty()).collect();
    let mut model = Onnx::new(13).ints("times", &[1, 2]);
    for (name, _) in &types {
        let (x, y) = (format!("x{name}"), format!("y{name}"));
        model = model
            .typed_input(&x, &[None, Some(3)], element(name))
            .node("Tile", &[&x, "times"], &y, &[])
            .typed_output(&y, &[None, Some(6)], element(name));
    }
    let folder = TempDir::new().expect("a folder");
    let toml = pipelines(folder.path(), "rten", None, &["FP32"], "").replace("\"infer-native\"", "\"infer-wasm\"");
    std::fs::write(folder.path().join("FP32.onnx"), model.bytes()).expect("written");
    let server = Server::start(&toml).await;
    let row = |name: &str| rows_on("rten", name)[0].clone();
    let inputs: Vec<_> = types
        .iter()
        .map(|(name, _)| {
            let size = row(name).bytes.len();
            json!({ "name": format!("x{name}"), "shape": [1, 3], "datatype": name, "parameters": { "binary_data_size": size } })
        })
        .collect();
    let tails: Vec<_> = types.iter().map(|(name, _)| row(name).bytes).collect();
    let request = json!({ "parameters": { "binary_data_output": true }, "inputs": inputs });
    let tails: Vec<&[u8]> = tails.iter().map(Vec::as_slice).collect();
    let (json, mut tail) = parts(&post(&server, "FP32.infer", &request, &tails).await);
    for (output, (name, wanted)) in json["outputs"].as_array().expect("a list").iter().zip(&types) {
        assert_eq!((&output["name"], &output["datatype"]), (&json!(format!("y{name}")), &json!(wanted)));
        let expected = twice(&[returned(&row(name), name, wanted)]).concat();
        assert_eq!(tail.drain(..expected.len()).collect::<Vec<u8>>(), expected, "{name}");
    }
    assert!(tail.is_empty());
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

/// A number that the other type does not have is refused in both directions; nothing is rounded, wrapped or cut.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_a_type_does_not_have_are_refused_by_name() {
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let names = ["BOOL", "INT8", "UINT16", "UINT64", "FP16"];
    let toml = pipelines(folder.path(), "onnxruntime", Some(&library), &names, "");
    let server = Server::start(&toml).await;
    for (name, datatype, data, word) in [
        ("BOOL", "UINT8", json!([0, 2, 1]), "u8 is converted to bool, which does not have the number 2"),
        ("INT8", "INT32", json!([0, 128, 1]), "i32 is converted to i8, which does not have the number 128"),
        ("UINT16", "INT32", json!([0, -1, 1]), "i32 is converted to u16, which does not have the number -1"),
        ("UINT64", "INT64", json!([0, -1, 1]), "i64 is converted to u64, which does not have the number -1"),
        ("INT8", "UINT8", json!([0, 1, 1]), "i8 is expected, u8 was given"),
        ("INT8", "INT64", json!([0, 1, 1]), "i8 is expected, i64 was given"),
        ("FP16", "FP32", json!([0, 1, 1]), "fp16 is expected, fp32 was given"),
    ] {
        let input = json!({ "name": "x", "shape": [1, 3], "datatype": datatype, "data": data });
        let reply = server.infer_json(&format!("{name}.infer"), &json!({ "inputs": [input] })).await;
        assert_eq!((reply.status, &reply.json()["code"]), (400, &json!("tensor_mismatch")), "{}", reply.text);
        assert!(reply.text.contains(word) && reply.text.contains("input `x`"), "{name}: {}", reply.text);
        // The same from a preprocess plugin, whose fault it is.
        if word.contains("converted") {
            let size = match datatype {
                "UINT8" => 1,
                "INT32" => 4,
                _ => 8,
            };
            let numbers = data.as_array().expect("a list").iter().map(|it| it.as_i64().expect("a number"));
            let row: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()[..size].to_vec()).collect();
            let reply = server.infer(name, "", body(datatype, [1, 3], &row)).await;
            assert!(reply.status == 500 && reply.text.contains(word), "{name}: {}", reply.text);
        }
    }
    // A plugin that reads numbers which `wasi:nn` has no type for. The infer stage alone returns them.
    let large = numbers!(u64, 1, u64::MAX, 2);
    let input = json!({ "name": "x", "shape": [1, 3], "datatype": "UINT64", "data": large.json });
    let reply = server.infer_json("UINT64.infer", &json!({ "inputs": [input] })).await;
    assert_eq!(reply.json()["outputs"][0]["data"][1], u64::MAX, "{}", reply.text);
    server.stop().await;

    let file = folder.path().join("UINT64.onnx");
    let negated = Onnx::new(18)
        .typed_input("x", &[None, Some(3)], DataType::UINT64)
        .node("BitwiseNot", &["x"], "y", &[])
        .typed_output("y", &[None, Some(3)], DataType::UINT64)
        .bytes();
    let toml = pipelines(folder.path(), "onnxruntime", Some(&library), &["UINT64"], "");
    std::fs::write(&file, negated).expect("written");
    let server = Server::start(&toml).await;
    let reply = server.infer("UINT64", "", body("INT64", [1, 3], &[0; 24])).await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "tensor_mismatch"), "{}", reply.text);
    let word = "u64 is converted to i64, which does not have the number 18446744073709551615";
    assert!(reply.text.contains(word), "{}", reply.text);
    server.stop().await;
}

/// A plugin cannot make the host hold the wider elements of a tensor that do not fit into its memory.
#[tokio::test(flavor = "multi_thread")]
async fn the_wider_elements_of_a_tensor_count_against_the_memory_of_the_plugin() {
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let toml = pipelines(folder.path(), "onnxruntime", Some(&library), &["INT8"], "").replace(
        "plugin = \"tensors-postprocess\"",
        "plugin = \"tensors-postprocess\"\nconfig = { format = \"npz\" }\nmax_memory = \"32MiB\"",
    );
    let toml = toml.replace("plugin = \"given-tensors\"", "plugin = \"given-tensors\"\nmax_memory = \"256MiB\"");
    let large = Onnx::new(13)
        .typed_input("x", &[None, Some(3)], DataType::INT32)
        .node("Cast", &["x"], "y", &[("to", 3)])
        .typed_output("y", &[None, Some(3)], DataType::INT8)
        .bytes();
    std::fs::write(folder.path().join("INT8.onnx"), large).expect("written");
    let server = Server::start(&format!("[server]\nmax_body = \"64MiB\"\n{toml}")).await;
    let rows = 3 << 20;
    let reply = server.infer("INT8", "", body("INT32", [rows, 3], &vec![0; rows * 12])).await;
    assert_eq!(reply.code(), "memory_limit", "{}", reply.text);
    assert!(reply.text.contains("the elements of a tensor would need 37748736 bytes"), "{}", reply.text);
    server.stop().await;
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
