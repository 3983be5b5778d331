//! Answers of the Open Inference Protocol that a real client would read wrongly, or could not read at all: tensors that are not
//! what their shape says, errors without a text or with a very long one, metadata that exceed the limit of gRPC.

use plimsoll::serve::grpc::inference::*;
use plimsoll_tests::onnx::Onnx;
use plimsoll_tests::{Server, TempDir, guest, guests_config};
use serde_json::{Value, json};
use tonic::Code;

use crate::grpc_calls::{Client, client, images, parameter, text};
use crate::oip_rest::{demo, echo, error};

fn numbers(data: &Value) -> Value {
    json!({ "id": "mine", "inputs": [{ "name": "x", "shape": [2], "datatype": "FP32", "data": data }] })
}

async fn only_answer(client: &mut Client, request: ModelInferRequest) -> ModelStreamInferResponse {
    let requests = tonic::codegen::tokio_stream::iter([request]);
    let mut answers = client.model_stream_infer(requests).await.expect("a stream").into_inner();
    answers.message().await.expect("an answer").expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_of_a_plugin_are_what_their_shapes_say() {
    let server = echo().await;
    for (what, words) in
        [("short", "shape [2] of fp32 needs 8 bytes, the tensor holds 7"), ("twice", "two tensors `x`")]
    {
        let reply = server
            .send(
                "POST",
                &format!("/v2/models/p.infer/infer?infer={what}"),
                &[],
                numbers(&json!([1, 2])).to_string().into(),
            )
            .await;
        let (status, code, found) = error(&reply);
        assert_eq!((status, code.as_str()), (500, "internal"), "{what}: {found}");
        assert!(found.contains(words), "{what}: {found}");
        // The same within a pipeline: what postprocessing would read is not passed on.
        let reply = server.infer("p", &format!("?infer={what}"), "body").await;
        assert_eq!((reply.status, reply.code().as_str()), (500, "internal"), "{what}: {}", reply.text);
    }
    server.stop().await;
}

/// That the name is right was checked before the run, so the caller is not to blame.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_the_plugin_leaves_out_is_the_error_of_the_plugin() {
    let folder = TempDir::new().expect("a folder");
    let model = folder.path().join("m.onnx");
    let shape = &[Some(2)];
    let bytes = Onnx::new(13).input("x", shape).node("Identity", &["x"], "y", &[]).output("y", shape).bytes();
    std::fs::write(&model, bytes).expect("written");
    let server = Server::start(&format!(
        "[plugins.echo]\nfile = {:?}\n[plugins.pre]\nfile = {:?}\n[plugins.post]\nfile = {:?}\n[models.m]\nfile = {model:?}\n\
         [pipelines.p.preprocess]\nplugin = \"pre\"\n[pipelines.p.chips.default]\nplugin = \"echo\"\nmodel = \"m\"\n\
         [pipelines.p.postprocess]\nplugin = \"post\"\n",
        guest("echo-infer"),
        guest("tester"),
        guest("echo-postprocess")
    ))
    .await;
    let mut request = numbers(&json!([1, 2]));
    request["outputs"] = json!([{ "name": "y" }]);
    let (status, code, found) = error(&server.infer_json("p.infer", &request).await);
    assert_eq!((status, code.as_str()), (500, "internal"), "{found}");
    assert!(found.contains("left out the output `y`"), "{found}");
    server.stop().await;
}

/// Clients of the stream take an empty message for success.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_without_a_text_is_no_success() {
    let server = echo().await;
    let mut client = client(&server).await;
    let blank = images("p", &[b"x"], &[("infer", text("blank"))]);
    let answer = only_answer(&mut client, blank).await;
    assert_eq!(answer.error_message, "the plugin gave no reason");
    assert_eq!(answer.infer_response.map(|response| response.id), Some("mine".to_owned()));
    let (_, _, found) = error(
        &server
            .infer_json("p.infer", &{
                let mut request = numbers(&json!([1, 2]));
                request["parameters"] = json!({ "infer": "blank" });
                request
            })
            .await,
    );
    assert!(found.contains("the plugin gave no reason"), "{found}");
    server.stop().await;
}

/// A character that cannot be printed takes three bytes in the one encoding and eight in the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_of_control_characters_does_not_lose_the_error() {
    let server = echo().await;
    let mut client = client(&server).await;
    let failed = client.model_infer(images("p", &[b"x"], &[("infer", text("control"))])).await.expect_err("a failure");
    assert_eq!(failed.code(), Code::InvalidArgument, "{failed}");
    let problem = failed.metadata().get_bin("plimsoll-problem-bin").expect("the problem");
    let encoded = 3 * failed.message().len() + problem.as_encoded_bytes().len();
    assert!((1..6 << 10).contains(&encoded), "{encoded} bytes");
    server.stop().await;
}

/// Clients of gRPC refuse answers with more than 8 KiB of metadata.
#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_many_steps_fit() {
    let steps: String = (0..98)
        .map(|number| {
            format!("{{ name = \"a-long-name-of-a-step-{number:02}\", kind = \"infer\", plugin = \"infer\" }},\n")
        })
        .collect();
    let server = Server::start(&format!(
        "[plugins.pre]\nfile = {:?}\n[plugins.infer]\nfile = {:?}\n[plugins.post]\nfile = {:?}\n[pipelines.p]\ndeadline = \
         \"60s\"\nsteps = [\n{{ name = \"in\", kind = \"preprocess\", plugin = \"pre\" }},\n{steps}{{ name = \"out\", kind = \
         \"postprocess\", plugin = \"post\" }}]\n",
        guest("noop-preprocess"),
        guest("noop-infer"),
        guest("noop-postprocess")
    ))
    .await;
    let mut client = client(&server).await;
    let answer = client.model_infer(images("p", &[b"x"], &[])).await.expect("an answer");
    let bytes: usize = answer
        .metadata()
        .iter()
        .map(|pair| match pair {
            tonic::metadata::KeyAndValueRef::Ascii(name, value) => name.as_str().len() + value.len() + 32,
            tonic::metadata::KeyAndValueRef::Binary(name, value) => {
                name.as_str().len() + value.as_encoded_bytes().len() + 32
            }
        })
        .sum();
    assert!(bytes < 6 << 10, "{bytes} bytes");
    let memory = answer.metadata().get("x-plimsoll-memory").expect("the marks").to_str().expect("text").to_owned();
    let left_out = memory.rsplit_once(", +").and_then(|(_, number)| number.parse::<usize>().ok()).expect("a number");
    assert_eq!(memory.split(", ").count() - 1 + left_out, 100, "{memory}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_in_a_tensor_keeps_the_id_of_the_request() {
    let server = echo().await;
    let reply = server.infer_json("p.infer", &numbers(&json!([1]))).await;
    assert_eq!((reply.status, &reply.headers["x-request-id"]), (400, &"mine".parse().expect("text")), "{}", reply.text);
    server.stop().await;
}

/// A parameter that has no effect where it stands would silently change what the request means.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_would_have_no_effect_are_refused() {
    let server = echo().await;
    for (query, words) in [
        ("timeout=1000", "send it in the `parameters` of the body"),
        ("partial=true", "send it in the `parameters` of the body"),
        ("binary_data_output=true", "send it in the `parameters` of the body"),
        ("given=1", "is in the query and in the body"),
    ] {
        let mut request = numbers(&json!([1, 2]));
        request["parameters"] = json!({ "given": "2" });
        let path = format!("/v2/models/p.infer/infer?{query}");
        let (status, code, found) = error(&server.send("POST", &path, &[], request.to_string().into()).await);
        assert_eq!((status, code.as_str()), (400, "invalid_parameter"), "{query}: {found}");
        assert!(found.contains(words), "{query}: {found}");
    }
    // This integer does not fit 64 bits; as a float it would be another number.
    let body = r#"{"inputs": [], "parameters": {"key": 18446744073709551617}}"#;
    let (status, _, found) = error(&server.send("POST", "/v2/models/p.infer/infer", &[], body.into()).await);
    assert!(status == 400 && found.contains("send it as a string"), "{found}");
    let doubled = [("inference-header-content-length", "2"), ("inference-header-content-length", "3")];
    let (status, _, found) = error(&server.send("POST", "/v2/models/p.infer/infer", &doubled, b"{}x".to_vec()).await);
    assert!(status == 400 && found.contains("is given twice"), "{found}");
    server.stop().await;
}

/// The output has the shape of the input, whatever the number of its dimensions.
#[tokio::test(flavor = "multi_thread")]
async fn replies_to_images_have_the_shape_of_the_images() {
    let server = Server::start(&guests_config("tester", "")).await;
    let mut client = client(&server).await;
    let mut request =
        images("p", &[b"a", b"b"], &[("partial", parameter(infer_parameter::ParameterChoice::BoolParam(true)))]);
    request.inputs[0].shape = vec![2, 1];
    let outputs = client.model_infer(request).await.expect("an answer").into_inner().outputs;
    assert_eq!(outputs.iter().map(|output| output.shape.clone()).collect::<Vec<_>>(), [vec![2, 1], vec![2, 1]]);
    server.stop().await;
    // A chip whose name is no text is not the default chip.
    let server = demo().await;
    let reply = server.send("POST", "/v2/models/digits/infer", &[("x-plimsoll-chip", "\u{e9}")], b"{}".to_vec()).await;
    assert_ne!(reply.status, 200);
    server.stop().await;
}
