//! The model of a step over gRPC.

use plimsoll::serve::grpc::inference::model_infer_request::InferInputTensor;
use plimsoll::serve::grpc::inference::{InferTensorContents, ModelInferRequest, ModelMetadataRequest};
use plimsoll_tests::{Server, TempDir};
use serde_json::json;

use crate::grpc_calls::client;
use crate::steps_pipelines::{GATHER, IN, body, config, sample};

#[tokio::test(flavor = "multi_thread")]
async fn the_model_of_a_step_answers_over_grpc_as_over_rest() {
    let folder = TempDir::new().expect("a folder");
    let split =
        r#"{ name = "split", kind = "transform", plugin = "transformer", items = true, config = { split = true } }"#;
    let model = r#"{ name = "model", kind = "infer", plugin = "infer-native", model = "m" }"#;
    let image = body(&[("image", &[1, 1, 8, 8], &[0.5; 64])]);
    let text = config(&sample(folder.path(), &image), &[IN, split, model, GATHER]);
    let server = Server::start(&format!("[models.m]\nfile = \"bundled:digits.onnx\"\n{text}")).await;
    let mut client = client(&server).await;

    let of = |name: &str| ModelMetadataRequest { name: name.into(), ..ModelMetadataRequest::default() };
    let metadata = client.model_metadata(of("p.model")).await.expect("a model").into_inner();
    assert_eq!((metadata.platform.as_str(), metadata.inputs[0].name.as_str()), ("plimsoll_infer", "image"));
    let values: Vec<f32> = (0..64_u8).map(|at| f32::from(at) / 64.0).collect();
    let contents = InferTensorContents { fp32_contents: values.clone(), ..InferTensorContents::default() };
    let input = InferInputTensor {
        name: "image".into(),
        datatype: "FP32".into(),
        shape: vec![1, 1, 8, 8],
        contents: Some(contents),
        ..InferInputTensor::default()
    };
    let request =
        ModelInferRequest { model_name: "p.model".into(), inputs: vec![input], ..ModelInferRequest::default() };
    let answer = client.model_infer(request).await.expect("outputs").into_inner();
    let contents = answer.outputs[0].contents.as_ref().map(|contents| contents.fp32_contents.clone());
    let found = contents.filter(|values| !values.is_empty()).unwrap_or_else(|| {
        let bytes = answer.raw_output_contents[0].chunks_exact(4);
        bytes.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
    });

    let input = json!({ "name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": values });
    let reply = server.infer_json("p.model", &json!({ "inputs": [input] })).await.json();
    let data = reply["outputs"][0]["data"].as_array().unwrap_or_else(|| panic!("{reply}"));
    let wanted: Vec<f32> = data.iter().map(|value| value.as_f64().expect("a number") as f32).collect();
    assert_eq!((found.len(), &found), (10, &wanted));
    assert_eq!(client.model_metadata(of("p.split")).await.expect_err("no model").code(), tonic::Code::NotFound);

    // Unloaded, the pipeline has the same models.
    let names = async || {
        let index = server.send("POST", "/v2/repository/index", &[], Vec::new()).await.json();
        let entries = index.as_array().expect("a list").iter();
        let entry = |entry: &serde_json::Value| (entry["name"].clone(), entry["state"].clone());
        entries.map(entry).collect::<Vec<_>>()
    };
    assert_eq!(names().await, [(json!("p"), json!("READY")), (json!("p.model"), json!("READY"))]);
    let unload = server.send("POST", "/v2/repository/models/p/unload", &[], Vec::new()).await;
    assert_eq!(unload.status, 200, "{}", unload.text);
    assert_eq!(names().await, [(json!("p"), json!("UNAVAILABLE")), (json!("p.model"), json!("UNAVAILABLE"))]);
    for (name, status) in [("p.model", 503), ("p.split", 404), ("p.infer", 404)] {
        let ready = server.get(&format!("/v2/models/{name}/ready")).await;
        assert_eq!(ready.status, status, "{name}: {}", ready.text);
    }
}
