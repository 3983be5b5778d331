//! Streams that wait, and replies that are not read, keep no client out; and one client's requests on a connection do not end
//! its others.

use std::time::Duration;

use plimsoll::serve::grpc::inference::ModelReadyRequest;
use plimsoll_tests::{Server, guests_config};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::grpc_calls::{channel, client, images, text};
use crate::raw_http::{POST, http2, raw, read_all};
use crate::wrapped::until;

/// Four connections with an open stream each, on a server that has room for four.
#[tokio::test(flavor = "multi_thread")]
async fn open_streams_make_room_for_new_connections() {
    let server = Server::start(&format!("[server]\nmax_connections = 4\n{}", guests_config("tester", ""))).await;
    let mut open = Vec::new();
    for index in 0..4 {
        let channel = channel(&server.grpc_url).await;
        if index % 2 == 0 {
            let mut health = HealthClient::new(channel);
            let mut statuses = health.watch(HealthCheckRequest::default()).await.expect("a stream").into_inner();
            statuses.message().await.expect("a status");
            open.push((Some(statuses), None));
        } else {
            let mut client = client(&server).await;
            let messages = futures_util::stream::pending();
            let answers = tokio::spawn(async move { client.model_stream_infer(messages).await });
            open.push((None, Some(answers)));
        }
    }
    for _ in 0..8 {
        let address = server.url.trim_start_matches("http://");
        let mut health = TcpStream::connect(address).await.expect("connected");
        let request = b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        health.write_all(request).await.expect("sent");
        let reply = tokio::time::timeout(Duration::from_secs(20), read_all(&mut health)).await.expect("in time");
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_calls_do_not_end_other_calls_of_their_connection() {
    let server = Server::start(&format!("[server]\nmax_concurrency = 32\n{}", guests_config("tester", ""))).await;
    let client = client(&server).await;
    let slow = || {
        let mut client = client.clone();
        let sleep = [("do", text("sleep")), ("ms", text("6000"))];
        let request = images("p", &[b"x"], &sleep);
        tokio::spawn(async move { client.model_infer(request).await })
    };
    let good: Vec<_> = (0..8).map(|_| slow()).collect();
    server.wait_for_guests(8).await;
    let cancelled: Vec<_> = (0..100).map(|_| slow()).collect();
    server.wait_for_metric("plimsoll_requests_waiting{pipeline=\"p\"}", 1.0).await;
    cancelled.iter().for_each(tokio::task::JoinHandle::abort);
    for call in good {
        let answer = call.await.expect("no panic");
        assert!(answer.is_ok(), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_large_metadata_does_not_end_other_calls_of_its_connection() {
    let server = Server::start(&guests_config("tester", "")).await;
    let mut good = client(&server).await;
    let mut large = good.clone();
    let sleep = [("do", text("sleep")), ("ms", text("6000"))];
    let running = tokio::spawn(async move { good.model_infer(images("p", &[b"x"], &sleep)).await });
    server.wait_for_guests(1).await;
    for (kilobytes, is_accepted) in [(20, true), (40, true), (60, true), (80, false)] {
        let mut request = tonic::Request::new(ModelReadyRequest { name: "p".into(), ..ModelReadyRequest::default() });
        request.metadata_mut().insert("x-large", "x".repeat(kilobytes << 10).parse().expect("text"));
        let answer = large.model_ready(request).await;
        assert_eq!(answer.is_ok(), is_accepted, "{kilobytes} KiB: {answer:?}");
        assert_ne!(answer.err().map(|status| status.code()), Some(Code::Unavailable), "{kilobytes} KiB");
    }
    let answer = running.await.expect("no panic");
    assert!(answer.is_ok(), "{answer:?}");
}

/// Callers who hold all connections of their address do not keep administrators out.
#[tokio::test(flavor = "multi_thread")]
async fn administration_with_its_own_address_has_its_own_connections() {
    let limits = "[server]\nmax_connections = 2\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", ""))).await;
    let busy: Vec<_> = (0..3)
        .map(|_| {
            let url = format!("{}/v1/pipelines/p/infer?do=sleep&ms=30000", server.url);
            // Another client has another connection.
            tokio::spawn(async move { reqwest::Client::new().post(url).body("x").send().await })
        })
        .collect();
    server.wait_for_guests(2).await;
    let token = server.token.clone().expect("a token");
    let request = server.client.get(format!("{}/v1/plugins", server.admin_url)).bearer_auth(token);
    let answer = request.timeout(Duration::from_secs(20)).send().await.expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    busy.iter().for_each(tokio::task::JoinHandle::abort);
}

/// One connection of HTTP/2 may have 256 requests, so their small replies are counted, too: also if the client allows a
/// single byte of each.
#[tokio::test(flavor = "multi_thread")]
async fn small_replies_that_are_not_read_are_counted_and_cut_off() {
    // The replies wait while the large one, by which the budget is seen, is sent.
    let limits = "[server]\nreply_budget = \"64KiB\"\nbudget_wait = \"500ms\"\nreply_timeout = \"3s\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", ""))).await;
    let path = |bytes: usize| format!("/v1/pipelines/p/infer?post=big&bytes={bytes}");
    let large = &path(50_000)["/v1/pipelines/p/infer".len()..];
    assert_eq!(server.infer("p", large, "").await.status, 200);
    for window in [0, 1] {
        let mut requests = http2(POST, &path(8_000), window, 7);
        for stream in 0..7_u32 {
            requests.extend_from_slice(&[0, 0, 0, 0, 1]);
            requests.extend_from_slice(&(2 * stream + 1).to_be_bytes());
        }
        // They are cut off after some seconds, in which this test may not have asked. One connection is enough.
        let mut unread = None;
        until(&format!("window {window}: 503"), async || {
            drop(unread.take());
            until("the budget is free", async || server.infer("p", large, "").await.status == 200).await;
            unread = Some(raw(&server, &requests).await);
            for _ in 0..20 {
                if server.infer("p", large, "").await.status == 503 {
                    return true;
                }
            }
            false
        })
        .await;
        // Although the connection is open.
        until(&format!("window {window}: 200"), async || server.infer("p", large, "").await.status == 200).await;
        drop(unread);
    }
}
