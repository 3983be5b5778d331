//! The Open Inference Protocol: metadata, and each form of a request and of its answer over REST and gRPC.

use std::collections::HashMap;

use plimsoll::serve::grpc::inference::model_infer_request::InferInputTensor;
use plimsoll::serve::grpc::inference::*;
use plimsoll_tests::Server;
use serde_json::{Value, json};

use super::datatypes::{Row, floats, returned, rows_on, twice};
use crate::grpc_calls::client;
use crate::oip_binary::{parts, post};

/// Checks metadata, REST and gRPC of one model.
pub(super) async fn check_protocol(server: &Server, name: &str, backend: &str, wanted: &str) {
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
    let binary =
        json!({ "name": "x", "shape": [2, 3], "datatype": name, "parameters": { "binary_data_size": all.len() } });
    let request = json!({ "parameters": { "binary_data_output": true }, "inputs": [binary] });
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
            // The model declares an output that would need one, so it does not run.
            if wanted == name {
                let runs = async || {
                    let report = server.get("/v1/memory").await.json();
                    let stages = report["stages"].as_array().expect("rows").clone();
                    let of = stages.into_iter().filter(|stage| stage["pipeline"] == name && stage["stage"] == "infer");
                    of.map(|stage| stage["count"].as_u64().unwrap_or_else(|| panic!("{stage}"))).sum::<u64>()
                };
                let before = runs().await;
                let reply = post(server, &url, &json!({ "inputs": [binary] }), &[&all]).await;
                assert!(reply.status == 400 && reply.text.contains("request it with `binary_data`"), "{}", reply.text);
                assert_eq!(runs().await, before, "{name}");
            }
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
