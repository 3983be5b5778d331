//! Models that take and return strings, on onnxruntime: through each form of the Open Inference Protocol. A plugin passes
//! strings on, but cannot read them, because `wasi:nn` has no type for them.

use std::fmt::Write as _;
use std::path::Path;

use plimsoll::serve::grpc::inference::model_infer_request::InferInputTensor;
use plimsoll::serve::grpc::inference::{InferTensorContents, ModelInferRequest};
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, guest};
use rten_onnx::onnx::DataType;
use serde_json::{Value, json};

use crate::grpc_calls::client;
use crate::models::onnxruntime;
use crate::oip_binary::{parts, post};

/// Strings of all kinds: empty, with spaces, with characters of several bytes.
const TEXTS: [&str; 3] = ["", "two words", "Ärger \u{1F6A2}"];

/// The binary form of strings.
fn binary(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()).collect()
}

fn identity() -> Onnx {
    let any = [None];
    Onnx::new(18).typed_input("x", &any, DataType::STRING).node("Identity", &["x"], "y", &[]).typed_output(
        "y",
        &any,
        DataType::STRING,
    )
}

/// Upper case, without the word "monday".
fn normalizer() -> Onnx {
    Onnx::new(18)
        .typed_input("x", &[None], DataType::STRING)
        .node("StringNormalizer", &["x"], "y", &[("is_case_sensitive", 1)])
        // The default, "en_US", is not on every machine.
        .with_texts(&[("case_change_action", "UPPER"), ("locale", "C")])
        .with_text_lists(&[("stopwords", &["monday"])])
        .typed_output("y", &[None], DataType::STRING)
}

/// Words to their numbers, and numbers to their words.
fn encoder() -> Onnx {
    Onnx::new(18)
        .import("ai.onnx.ml", 3)
        .typed_input("words", &[None], DataType::STRING)
        .int_input("numbers", &[None])
        .node("LabelEncoder", &["words"], "of_words", &[("default_int64", -1)])
        .with_domain("ai.onnx.ml")
        .with_text_lists(&[("keys_strings", &["cat", "dog"])])
        .with_lists(&[("values_int64s", &[3, 7])])
        .node("LabelEncoder", &["numbers"], "of_numbers", &[])
        .with_domain("ai.onnx.ml")
        .with_texts(&[("default_string", "nothing")])
        .with_lists(&[("keys_int64s", &[3, 7])])
        .with_text_lists(&[("values_strings", &["cat", "dog"])])
        .int_output("of_words", &[None])
        .typed_output("of_numbers", &[None], DataType::STRING)
}

/// A pipeline for each model. `model` is added to each model.
fn pipelines(folder: &Path, library: Option<&Path>, models: &[(&str, Onnx)], model: &str) -> String {
    let mut toml = format!("[plugins.given-tensors]\nfile = {:?}\n", guest("given-tensors"));
    if let Some(library) = library {
        write!(toml, "[backends.onnxruntime]\nlibrary = {library:?}\n").expect("text");
    }
    let backend = if library.is_some() { "onnxruntime" } else { "rten" };
    for (name, onnx) in models {
        let file = folder.join(format!("{name}.onnx"));
        std::fs::write(&file, onnx.bytes()).expect("written");
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

fn strings(name: &str, texts: &[&str]) -> Value {
    json!({ "name": name, "shape": [texts.len()], "datatype": "BYTES", "data": texts })
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_are_served_exactly_in_each_form_of_the_protocol() {
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let server = Server::start(&pipelines(folder.path(), Some(&library), &[("identity", identity())], "")).await;
    let metadata = server.get("/v2/models/identity.infer").await.json();
    assert_eq!(
        (&metadata["inputs"][0]["datatype"], &metadata["outputs"][0]["datatype"]),
        (&json!("BYTES"), &json!("BYTES"))
    );
    let config = server.get("/v2/models/identity.infer/config").await.json();
    assert_eq!(config["input"][0]["data_type"], "TYPE_STRING");

    let reply = server.infer_json("identity.infer", &json!({ "inputs": [strings("x", &TEXTS)] })).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["outputs"][0], json!({ "name": "y", "shape": [3], "datatype": "BYTES", "data": TEXTS }));
    let nothing = server.infer_json("identity.infer", &json!({ "inputs": [strings("x", &[])] })).await;
    assert_eq!((nothing.status, &nothing.json()["outputs"][0]["data"]), (200, &json!([])), "{}", nothing.text);

    let bytes = binary(&TEXTS);
    let size = json!({ "binary_data_size": bytes.len() });
    let input = json!({ "name": "x", "shape": [3], "datatype": "BYTES", "parameters": size });
    let request = json!({ "parameters": { "binary_data_output": true }, "inputs": [input] });
    let (json, tail) = parts(&post(&server, "identity.infer", &request, &[&bytes]).await);
    assert_eq!((&json["outputs"][0]["datatype"], tail), (&json!("BYTES"), bytes.clone()));

    let mut client = client(&server).await;
    let request = |contents, raw: Vec<Vec<u8>>| ModelInferRequest {
        model_name: "identity.infer".into(),
        inputs: vec![InferInputTensor {
            name: "x".into(),
            datatype: "BYTES".into(),
            shape: vec![3],
            contents,
            ..InferInputTensor::default()
        }],
        raw_input_contents: raw.into_iter().map(Into::into).collect(),
        ..ModelInferRequest::default()
    };
    let message = client.model_infer(request(None, vec![bytes.clone()])).await.expect("an answer").into_inner();
    assert_eq!((&*message.outputs[0].datatype, &message.raw_output_contents[0][..]), ("BYTES", &bytes[..]));
    let typed: Vec<_> = TEXTS.iter().map(|text| text.as_bytes().to_vec().into()).collect();
    let contents = InferTensorContents { bytes_contents: typed, ..InferTensorContents::default() };
    let message =
        client.model_infer(request(Some(contents.clone()), Vec::new())).await.expect("an answer").into_inner();
    assert_eq!(message.outputs[0].contents.as_ref().expect("typed").bytes_contents, contents.bytes_contents);
    server.stop().await;
}

/// The answers are those of ONNX's own documentation of the operators; `onnx_conformance.rs` runs its tests.
#[tokio::test(flavor = "multi_thread")]
async fn operators_of_strings_are_computed() {
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let models = [("normalizer", normalizer()), ("encoder", encoder())];
    let server = Server::start(&pipelines(folder.path(), Some(&library), &models, "")).await;
    let inputs = json!({ "inputs": [strings("x", &["monday", "tuesday", "wednesday"])] });
    let reply = server.infer_json("normalizer.infer", &inputs).await;
    assert_eq!(reply.json()["outputs"][0]["data"], json!(["TUESDAY", "WEDNESDAY"]), "{}", reply.text);
    let numbers = json!({ "name": "numbers", "shape": [2], "datatype": "INT64", "data": [7, 9] });
    let inputs = json!({ "inputs": [strings("words", &["dog", "cow", "cat"]), numbers] });
    let reply = server.infer_json("encoder.infer", &inputs).await;
    let outputs = reply.json()["outputs"].clone();
    assert_eq!(
        (&outputs[0]["data"], &outputs[1]["data"]),
        (&json!([7, -1, 3]), &json!(["dog", "nothing"])),
        "{}",
        reply.text
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_with_strings_is_refused_with_its_reason() {
    let Some(library) = onnxruntime() else { return };
    let folder = TempDir::new().expect("a folder");
    let models = [("identity", identity())];
    let error = Server::rejection(&pipelines(folder.path(), Some(&library), &models, "max_batch = 4")).await;
    assert!(error.contains("input `x` has strings") && error.contains("remove `max_batch`"), "{error}");
    let error = Server::rejection(&pipelines(folder.path(), None, &models, "")).await;
    assert!(error.contains("input `x`") && error.contains("use the backend `onnxruntime`"), "{error}");

    let server = Server::start(&pipelines(folder.path(), Some(&library), &models, "")).await;
    let numbers = json!({ "name": "x", "shape": [1], "datatype": "UINT8", "data": [7] });
    for (input, word) in [
        (strings("x", &["good", "a\0b"]), "string 1 has the character NUL"),
        (numbers, "bytes is expected, u8 was given"),
        (json!({ "name": "x", "shape": [2], "datatype": "BYTES", "data": ["one"] }), "the shape has 2 elements"),
        (
            json!({ "name": "x", "shape": [1], "datatype": "BYTES", "data": ["/w=="],
                    "parameters": { "content_type": "base64" } }),
            "string 0 is not UTF-8",
        ),
    ] {
        let reply = server.infer_json("identity.infer", &json!({ "inputs": [input] })).await;
        assert!(reply.status == 400 && reply.text.contains(word), "{word}: {} {}", reply.status, reply.text);
    }
    let header = [("inference-header-content-length", "0")];
    let reply = server.send("POST", "/v2/models/identity.infer/infer", &header, binary(&["a"])).await;
    assert!(reply.status == 400 && reply.text.contains("has strings; send JSON"), "{}", reply.text);
    // A preprocess plugin can make no strings.
    let text = json!({ "tensors": [{ "name": "x", "type": "u8", "shape": [1] }], "context": {} }).to_string();
    let body = [&(text.len() as u32).to_le_bytes(), text.as_bytes(), &[7]].concat();
    let reply = server.infer("identity", "", body).await;
    assert!(reply.status == 500 && reply.text.contains("bytes is expected, u8 was given"), "{}", reply.text);
    server.stop().await;

    // A postprocess plugin reads them.
    let words = Onnx::new(18)
        .import("ai.onnx.ml", 3)
        .int_input("x", &[None])
        .node("LabelEncoder", &["x"], "y", &[])
        .with_domain("ai.onnx.ml")
        .with_lists(&[("keys_int64s", &[3])])
        .with_text_lists(&[("values_strings", &["cat"])])
        .typed_output("y", &[None], DataType::STRING);
    let server = Server::start(&pipelines(folder.path(), Some(&library), &[("words", words)], "")).await;
    let text = json!({ "tensors": [{ "name": "x", "type": "i64", "shape": [1] }], "context": {} }).to_string();
    let body = [&(text.len() as u32).to_le_bytes()[..], text.as_bytes(), &3_i64.to_le_bytes()].concat();
    let reply = server.infer("words", "", body).await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "tensor_mismatch"), "{}", reply.text);
    assert!(reply.text.contains("reads a tensor of strings, for which `wasi:nn` has no type"), "{}", reply.text);
    server.stop().await;
}
