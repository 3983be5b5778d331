//! gRPC calls that are refused before they reach a service: requests that are not gRPC calls, messages that cannot be
//! decoded, methods that the address does not serve, and more streams than are allowed.

use std::time::Duration;

use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll::serve::grpc::inference::*;
use plimsoll_tests::{Server, guests_config};
use reqwest::{Method, Response};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::grpc_calls::{assert_status, channel, client, images};

const SERVICE: &str = "/inference.GRPCInferenceService";
const GRPC: &str = "application/grpc";

async fn send(server: &Server, method: Method, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Response {
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let request = client.request(method, format!("{}{path}", server.grpc_url)).body(body);
    let request = content_type.into_iter().fold(request, |request, value| request.header("content-type", value));
    request.send().await.expect("an answer")
}

fn header<'a>(reply: &'a Response, name: &str) -> &'a str {
    reply.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_call_of_grpc_is_refused_as_http() {
    let shared = Server::start(&guests_config("tester", "")).await;
    let separate =
        Server::start(&format!("[server]\ngrpc_listen = \"127.0.0.1:0\"\n{}", guests_config("tester", ""))).await;
    for server in [&shared, &separate] {
        for path in [&*format!("{SERVICE}/ModelInfer"), "/grpc.health.v1.Health/Check"] {
            for method in [Method::GET, Method::PUT, Method::DELETE] {
                let reply = send(server, method.clone(), path, None, Vec::new()).await;
                assert_eq!((reply.status().as_u16(), header(&reply, "allow")), (405, "POST"), "{method} {path}");
                assert!(reply.text().await.expect("text").contains("method_not_allowed"));
            }
            for content_type in [None, Some("application/json"), Some("application/grpc-web")] {
                let reply = send(server, Method::POST, path, content_type, b"{}".to_vec()).await;
                assert_eq!(reply.status(), 415, "{content_type:?} {path}");
                assert!(reply.text().await.expect("text").contains("application/grpc"));
            }
            // A call of gRPC has an answer of gRPC.
            for content_type in [GRPC, "application/grpc+proto", "application/grpc; a=b"] {
                let reply = send(server, Method::POST, path, Some(content_type), vec![0; 5]).await;
                assert_eq!((reply.status().as_u16(), header(&reply, "content-type")), (200, GRPC), "{content_type}");
            }
        }
    }
}

/// A message with its prefix.
fn framed(flag: u8, length: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("short").to_be_bytes();
    [&[flag][..], &length, bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_cannot_be_decoded_are_the_clients_error() {
    let server = Server::start(&guests_config("tester", "")).await;
    // A field 1 whose text is not UTF-8, and one of another wire type.
    let (not_text, not_a_text) = ([0x0A, 2, 0xFF, 0xFE], [0x08, 1]);
    for (method, body, words) in [
        ("ModelInfer", framed(0, 4, &not_text), "decode"),
        ("ModelInfer", framed(0, 2, &not_a_text), "decode"),
        ("ModelInfer", framed(0, 1, &[0x07]), "not a valid message"),
        ("ModelReady", framed(0, 4, &not_text), "decode"),
        ("ModelReady", framed(0, 2, &not_a_text), "decode"),
        ("ModelReady", framed(0, 1, &[0x07]), "decode"),
        ("RepositoryIndex", framed(0, 2, &not_a_text), "decode"),
        ("ModelReady", framed(7, 0, &[]), "compression flag 7"),
        ("ModelReady", framed(0, 9, &[0x0A]), "ended after 1 of 9 bytes"),
        ("ModelInfer", vec![0, 0, 0], "ended after 3 of 5 bytes"),
        ("ModelInfer", Vec::new(), "has no message"),
        ("ModelInfer", framed(0, 0, &[]).repeat(2), "more than one message"),
        ("ServerLive", framed(0, 0, &[]).repeat(2), "more than one message"),
        // What follows the message is the start of another one.
        ("ServerLive", [framed(0, 0, &[]), vec![0]].concat(), "more than one message"),
        ("ModelReady", [framed(0, 3, &[0x0A, 1, b'p']).repeat(2)].concat(), "more than one message"),
    ] {
        let reply = send(&server, Method::POST, &format!("{SERVICE}/{method}"), Some(GRPC), body).await;
        assert_eq!(reply.status(), 200, "{method} {words}");
        let message = header(&reply, "grpc-message").replace("%20", " ");
        assert_eq!(header(&reply, "grpc-status"), "3", "{method}: {message}");
        assert!(message.contains(words), "{method}: {message:?} instead of {words:?}");
    }
    // Empty messages are fine.
    client(&server).await.server_live(ServerLiveRequest {}).await.expect("an answer");
    let mut none = client(&server).await;
    let stream = none.model_stream_infer(futures_util::stream::empty()).await.expect("a stream").into_inner();
    assert_eq!(futures_util::StreamExt::count(stream).await, 0);
}

/// The service of gRPC itself would answer the first message and drop the second one without a word.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_message_of_a_call_that_takes_one_is_refused_and_nothing_runs() {
    let server = Server::start(&guests_config("tester", "")).await;
    let mut raw = tonic::client::Grpc::new(channel(&server.grpc_url).await);
    raw.ready().await.expect("a connection");
    let path = format!("{SERVICE}/ModelInfer").parse::<tonic::codegen::http::uri::PathAndQuery>().expect("a path");
    let codec = || tonic_prost::ProstCodec::<ModelInferRequest, ModelInferResponse>::default();
    // The second message arrives some time after the first.
    let late = futures_util::stream::unfold(0, async |sent| {
        if sent == 1 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        (sent < 2).then(|| (images("p", &[b"x"], &[]), sent + 1))
    });
    let at_once = futures_util::stream::iter([images("p", &[b"x"], &[]), images("p", &[b"x"], &[])]);
    let answer = raw.client_streaming(tonic::Request::new(late), path.clone(), codec()).await;
    assert_status(answer, Code::InvalidArgument, "more than one message");
    raw.ready().await.expect("the connection stays open");
    let answer = raw.client_streaming(tonic::Request::new(at_once), path, codec()).await;
    assert_status(answer, Code::InvalidArgument, "more than one message");
    assert!(server.memory_row("preprocess", "ok").await.is_none(), "a message of a refused call was handled");
    let answer =
        send(&server, Method::POST, "/grpc.health.v1.Health/Check", Some(GRPC), framed(0, 0, &[]).repeat(2)).await;
    assert_eq!(header(&answer, "grpc-status"), "3");
    client(&server).await.model_infer(images("p", &[b"x"], &[])).await.expect("an answer");
}

/// A stream whose second message has a name that is not UTF-8. `Vec<u8>` is encoded as a message whose field 1 has these
/// bytes; in a request of inference, field 1 is the name of the model.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_decoded_ends_its_stream_after_the_answers_before_it() {
    let server = Server::start(&guests_config("tester", "")).await;
    let mut raw = tonic::client::Grpc::new(channel(&server.grpc_url).await);
    raw.ready().await.expect("a connection");
    let messages = futures_util::stream::iter([b"p".to_vec(), vec![0xFF, 0xFE], b"p".to_vec()]);
    let path = format!("{SERVICE}/ModelStreamInfer").parse().expect("a path");
    let codec = tonic_prost::ProstCodec::<Vec<u8>, ModelStreamInferResponse>::default();
    let mut answers = raw.streaming(tonic::Request::new(messages), path, codec).await.expect("a stream").into_inner();
    let first = answers.message().await.expect("no error").expect("an answer");
    assert!(first.error_message.contains("input"), "{first:?}");
    let next = tokio::time::timeout(Duration::from_secs(20), answers.message()).await.expect("in time");
    assert_status(next, Code::InvalidArgument, "decode");
    // Other calls of the server are not affected.
    client(&server).await.model_infer(images("p", &[b"x"], &[])).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_administration_has_the_same_methods_as_over_http() {
    let config = format!("[admin]\nlisten = \"127.0.0.1:0\"\n{}", guests_config("tester", ""));
    let server = Server::start(&config).await;
    let channel = channel(&server.admin_url).await;
    let mut client = GrpcInferenceServiceClient::new(channel.clone());
    client.server_live(ServerLiveRequest {}).await.expect("health");
    client.server_ready(ServerReadyRequest {}).await.expect("health");
    client.repository_index(RepositoryIndexRequest::default()).await.expect("administration");
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.expect("health");
    let words = "`[admin] listen`";
    assert_status(client.model_infer(images("p", &[b"x"], &[])).await, Code::Unimplemented, words);
    let messages = futures_util::stream::iter([images("p", &[b"x"], &[])]);
    assert_status(client.model_stream_infer(messages).await, Code::Unimplemented, words);
    let ready = ModelReadyRequest { name: "p".into(), ..Default::default() };
    assert_status(client.model_ready(ready).await, Code::Unimplemented, words);
    let metadata = ModelMetadataRequest { name: "p".into(), ..Default::default() };
    assert_status(client.model_metadata(metadata).await, Code::Unimplemented, words);
    assert_status(client.model_statistics(ModelStatisticsRequest::default()).await, Code::Unimplemented, words);
    assert_status(client.server_metadata(ServerMetadataRequest {}).await, Code::Unimplemented, words);
    assert_eq!(server.infer("p", "", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_wait_make_room_for_new_ones() {
    let server = Server::start(&format!("[server]\nmax_streams = 3\n{}", guests_config("tester", ""))).await;
    let open = async || {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let messages =
            futures_util::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
        let mut client = client(&server).await;
        let answers = client.model_stream_infer(messages).await.expect("a stream").into_inner();
        // So that one stream waits for longer than the next one.
        tokio::time::sleep(Duration::from_millis(50)).await;
        (sender, answers)
    };
    let mut watching = HealthClient::new(channel(&server.grpc_url).await);
    let mut statuses = watching.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
    statuses.message().await.expect("no error").expect("a status");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut streams = vec![open().await, open().await];
    // The health was watched for the longest time, then the streams one after the other.
    streams.push(open().await);
    let ended = tokio::time::timeout(Duration::from_secs(20), statuses.message()).await.expect("in time");
    assert_status(ended, Code::Unavailable, "server.max_streams");
    streams.push(open().await);
    let ended = tokio::time::timeout(Duration::from_secs(20), streams[0].1.message()).await.expect("in time");
    assert_status(ended, Code::Unavailable, "open it again");
    // The others still work.
    for (sender, answers) in &mut streams[1..] {
        sender.send(images("p", &[b"x"], &[])).await.expect("the stream is open");
        let answer = answers.message().await.expect("no error").expect("an answer");
        assert_eq!(answer.error_message, "");
    }
    // Streams with a message in progress are not ended, and a new one is refused.
    let sleep = [("do", crate::grpc_calls::text("sleep")), ("ms", crate::grpc_calls::text("3000"))];
    for (sender, _) in &streams[1..] {
        sender.send(images("p", &[b"x"], &sleep)).await.expect("the stream is open");
    }
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while server.app.runtime.pool_usage().expect("a pool").component_instances < 3 {
        assert!(std::time::Instant::now() < until, "the messages are not handled");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut late = client(&server).await;
    let refused = late.model_stream_infer(futures_util::stream::pending::<ModelInferRequest>()).await;
    assert_status(refused, Code::Unavailable, "are busy (`server.max_streams`)");
    for (_, answers) in &mut streams[1..] {
        let answer = answers.message().await.expect("no error").expect("an answer");
        assert_eq!(answer.error_message, "");
    }
    // A call with one message is not a stream.
    late.model_infer(images("p", &[b"x"], &[])).await.expect("an answer");
    drop(streams);
}
