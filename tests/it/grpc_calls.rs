//! The Open Inference Protocol over gRPC: metadata, inference with raw and typed contents, status codes, streams.

use std::collections::HashMap;

use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll::serve::grpc::inference::infer_parameter::ParameterChoice;
use plimsoll::serve::grpc::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use plimsoll::serve::grpc::inference::*;
use plimsoll_tests::{Server, guests_config};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::oip_rest::{demo, digit, echo, label};

pub(crate) type Client = GrpcInferenceServiceClient<Channel>;

pub(crate) async fn channel(url: &str) -> Channel {
    Endpoint::from_shared(url.to_owned()).expect("an address").connect().await.expect("connected")
}

pub(crate) async fn client(server: &Server) -> Client {
    GrpcInferenceServiceClient::new(channel(&server.grpc_url).await)
}

pub(crate) fn parameter(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

pub(crate) fn text(value: &str) -> InferParameter {
    parameter(ParameterChoice::StringParam(value.into()))
}

/// A request with images as typed contents.
pub(crate) fn images(model: &str, images: &[&[u8]], parameters: &[(&str, InferParameter)]) -> ModelInferRequest {
    let contents = InferTensorContents {
        bytes_contents: images.iter().map(|image| image.to_vec().into()).collect(),
        ..InferTensorContents::default()
    };
    ModelInferRequest {
        model_name: model.into(),
        id: "mine".into(),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        inputs: vec![InferInputTensor {
            name: "image".into(),
            datatype: "BYTES".into(),
            shape: vec![images.len() as i64],
            parameters: HashMap::new(),
            contents: Some(contents),
        }],
        ..ModelInferRequest::default()
    }
}

fn tensor(datatype: &str, contents: Option<InferTensorContents>) -> InferInputTensor {
    InferInputTensor {
        name: "x".into(),
        datatype: datatype.into(),
        shape: vec![2],
        parameters: HashMap::new(),
        contents,
    }
}

/// The problem that a status carries.
pub(crate) fn problem(status: &Status) -> serde_json::Value {
    let problem = status.metadata().get_bin("plimsoll-problem-bin");
    let problem = problem.unwrap_or_else(|| panic!("no problem: {status:?}")).to_bytes().expect("bytes");
    serde_json::from_slice(&problem).expect("JSON")
}

pub(crate) fn assert_status<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, word: &str) {
    let status = answer.expect_err("an error status");
    assert!(status.code() == code && status.message().contains(word), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_metadata_names_server_models_versions_and_tensors() {
    let server = demo().await;
    let mut client = client(&server).await;
    assert!(client.server_live(ServerLiveRequest {}).await.expect("live").into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.expect("ready").into_inner().ready);
    let metadata = client.server_metadata(ServerMetadataRequest {}).await.expect("metadata").into_inner();
    assert_eq!(metadata.name, "plimsoll");
    assert!(metadata.extensions.contains(&"statistics".to_owned()));
    let named = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    let of = |(name, version): (String, String)| ModelMetadataRequest { name, version };
    let model = client.model_metadata(of(named("digits", ""))).await.expect("there").into_inner();
    assert_eq!((&*model.inputs[0].name, &*model.inputs[0].datatype), ("image", "BYTES"));
    // REST and gRPC return the same metadata.
    let rest = server.get("/v2/models/digits.infer").await.json();
    let infer = client.model_metadata(of(named("digits.infer", &model.versions[0]))).await.expect("there").into_inner();
    assert_eq!(infer.inputs[0].name, rest["inputs"][0]["name"].as_str().expect("a name"));
    assert_eq!(infer.inputs[0].shape.len(), rest["inputs"][0]["shape"].as_array().expect("a shape").len());
    let ready = |(name, version): (String, String)| ModelReadyRequest { name, version };
    assert!(client.model_ready(ready(named("digits", ""))).await.expect("there").into_inner().ready);
    for (name, version) in [("ghost", ""), ("digits", "7"), ("digits.ghost", "")] {
        let reply = client.model_ready(ready(named(name, version))).await.expect("an answer");
        assert!(!reply.into_inner().ready, "{name} {version}");
    }
    assert_status(client.model_metadata(of(named("digits", "7"))).await, Code::NotFound, &model.versions[0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_infers_from_typed_and_raw_contents() {
    let server = demo().await;
    let mut client = client(&server).await;
    let (seven, three) = (digit("7.jpg"), digit("3.jpg"));
    let answer = client.model_infer(images("digits", &[&seven, &three], &[])).await.expect("an answer");
    let metadata = answer.metadata().clone();
    let message = answer.into_inner();
    assert_eq!((&*message.id, &*message.model_name), ("mine", "digits"));
    let contents = &message.outputs[0].contents.as_ref().expect("typed, like the request").bytes_contents;
    let labels: Vec<_> = contents.iter().map(|reply| label(std::str::from_utf8(reply).expect("text"))).collect();
    assert_eq!(labels, ["7", "3"]);
    assert_eq!(metadata.get("x-request-id").expect("an id"), "mine");
    assert!(metadata.get("x-plimsoll-memory").expect("marks").to_str().expect("text").contains("postprocess="));

    let mut raw = images("digits", &[&seven], &[("chip", text("wasm"))]);
    raw.inputs[0].contents = None;
    raw.raw_input_contents = vec![[&(seven.len() as u32).to_le_bytes(), seven.as_slice()].concat().into()];
    let answer = client.model_infer(raw.clone()).await.expect("an answer");
    assert_eq!(answer.metadata().get("x-plimsoll-chip").expect("a chip"), "wasm");
    let message = answer.into_inner();
    assert!(message.outputs[0].contents.is_none());
    assert_eq!(label(std::str::from_utf8(&message.raw_output_contents[0][4..]).expect("text")), "7");

    raw.inputs[0].contents = images("digits", &[&seven], &[]).inputs[0].contents.clone();
    assert_status(client.model_infer(raw.clone()).await, Code::InvalidArgument, "both `contents`");
    raw.inputs[0].contents = None;
    raw.raw_input_contents.clear();
    assert_status(client.model_infer(raw).await, Code::InvalidArgument, "0 `raw_input_contents`");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_every_datatype_uses_its_field_of_the_contents() {
    let server = echo().await;
    let mut client = client(&server).await;
    let contents = InferTensorContents::default;
    for (datatype, given) in [
        ("BOOL", InferTensorContents { bool_contents: vec![true, false], ..contents() }),
        ("INT8", InferTensorContents { int_contents: vec![-128, 127], ..contents() }),
        ("INT16", InferTensorContents { int_contents: vec![-32768, 5], ..contents() }),
        ("INT32", InferTensorContents { int_contents: vec![i32::MIN, 5], ..contents() }),
        ("INT64", InferTensorContents { int64_contents: vec![i64::MIN, 5], ..contents() }),
        ("UINT8", InferTensorContents { uint_contents: vec![255, 5], ..contents() }),
        ("UINT16", InferTensorContents { uint_contents: vec![65535, 5], ..contents() }),
        ("UINT32", InferTensorContents { uint_contents: vec![u32::MAX, 5], ..contents() }),
        ("UINT64", InferTensorContents { uint64_contents: vec![u64::MAX, 9_007_199_254_740_993], ..contents() }),
        ("FP32", InferTensorContents { fp32_contents: vec![0.5, -1.5], ..contents() }),
        ("FP64", InferTensorContents { fp64_contents: vec![0.1, -1.5], ..contents() }),
    ] {
        let request = ModelInferRequest {
            model_name: "p.infer".into(),
            inputs: vec![tensor(datatype, Some(given.clone()))],
            ..ModelInferRequest::default()
        };
        let message =
            client.model_infer(request).await.unwrap_or_else(|status| panic!("{datatype}: {status}")).into_inner();
        assert_eq!(message.outputs[0].datatype, datatype);
        let found = message.outputs[0].contents.as_ref().expect("typed");
        assert_eq!(*found, given, "{datatype}");
    }
    for (datatype, given, word) in [
        ("INT8", InferTensorContents { int_contents: vec![128, 0], ..contents() }, "range for INT8"),
        ("UINT16", InferTensorContents { uint_contents: vec![65536, 0], ..contents() }, "range for UINT16"),
        ("FP32", InferTensorContents { fp32_contents: vec![0.5], ..contents() }, "has 1"),
        ("FP32", InferTensorContents { fp64_contents: vec![0.5, 0.5], ..contents() }, "are in `fp32_contents`"),
        (
            "FP32",
            InferTensorContents { fp32_contents: vec![0.5, 0.5], int_contents: vec![7], ..contents() },
            "`int_contents` has elements",
        ),
        ("FP16", InferTensorContents { fp32_contents: vec![0.5, 0.5], ..contents() }, "`raw_input_contents`"),
    ] {
        let inputs = vec![tensor(datatype, Some(given))];
        let request = ModelInferRequest { model_name: "p.infer".into(), inputs, ..ModelInferRequest::default() };
        assert_status(client.model_infer(request).await, Code::InvalidArgument, word);
    }
    for datatype in ["FP16", "BF16"] {
        let request = ModelInferRequest {
            model_name: "p.infer".into(),
            inputs: vec![tensor(datatype, None)],
            outputs: vec![InferRequestedOutputTensor { name: "x".into(), parameters: HashMap::new() }],
            raw_input_contents: vec![vec![1, 2, 3, 4].into()],
            ..ModelInferRequest::default()
        };
        let message = client.model_infer(request).await.expect("an answer").into_inner();
        assert_eq!((&*message.outputs[0].datatype, &message.raw_output_contents[0][..]), (datatype, &[1, 2, 3, 4][..]));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_status_codes_match_the_table_in_the_documentation() {
    let server = Server::start(&guests_config("tester", "max_memory = \"32MiB\"")).await;
    let mut client = client(&server).await;
    let table =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../host/docs/protocol.md")).expect("there");
    for (what, code, word) in [
        ("unsupported", Code::InvalidArgument, "unsupported_media_type"),
        ("invalid", Code::InvalidArgument, "invalid_input"),
        ("large", Code::ResourceExhausted, "too_large"),
        ("grow", Code::ResourceExhausted, "memory_limit"),
        ("internal", Code::Internal, "internal"),
        ("panic", Code::Internal, "trap"),
    ] {
        let status =
            client.model_infer(images("p", &[b"x"], &[("do", text(what))])).await.expect_err("an error status");
        assert_eq!(status.code(), code, "{what}: {status:?}");
        let problem = problem(&status);
        assert_eq!((&problem["code"], &problem["plugin"]), (&word.into(), &"tester".into()));
        let name = format!("{code:?}");
        let row = table.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{word}`")));
        let named = row.unwrap_or_else(|| panic!("no row for {word}")).replace('_', "").to_lowercase();
        assert!(named.contains(&name.to_lowercase()), "{word}: {row:?} does not name {name}");
    }
    assert_status(client.model_infer(images("ghost", &[b"x"], &[])).await, Code::NotFound, "there is no model `ghost`");
    assert_status(
        client.model_infer(images("p", &[b"x"], &[("chip", text("abacus"))])).await,
        Code::NotFound,
        "abacus",
    );
    let partial = ("partial", parameter(ParameterChoice::BoolParam(true)));
    let message = client.model_infer(images("p", &[b"x"], &[("do", text("invalid")), partial])).await.expect("partial");
    let errors = &message.into_inner().outputs[1];
    assert_eq!(errors.name, "errors");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_streams_reply_in_order_and_continue_after_errors() {
    let server = demo().await;
    let mut client = client(&server).await;
    let requests = ["4.png", "none", "7.jpg"].map(|name| {
        let image = if name == "none" { b"no image".to_vec() } else { digit(name) };
        // As Triton has it: the parameter is for the stream, and no stage sees it.
        let asks = parameter(ParameterChoice::BoolParam(name != "7.jpg"));
        let request = images("digits", &[&image], &[("triton_enable_empty_final_response", asks)]);
        ModelInferRequest { id: name.into(), ..request }
    });
    let mut answers =
        client.model_stream_infer(tonic::codegen::tokio_stream::iter(requests)).await.expect("a stream").into_inner();
    let mut found = Vec::new();
    while let Some(answer) = answers.message().await.expect("no error ends the stream") {
        let response = answer.infer_response.expect("a response with an id");
        let label = response.outputs.first().map(|output| {
            label(std::str::from_utf8(&output.contents.as_ref().expect("typed").bytes_contents[0]).expect("text"))
        });
        assert_eq!(label.is_none(), !answer.error_message.is_empty());
        let is_final = response.parameters.get("triton_final_response").cloned();
        let wanted = (response.id != "7.jpg").then(|| parameter(ParameterChoice::BoolParam(true)));
        assert_eq!(is_final, wanted, "{}", response.id);
        found.push((response.id, label));
    }
    let wanted = [("4.png", Some("4")), ("none", None), ("7.jpg", Some("7"))];
    assert_eq!(found, wanted.map(|(id, label)| (id.to_owned(), label.map(str::to_owned))));
    server.stop().await;
}
