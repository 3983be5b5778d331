//! gRPC within limits: deadlines, callers who go away, the budget of bytes, and the stop of the server.

use std::time::{Duration, Instant};

use plimsoll::serve::grpc::inference::infer_parameter::ParameterChoice;
use plimsoll::serve::grpc::inference::model_infer_request::InferInputTensor;
use plimsoll::serve::grpc::inference::{ModelInferRequest, ModelInferResponse, ServerLiveRequest};
use plimsoll_tests::{Server, guests_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Code, Request};

use crate::grpc_calls::{channel, client, images, parameter, text};

/// What a channel gives, as a stream.
fn received(receiver: tokio::sync::mpsc::Receiver<ModelInferRequest>) -> impl Stream<Item = ModelInferRequest> + Send {
    futures_util::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_deadlines_of_the_caller_bound_the_guests() {
    let server = Server::start(&format!("[server]\nmax_concurrency = 1\n{}", guests_config("tester", ""))).await;
    let mut client = client(&server).await;
    let micros = |micros| parameter(ParameterChoice::Int64Param(micros));
    for what in ["loop", "sleep"] {
        let parameters = [("do", text(what)), ("ms", text("60000")), ("timeout", micros(300_000))];
        let started = Instant::now();
        let status = client.model_infer(images("p", &[b"x"], &parameters)).await.expect_err("too late");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{what}: {:?}", started.elapsed());
        // By the header: the client's own timer ends at the answer's head, which a stream has at once.
        let mut request = Request::new(tonic::codegen::tokio_stream::iter([images("p", &[b"x"], &parameters[..2])]));
        request.metadata_mut().insert("grpc-timeout", "300m".parse().expect("text"));
        let started = Instant::now();
        let mut answers = client.model_stream_infer(request).await.expect("a stream").into_inner();
        let answer = answers.message().await.expect("no error ends it").expect("an answer");
        assert!(answer.error_message.contains("deadline"), "{answer:?}");
        assert!(started.elapsed() < Duration::from_secs(3), "{what}: {:?}", started.elapsed());
        client.model_infer(images("p", &[b"x"], &[])).await.expect("the guest was stopped");
    }
    let counted = server.memory_row("preprocess", "deadline").await.expect("the guests met it");
    assert_eq!(counted["count"], 4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_callers_who_cancel_stop_the_guests() {
    let server = Server::start(&format!("[server]\nmax_concurrency = 1\n{}", guests_config("tester", ""))).await;
    let mut client = client(&server).await;
    for what in ["loop", "sleep"] {
        let request = images("p", &[b"x"], &[("do", text(what)), ("ms", text("60000"))]);
        let gone = tokio::time::timeout(Duration::from_millis(300), client.model_infer(request)).await;
        assert!(gone.is_err(), "the guest goes on");
        // The only place is free again long before the stage's deadline of ten seconds.
        let next = client.model_infer(images("p", &[b"x"], &[]));
        tokio::time::timeout(Duration::from_secs(5), next).await.expect("the guest was stopped").expect("an answer");
    }
    assert_eq!(server.memory_row("preprocess", "cancelled").await.expect("a row")["count"], 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_messages_are_held_against_the_budget_and_the_limit() {
    let config = guests_config("tester", "");
    let server = Server::start(&format!("[server]\nmax_body = \"1MiB\"\nbody_budget = \"1MiB\"\n{config}")).await;
    let mut client = client(&server).await;
    let big = vec![0; 700 << 10];
    client.model_infer(images("p", &[&big], &[])).await.expect("it fits");
    let status = client.model_infer(images("p", &[&big, &big], &[])).await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("server.max_body"), "{status:?}");

    // One holds most of the budget while its guest sleeps, so another does not fit beside it.
    let slow = {
        let (mut client, big) = (client.clone(), big.clone());
        let request = images("p", &[&big], &[("do", text("sleep")), ("ms", text("1500"))]);
        tokio::spawn(async move { client.model_infer(request).await })
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let status = client.model_infer(images("p", &[&big], &[])).await.expect_err("no room");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("server.body_budget"), "{status:?}");
    slow.await.expect("no panic").expect("it was inside");
    client.model_infer(images("p", &[&big], &[])).await.expect("there is room again");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_messages_that_do_not_arrive_are_not_waited_for() {
    let config = guests_config("tester", "");
    let server = Server::start(&format!("[server]\nbody_timeout = \"300ms\"\n{config}")).await;
    let mut client = client(&server).await;
    // A call whose only message never comes, as no generated client makes it.
    let mut raw = tonic::client::Grpc::new(channel(&server.grpc_url).await);
    raw.ready().await.expect("connected");
    let started = Instant::now();
    let never = tonic::codegen::tokio_stream::pending::<ModelInferRequest>();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");
    let codec = tonic_prost::ProstCodec::<ModelInferRequest, ModelInferResponse>::default();
    let status = raw.client_streaming(Request::new(never), path, codec).await.expect_err("nothing came");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(status.message().contains("server.body_timeout"), "{status:?}");

    // A stream may be silent for as long as its caller likes.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = received(receiver);
    let opened = tokio::spawn(async move { client.model_stream_infer(messages).await });
    tokio::time::sleep(Duration::from_millis(800)).await;
    sender.send(images("p", &[b"x"], &[])).await.expect("it waits");
    let mut answers = opened.await.expect("no panic").expect("a stream").into_inner();
    tokio::time::sleep(Duration::from_millis(800)).await;
    sender.send(images("p", &[b"x"], &[])).await.expect("it waits");
    for _ in 0..2 {
        let answer = answers.message().await.expect("no error").expect("an answer");
        assert_eq!(answer.error_message, "");
    }
    drop(sender);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_requests_inside_end_when_the_server_stops() {
    let server = Server::start(&guests_config("tester", "")).await;
    let mut client = client(&server).await;
    let slow = {
        let mut client = client.clone();
        let request = images("p", &[b"x"], &[("do", text("sleep")), ("ms", text("1000"))]);
        tokio::spawn(async move { client.model_infer(request).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    slow.await.expect("no panic").expect("it ended within the grace period");
    assert!(client.server_live(ServerLiveRequest {}).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_connections_that_say_nothing_do_not_hold_up_the_stop() {
    // A head that never ends is HTTP/1.1; what says nothing is neither.
    let server = Server::start(&guests_config("tester", "")).await;
    let address = &server.url["http://".len()..];
    let mut half = tokio::net::TcpStream::connect(address).await.expect("connected");
    half.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n").await.expect("sent");
    let _silent = tokio::net::TcpStream::connect(address).await.expect("connected");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest).await;
}

/// Two bytes on the wire are hundreds in memory, so it is the number of parts that is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_messages_of_too_many_parts_are_refused_before_they_are_decoded() {
    let server = Server::start(&guests_config("tester", "")).await;
    let mut client = client(&server).await;
    let one = || images("p", &[b"x"], &[]);
    let inputs = ModelInferRequest { inputs: vec![InferInputTensor::default(); 1_025], ..one() };
    let raw = ModelInferRequest { raw_input_contents: vec![Vec::new().into(); 1_025], ..one() };
    let names: Vec<String> = (0..4_097).map(|number| number.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), text(""))).collect();
    let mut dimensions = one();
    dimensions.inputs[0].shape = vec![1; 400];
    for (message, words) in [
        (inputs, "more than 1024 inputs"),
        (raw, "more than 1024 `raw_input_contents`"),
        (images("p", &[b"x"], &many), "more than 4096 parameters"),
        (images("p", &vec![b"".as_slice(); 262_145], &[]), "more than 262144 elements of BYTES"),
        (dimensions, "more than 32 dimensions"),
    ] {
        let status = client.model_infer(message).await.expect_err("too many");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(words), "{status:?}");
    }
    client.model_infer(one()).await.expect("an answer");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_streams_that_are_silent_hold_nothing_and_have_time_for_every_message() {
    let config = guests_config("tester", "");
    let limits = "[server]\nmax_body = \"1MiB\"\nbody_budget = \"1MiB\"\nbody_timeout = \"2s\"\n";
    let server = Server::start(&format!("{limits}{config}")).await;
    let mut client = client(&server).await;
    // More than a frame, and more than half of the budget.
    let big = vec![0; 700 << 10];
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = received(receiver);
    let opened = {
        let mut client = client.clone();
        tokio::spawn(async move { client.model_stream_infer(messages).await })
    };
    sender.send(images("p", &[&big], &[])).await.expect("it waits");
    let mut answers = opened.await.expect("no panic").expect("a stream").into_inner();
    assert_eq!(answers.message().await.expect("no error").expect("an answer").error_message, "");
    client.model_infer(images("p", &[&big], &[])).await.expect("the stream holds nothing");

    // Its time begins with the message and not with the silence before it.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    sender.send(images("p", &[&big], &[])).await.expect("it waits");
    assert_eq!(answers.message().await.expect("it arrived in time").expect("an answer").error_message, "");
    drop(sender);
    server.stop().await;
}
