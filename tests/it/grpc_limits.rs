//! Limits of gRPC: deadlines, callers that disconnect, the body budget, and shutdown.

use std::time::{Duration, Instant};

use plimsoll::serve::grpc::inference::infer_parameter::ParameterChoice;
use plimsoll::serve::grpc::inference::model_infer_request::InferInputTensor;
use plimsoll::serve::grpc::inference::{ModelInferRequest, ModelInferResponse, ServerLiveRequest};
use plimsoll_tests::{Server, guests_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::codegen::tokio_stream::Stream;
use tonic::{Code, Request};

use crate::grpc_calls::{channel, client, images, parameter, problem, text};

/// Not a measurement: this only distinguishes the time of a caller from the default deadline of 10 s.
const LESS_THAN_DEFAULT: Duration = Duration::from_secs(8);

/// The messages of a channel as a stream.
fn received(receiver: tokio::sync::mpsc::Receiver<ModelInferRequest>) -> impl Stream<Item = ModelInferRequest> + Send {
    futures_util::stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_deadlines_of_the_caller_stop_the_guests() {
    let server = Server::start(&format!("[server]\nmax_concurrency = 1\n{}", guests_config("tester", ""))).await;
    let mut client = client(&server).await;
    let micros = |micros| parameter(ParameterChoice::Int64Param(micros));
    for what in ["loop", "sleep"] {
        let parameters = [("do", text(what)), ("ms", text("60000")), ("timeout", micros(2_000_000))];
        let started = Instant::now();
        let status = client.model_infer(images("p", &[b"x"], &parameters)).await.expect_err("too late");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(started.elapsed() < LESS_THAN_DEFAULT, "{what}: {:?}", started.elapsed());
        // The header is set by hand, because the client's own timer ends at the response headers, which a stream sends
        // immediately.
        let mut request = Request::new(tonic::codegen::tokio_stream::iter([images("p", &[b"x"], &parameters[..2])]));
        request.metadata_mut().insert("grpc-timeout", "2000m".parse().expect("text"));
        let started = Instant::now();
        let mut answers = client.model_stream_infer(request).await.expect("a stream").into_inner();
        let answer = answers.message().await.expect("no error ends the stream").expect("an answer");
        assert!(answer.error_message.contains("deadline"), "{answer:?}");
        assert!(started.elapsed() < LESS_THAN_DEFAULT, "{what}: {:?}", started.elapsed());
        client.model_infer(images("p", &[b"x"], &[])).await.expect("the guest was stopped");
    }
    let counted = server.memory_row("preprocess", "deadline").await.expect("a row");
    assert_eq!(counted["count"], 4);
    server.stop().await;
}

/// A call that ran without the time-out that its caller set would hold a place for a caller that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_timeouts_that_are_not_valid_are_refused() {
    let server = Server::start(&guests_config("tester", "")).await;
    let mut client = client(&server).await;
    let call = |timeouts: &[&str]| {
        let mut request = Request::new(images("p", &[b"x"], &[]));
        for timeout in timeouts {
            request.metadata_mut().append("grpc-timeout", timeout.parse().expect("text"));
        }
        request
    };
    for timeouts in [&["-1S"][..], &["123456789S"], &["5"], &["5x"], &["S"], &["+5S"], &["5S", "6S"]] {
        let status = client.model_infer(call(timeouts)).await.expect_err("not valid");
        assert_eq!(status.code(), Code::InvalidArgument, "{timeouts:?}: {status:?}");
        assert!(status.message().contains("grpc-timeout"), "{status:?}");
    }
    for timeout in ["1H", "00000060S", "99999999m"] {
        client.model_infer(call(&[timeout])).await.expect("an answer");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_cancelled_calls_stop_their_guests() {
    let server = Server::start(&format!("[server]\nmax_concurrency = 1\n{}", guests_config("tester", ""))).await;
    let mut client = client(&server).await;
    for what in ["loop", "sleep"] {
        let request = images("p", &[b"x"], &[("do", text(what)), ("ms", text("60000"))]);
        let call = {
            let mut client = client.clone();
            tokio::spawn(async move { client.model_infer(request).await })
        };
        server.wait_for_guests(1).await;
        call.abort();
        // The only slot is free again long before the stage's deadline of ten seconds.
        let next = client.model_infer(images("p", &[b"x"], &[]));
        tokio::time::timeout(Duration::from_secs(5), next).await.expect("the guest was stopped").expect("an answer");
    }
    assert_eq!(server.memory_row("preprocess", "cancelled").await.expect("a row")["count"], 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_messages_are_checked_against_the_body_budget_and_the_size_limit() {
    let config = guests_config("tester", "");
    let server = Server::start(&format!(
        "[server]\nmax_body = \"1MiB\"\nbody_budget = \"1MiB\"\nbudget_wait = \"0s\"\n{config}"
    ))
    .await;
    let mut client = client(&server).await;
    let big = vec![0; 700 << 10];
    client.model_infer(images("p", &[&big], &[])).await.expect("it fits");
    let status = client.model_infer(images("p", &[&big, &big], &[])).await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("server.max_body"), "{status:?}");
    assert_eq!(problem(&status)["code"], "too_large");

    // One request uses most of the budget while its guest sleeps, so a second one does not fit.
    let slow = {
        let (mut client, big) = (client.clone(), big.clone());
        let request = images("p", &[&big], &[("do", text("sleep")), ("ms", text("7000"))]);
        tokio::spawn(async move { client.model_infer(request).await })
    };
    server.wait_for_guests(1).await;
    let status = client.model_infer(images("p", &[&big], &[])).await.expect_err("the budget is used up");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("server.body_budget"), "{status:?}");
    assert_eq!(problem(&status)["code"], "overloaded");
    slow.await.expect("no panic").expect("it was already accepted");
    client.model_infer(images("p", &[&big], &[])).await.expect("the budget is free again");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_a_call_whose_message_does_not_arrive_ends_at_the_body_time_out() {
    let config = guests_config("tester", "");
    let server = Server::start(&format!("[server]\nbody_timeout = \"300ms\"\n{config}")).await;
    let mut client = client(&server).await;
    // A call whose only message is never sent. Generated clients cannot make such a call.
    let mut raw = tonic::client::Grpc::new(channel(&server.grpc_url).await);
    raw.ready().await.expect("connected");
    let started = Instant::now();
    let never = tonic::codegen::tokio_stream::pending::<ModelInferRequest>();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/inference.GRPCInferenceService/ModelInfer");
    let codec = tonic_prost::ProstCodec::<ModelInferRequest, ModelInferResponse>::default();
    let status = raw.client_streaming(Request::new(never), path.clone(), codec).await.expect_err("no message was sent");
    assert!(started.elapsed() < Duration::from_secs(20), "the default is 30 s: {:?}", started.elapsed());
    assert!(status.message().contains("server.body_timeout"), "{status:?}");
    assert_eq!(problem(&status)["code"], "body_timeout");
    // A call that sends its message and never ends would hold the bytes of the message for ever.
    let (open, receiver) = tokio::sync::mpsc::channel(1);
    open.send(images("p", &[b"x"], &[])).await.expect("there is room");
    let codec = tonic_prost::ProstCodec::<ModelInferRequest, ModelInferResponse>::default();
    raw.ready().await.expect("connected");
    let never_ends = raw.client_streaming(Request::new(received(receiver)), path, codec);
    let status = tokio::time::timeout(Duration::from_secs(20), never_ends).await.expect("an answer");
    let status = status.expect_err("the call does not end");
    assert!(
        status.message().contains("the end of the call") && status.message().contains("server.body_timeout"),
        "{status:?}"
    );
    drop(open);

    // A stream may be silent for any time between its messages.
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = received(receiver);
    let opened = tokio::spawn(async move { client.model_stream_infer(messages).await });
    tokio::time::sleep(Duration::from_millis(800)).await;
    sender.send(images("p", &[b"x"], &[])).await.expect("the stream is open");
    let mut answers = opened.await.expect("no panic").expect("a stream").into_inner();
    tokio::time::sleep(Duration::from_millis(800)).await;
    sender.send(images("p", &[b"x"], &[])).await.expect("the stream is open");
    for _ in 0..2 {
        let answer = answers.message().await.expect("no error").expect("an answer");
        assert_eq!(answer.error_message, "");
    }
    drop(sender);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_running_requests_finish_when_the_server_stops() {
    let server = Server::start(&guests_config("tester", "")).await;
    let mut client = client(&server).await;
    let slow = {
        let mut client = client.clone();
        let request = images("p", &[b"x"], &[("do", text("sleep")), ("ms", text("3000"))]);
        tokio::spawn(async move { client.model_infer(request).await })
    };
    server.wait_for_guests(1).await;
    let started = Instant::now();
    server.stop().await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    slow.await.expect("no panic").expect("it ended within the grace period");
    assert!(client.server_live(ServerLiveRequest {}).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_silent_connections_do_not_delay_the_stop() {
    // One connection never completes its HTTP/1.1 headers. The other sends nothing, so its protocol is unknown.
    let server = Server::start(&guests_config("tester", "")).await;
    let address = &server.url["http://".len()..];
    let mut half = tokio::net::TcpStream::connect(address).await.expect("connected");
    half.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n").await.expect("sent");
    let _silent = tokio::net::TcpStream::connect(address).await.expect("connected");
    // Beside the connection that asks.
    server.wait_for_metric("plimsoll_connections{of=\"callers\"}", 3.0).await;
    let started = Instant::now();
    server.stop().await;
    // A connection that was opened just before is waited for up to 5 s; the time for a head is 30 s.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let mut rest = Vec::new();
    let _ = half.read_to_end(&mut rest).await;
}

/// A part of two bytes on the wire takes hundreds of bytes in memory, so the number of parts is limited.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_messages_with_too_many_parts_are_refused_before_they_are_decoded() {
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
        (images("p", &vec![b"".as_slice(); 262_145], &[]), "more than 262144 BYTES elements"),
        (dimensions, "more than 32 dimensions"),
    ] {
        let status = client.model_infer(message).await.expect_err("too many");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(words), "{status:?}");
        assert_eq!(problem(&status)["code"], "invalid_input");
    }
    client.model_infer(one()).await.expect("an answer");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_silent_streams_use_no_budget_and_every_message_has_its_own_time_out() {
    let config = guests_config("tester", "");
    let limits = "[server]\nmax_body = \"1MiB\"\nbody_budget = \"1MiB\"\nbody_timeout = \"2s\"\n";
    let server = Server::start(&format!("{limits}{config}")).await;
    let mut client = client(&server).await;
    // Larger than an HTTP/2 frame, and larger than half of the budget.
    let big = vec![0; 700 << 10];
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let messages = received(receiver);
    let opened = {
        let mut client = client.clone();
        tokio::spawn(async move { client.model_stream_infer(messages).await })
    };
    sender.send(images("p", &[&big], &[])).await.expect("the stream is open");
    let mut answers = opened.await.expect("no panic").expect("a stream").into_inner();
    assert_eq!(answers.message().await.expect("no error").expect("an answer").error_message, "");
    client.model_infer(images("p", &[&big], &[])).await.expect("the stream uses no budget");

    // The time-out starts with the message, not with the silence before it.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    sender.send(images("p", &[&big], &[])).await.expect("the stream is open");
    assert_eq!(answers.message().await.expect("it arrived in time").expect("an answer").error_message, "");
    drop(sender);
    server.stop().await;
}
