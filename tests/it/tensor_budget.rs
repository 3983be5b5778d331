//! Tensors that take more memory than their bytes in the request count against `server.body_budget`, too.

use std::fmt::Write as _;
use std::pin::Pin;
use std::time::{Duration, Instant};

use plimsoll::serve::grpc::inference::model_infer_request::InferInputTensor;
use plimsoll::serve::grpc::inference::{InferTensorContents, ModelInferRequest};
use plimsoll_tests::{Reply, Server, guests_config};
use tonic::{Code, Status};

use crate::grpc_calls::client;

/// A call that is not answered yet.
type Call = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

const INFER: &str = "/v2/models/p.infer/infer";

async fn server(budget: &str) -> Server {
    server_that_waits(budget, "0s").await
}

async fn server_that_waits(budget: &str, wait: &str) -> Server {
    let limits = format!("[server]\nmax_body = \"1MiB\"\nbody_budget = \"{budget}\"\nbudget_wait = \"{wait}\"\n");
    Server::start(&format!("{limits}{}", guests_config("tester", ""))).await
}

/// A request with inputs of `count` equal elements each.
fn request(datatype: &str, element: &str, count: usize, inputs: usize) -> Vec<u8> {
    let data = vec![element; count].join(",");
    let mut text = String::from("{\"inputs\":[");
    for index in 0..inputs {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}{{\"name\":\"x{index}\",\"datatype\":\"{datatype}\",\"shape\":[{count}],\"data\":[{data}]}}"
        );
    }
    text.push_str("]}");
    text.into_bytes()
}

/// The code of an error in the protocol's form.
fn code(reply: &Reply) -> String {
    reply.json()["code"].as_str().unwrap_or_else(|| panic!("no code in {}", reply.text)).to_owned()
}

/// A request of gRPC with `count` numbers in their typed field. They take sixteen times their bytes while they are decoded.
fn numbers(count: usize) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "p.infer".into(),
        inputs: vec![InferInputTensor {
            name: "x".into(),
            datatype: "INT64".into(),
            shape: vec![count as i64],
            contents: Some(InferTensorContents { int64_contents: vec![7; count], ..Default::default() }),
            ..Default::default()
        }],
        ..Default::default()
    }
}

async fn infer(server: &Server, body: Vec<u8>) -> Reply {
    server.send("POST", INFER, &[], body).await
}

/// Runs `check` while another request holds 700 KiB of the budget.
async fn while_another_runs(server: &Server, check: impl AsyncFnOnce()) {
    let slow = server.infer("p", "?do=sleep&ms=60000", vec![0; 700 << 10]);
    let check = async {
        let until = Instant::now() + Duration::from_secs(60);
        while server.app.runtime.pool_usage().expect("a pool").component_instances == 0 {
            assert!(Instant::now() < until, "the first request does not run");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        check().await;
    };
    tokio::select! {
        reply = slow => panic!("it still sleeps: {}", reply.text),
        () = check => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_json_count_as_they_are_in_memory() {
    let server = server("1MiB").await;
    // 160,000 bytes of JSON, which become 640,000 bytes.
    let numbers = || request("INT64", "7", 80_000, 1);
    let alone = infer(&server, numbers()).await;
    assert_eq!(alone.status, 200, "{}", alone.text);
    while_another_runs(&server, async || {
        let reply = infer(&server, numbers()).await;
        assert_eq!((reply.status, code(&reply).as_str()), (503, "overloaded"), "{}", reply.text);
        assert!(reply.text.contains("server.body_budget"), "{}", reply.text);
        assert!(reply.headers.contains_key("retry-after"));
        // As many bytes of JSON that become fewer bytes, and a small request.
        for small in [request("INT8", "7", 80_000, 1), request("INT64", "7", 10, 1)] {
            let reply = infer(&server, small).await;
            assert_eq!(reply.status, 200, "{}", reply.text);
        }
    })
    .await;
    // The bytes are released.
    let until = Instant::now() + Duration::from_secs(10);
    while infer(&server, numbers()).await.status != 200 {
        assert!(Instant::now() < until, "the bytes are not released");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_strings_that_need_more_than_the_budget_are_refused() {
    let server = server("4MiB").await;
    // One mebibyte of JSON, which becomes more than eight.
    let reply = infer(&server, request("BYTES", "\"\"", 65_000, 5)).await;
    assert_eq!((reply.status, code(&reply).as_str()), (413, "too_large"), "{}", reply.text);
    assert!(reply.text.contains("server.body_budget"), "{}", reply.text);
    // The binary form of an empty string has four bytes.
    let json = "{\"inputs\":[".to_owned()
        + &(0..4)
            .map(|index| {
                format!(
                    "{{\"name\":\"x{index}\",\"datatype\":\"BYTES\",\"shape\":[60000],\
                     \"parameters\":{{\"binary_data_size\":240000}}}}"
                )
            })
            .collect::<Vec<_>>()
            .join(",")
        + "]}";
    let mut body = json.clone().into_bytes();
    body.resize(json.len() + 960_000, 0);
    let length = json.len().to_string();
    let reply = server.send("POST", INFER, &[("inference-header-content-length", &length)], body).await;
    assert_eq!(reply.status, 413, "{}", reply.text);
    // An honest list of strings is read: the plugin takes no strings, which is another error.
    let reply = infer(&server, request("BYTES", "\"word\"", 10_000, 1)).await;
    assert!(reply.status < 500 && reply.text.contains("BYTES"), "{}: {}", reply.status, reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_json_bodies_at_once_are_answered_or_refused() {
    let server = std::sync::Arc::new(server("2MiB").await);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..24 {
        let server = std::sync::Arc::clone(&server);
        tasks.spawn(async move { infer(&server, request("INT64", "7", 80_000, 1)).await });
    }
    while let Some(reply) = tasks.join_next().await {
        let reply = reply.expect("no panic");
        assert!([200, 503].contains(&reply.status), "{}: {}", reply.status, reply.text);
        assert!(reply.status == 200 || reply.text.contains("budget"), "{}", reply.text);
    }
    // All of the budget is free again: a body that needs most of it is answered.
    let reply = infer(&server, request("INT64", "7", 130_000, 1)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_contents_of_grpc_count_as_they_are_in_memory() {
    let server = server("1MiB").await;
    let mut client = client(&server).await;
    client.model_infer(numbers(1_000)).await.expect("it fits");
    // 200,000 bytes of varints, which become 1,600,000 bytes. They are refused before they are decoded.
    let status = client.model_infer(numbers(200_000)).await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("server.body_budget"), "{status:?}");
    let stream = tonic::codegen::tokio_stream::iter([numbers(200_000)]);
    let refused = match client.model_stream_infer(stream).await {
        Ok(answers) => answers.into_inner().message().await.expect_err("too large"),
        Err(status) => status,
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    while_another_runs(&server, async || {
        let status = client.clone().model_infer(numbers(40_000)).await.expect_err("the budget is used up");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        client.clone().model_infer(numbers(100)).await.expect("a small one fits");
    })
    .await;
    client.model_infer(numbers(1_000)).await.expect("an answer");
}

/// Inputs of one element each, with `count` parameters each. `last` is one more parameter of the last input.
fn with_parameters(inputs: usize, count: usize, last: &str) -> Vec<u8> {
    let parameters: Vec<_> = (0..count).map(|index| format!("\"p{index}\":1")).collect();
    let parameters = parameters.join(",");
    let input = |index: usize| {
        let last = if index + 1 == inputs { last } else { "" };
        format!(
            "{{\"name\":\"x{index}\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1],\
             \"parameters\":{{{parameters}{last}}}}}"
        )
    };
    let inputs: Vec<_> = (0..inputs).map(input).collect();
    format!("{{\"inputs\":[{}]}}", inputs.join(",")).into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_json_count_before_they_are_parsed() {
    let server = server("4MiB").await;
    let reply = infer(&server, with_parameters(1, 200, "")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let not_valid = ",\"nested\":{\"a\":1}";
    let reply = infer(&server, with_parameters(2, 200, not_valid)).await;
    assert_eq!((reply.status, code(&reply).as_str()), (400, "invalid_input"), "{}", reply.text);
    assert!(reply.text.contains("input `x1`: its parameters are not valid"), "{}", reply.text);
    // 80,000 parameters in less than one mebibyte. The last one is not valid, which only a parser finds.
    let body = with_parameters(400, 200, not_valid);
    assert!(body.len() < 1 << 20, "{}", body.len());
    let reply = infer(&server, body).await;
    assert_eq!((reply.status, code(&reply).as_str()), (413, "too_large"), "{}", reply.text);
    assert!(reply.text.contains("server.body_budget"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_typed_messages_of_grpc_wait_until_the_budget_has_room() {
    let server = server_that_waits("1MiB", "60s").await;
    let client = client(&server).await;
    let alone = {
        let mut client = client.clone();
        async move { client.model_infer(numbers(40_000)).await.map(drop) }
    };
    let in_a_stream = {
        let mut client = client.clone();
        async move {
            let stream = tonic::codegen::tokio_stream::iter([numbers(40_000), numbers(10)]);
            let mut answers = client.model_stream_infer(stream).await?.into_inner();
            for _ in 0..2 {
                let answer = answers.message().await?.expect("an answer to each message");
                assert_eq!(answer.error_message, "");
            }
            Ok(())
        }
    };
    let calls: [Call; 2] = [Box::pin(alone), Box::pin(in_a_stream)];
    for call in calls {
        let mut waiting = None;
        while_another_runs(&server, async || {
            let mut call = tokio::spawn(call);
            // Without a wait, it is refused long before.
            let answered = tokio::time::timeout(Duration::from_millis(500), &mut call).await;
            assert!(answered.is_err(), "the budget is spent, but: {answered:?}");
            waiting = Some(call);
        })
        .await;
        let answered = waiting.expect("it was sent").await.expect("no panic");
        answered.expect("the budget has room again");
    }
}
