//! The types on rten in a guest. One model has an input and an output of each type, because a guest with a model takes long
//! to compile. The plugin sees the types of `wasi:nn`. FP16 has no field of gRPC, and a request has a field for each input or
//! none, so the tensors of gRPC are raw here; the host makes the same tensors of both.

use plimsoll::serve::grpc::inference::ModelInferRequest;
use plimsoll::serve::grpc::inference::model_infer_request::InferInputTensor;
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir};
use serde_json::{Value, json};

use super::datatypes::{Row, TABLE, element, returned, rows_on, twice};
use super::models::pipelines;
use crate::grpc_calls::client;
use crate::oip_binary::{parts, post};

fn row(name: &str) -> Row {
    rows_on("rten", name)[0].clone()
}

/// The server with a model of these types.
async fn serve(folder: &TempDir, types: &[(&str, &str)]) -> Server {
    let mut model = Onnx::new(13).ints("times", &[1, 2]);
    for (name, _) in types {
        let (x, y) = (format!("x{name}"), format!("y{name}"));
        model = model
            .typed_input(&x, &[None, Some(3)], element(name))
            .node("Tile", &[&x, "times"], &y, &[])
            .typed_output(&y, &[None, Some(6)], element(name));
    }
    let toml = pipelines(folder.path(), "rten", None, &["FP32"], "").replace("\"infer-native\"", "\"infer-wasm\"");
    std::fs::write(folder.path().join("FP32.onnx"), model.bytes()).expect("written");
    Server::start(&toml).await
}

/// The bytes of the output of a type.
fn expected(name: &str, wanted: &str) -> Vec<u8> {
    twice(&[returned(&row(name), name, wanted)]).concat()
}

fn check_tail(json: &Value, mut tail: Vec<u8>, types: &[(&str, &str)]) {
    for (output, (name, wanted)) in json["outputs"].as_array().expect("a list").iter().zip(types) {
        assert_eq!((&output["name"], &output["datatype"]), (&json!(format!("y{name}")), &json!(wanted)));
        let expected = expected(name, wanted);
        assert_eq!(tail.drain(..expected.len()).collect::<Vec<u8>>(), expected, "{name}");
    }
    assert!(tail.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_served_exactly_by_rten_in_wasm() {
    let types: Vec<_> = TABLE.into_iter().filter(|(_, on_rten)| !on_rten.is_empty()).collect();
    let folder = TempDir::new().expect("a folder");
    let server = serve(&folder, &types).await;
    let tails: Vec<_> = types.iter().map(|(name, _)| row(name).bytes).collect();
    let binary = |name: &str| json!({ "name": format!("x{name}"), "shape": [1, 3], "datatype": name, "parameters": { "binary_data_size": row(name).bytes.len() } });
    // REST, binary.
    let inputs: Vec<_> = types.iter().map(|(name, _)| binary(name)).collect();
    let sent = json!({ "parameters": { "binary_data_output": true }, "inputs": inputs });
    let slices: Vec<&[u8]> = tails.iter().map(Vec::as_slice).collect();
    let (json, tail) = parts(&post(&server, "FP32.infer", &sent, &slices).await);
    check_tail(&json, tail, &types);
    // REST, JSON; a type without a form in JSON is binary.
    let (mut inputs, mut slices): (Vec<Value>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    for ((name, _), tail) in types.iter().zip(&tails) {
        match row(name).json {
            Some(data) => {
                inputs.push(json!({ "name": format!("x{name}"), "shape": [1, 3], "datatype": name, "data": data }));
            }
            None => {
                inputs.push(binary(name));
                slices.push(tail);
            }
        }
    }
    assert_eq!(slices.len(), 1, "FP16");
    let sent = json!({ "parameters": { "binary_data_output": true }, "inputs": inputs });
    let (json, tail) = parts(&post(&server, "FP32.infer", &sent, &slices).await);
    check_tail(&json, tail, &types);
    // gRPC, raw.
    let mut grpc = client(&server).await;
    let input = |(name, _): &(&str, &str)| InferInputTensor {
        name: format!("x{name}"),
        datatype: (*name).into(),
        shape: vec![1, 3],
        ..InferInputTensor::default()
    };
    let raw = ModelInferRequest {
        model_name: "FP32.infer".into(),
        inputs: types.iter().map(input).collect(),
        raw_input_contents: tails.iter().map(|tail| tail.clone().into()).collect(),
        ..ModelInferRequest::default()
    };
    let message = grpc.model_infer(raw).await.expect("an answer").into_inner();
    for (at, (name, wanted)) in types.iter().enumerate() {
        let found = (&*message.outputs[at].datatype, &message.raw_output_contents[at][..]);
        assert_eq!(found, (*wanted, &expected(name, wanted)[..]), "{name}");
    }
    server.stop().await;
}
