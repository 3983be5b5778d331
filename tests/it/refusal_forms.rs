//! Refusals have the form of the request, and stay short.

use plimsoll_tests::{Server, guests_config};
use serde_json::json;
use tonic::Code;

use crate::grpc_calls;
use crate::oip_rest::images;
use crate::raw_http::{POST, http2, raw};
use crate::wrapped::until;

const BIG: &str = "/v1/pipelines/p/infer?post=big&bytes=200000";

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_without_budget_is_refused_in_the_form_of_the_request() {
    let limits = "[server]\nreply_budget = \"1MiB\"\nbudget_wait = \"0s\"\nreply_timeout = \"10m\"\n";
    let server = Server::start(&format!("{limits}{}", guests_config("tester", ""))).await;
    // Clients of HTTP/2 that allow no byte of the replies.
    let mut unread = Vec::new();
    until("a budget that is spent", async || {
        let mut request = http2(POST, BIG, 0, 1);
        request.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0, 1]);
        unread.push(raw(&server, &request).await);
        server.send("POST", BIG, &[], Vec::new()).await.status == 503
    })
    .await;
    let reply = server.send("POST", BIG, &[], Vec::new()).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "overloaded"), "{}", reply.text);
    let request = json!({ "parameters": { "post": "big", "bytes": 200_000 }, "inputs": [images(&[b"x"])] });
    let reply = server.infer_json("p", &request).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert_eq!(reply.headers["content-type"], "application/json", "{}", reply.text);
    assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
    let body = reply.json();
    assert_eq!((&body["code"], &body["error"]), (&json!("overloaded"), &body["detail"]), "{body}");
    let parameters = [("post", grpc_calls::text("big")), ("bytes", grpc_calls::text("200000"))];
    let call = grpc_calls::images("p", &[b"x"], &parameters);
    let refused = grpc_calls::client(&server).await.model_infer(call).await.expect_err("no budget");
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(refused.message().contains("server.reply_budget"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_name_gets_a_short_message_however_many_pipelines_there_are() {
    let guests = guests_config("tester", "");
    let start = guests.find("[pipelines.p.preprocess]").expect("pipeline p");
    let many: String = (0..500)
        .map(|number| guests[start..].replace("pipelines.p.", &format!("pipelines.a-pipeline-with-a-name-{number}.")))
        .collect();
    let server = Server::start(&format!("{guests}{many}")).await;
    for (method, path) in [
        ("POST", "/v1/pipelines/none/infer"),
        ("POST", "/v2/models/none/infer"),
        ("GET", "/v2/models/none"),
        ("GET", "/v2/models/none/ready"),
        ("GET", "/v2/models/none/stats"),
        ("POST", "/v2/repository/models/none/load"),
        ("POST", "/v2/repository/models/none/unload"),
        ("GET", "/v1/memory?pipeline=none"),
        ("GET", &format!("/v2/models/{}", "n".repeat(5_000))),
    ] {
        let reply = server.send(method, path, &[], Vec::new()).await;
        assert!((400..500).contains(&reply.status), "{path}: {}", reply.text);
        assert!(reply.text.len() < 2_000, "{} bytes for {path}: {}", reply.text.len(), reply.text);
    }
    let mut client = grpc_calls::client(&server).await;
    let status = client.model_infer(grpc_calls::images("none", &[b"x"], &[])).await.expect_err("no such model");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    let sent = status.message().len() + grpc_calls::problem(&status).to_string().len();
    assert!(sent < 2_000, "{sent} bytes: {status:?}");
}
