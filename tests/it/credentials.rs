//! Credentials that are given twice, and keys on the address of administration.

use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll::serve::grpc::inference::{RepositoryIndexRequest, ServerLiveRequest};
use plimsoll_tests::{Reply, Server, TempDir, guests_config};
use tonic::{Code, Request};

use crate::grpc_calls::{channel, client};
use crate::served_folder::run;

/// Sends a request to an address, with these headers only.
async fn ask(server: &Server, base: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
    let mut request = server.client.request(method, format!("{base}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = request.send().await.expect("an answer");
    (reply.status().as_u16(), reply.text().await.expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_given_twice_are_refused() {
    let server = Server::start(&guests_config("tester", "")).await;
    let good = format!("Bearer {}", server.token.as_deref().expect("a token"));
    for (one, other) in [(&*good, "Bearer wrong"), ("Bearer wrong", &*good), (&*good, &*good), ("Basic eA==", &*good)] {
        for (method, path) in [("GET", "/v1/plugins"), ("POST", "/v1/pipelines/p/infer"), ("GET", "/metrics")] {
            let headers = [("authorization", one), ("Authorization", other)];
            let reply: Reply = server.send_plainly(method, path, &headers, Vec::new()).await;
            assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_input"), "{path}: {}", reply.text);
            assert!(reply.text.contains("`Authorization` is given more than once"), "{}", reply.text);
        }
    }
    let keys = [("x-api-key", "one"), ("x-api-key", "one")];
    let reply = server.send_plainly("GET", "/v2/health/live", &keys, Vec::new()).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
    assert!(reply.json()["error"].as_str().expect("the protocol's form").contains("`x-api-key`"), "{}", reply.text);
    // Over gRPC it is a status.
    let mut client = client(&server).await;
    let mut request = Request::new(ServerLiveRequest {});
    for value in ["Bearer one", "Bearer two"] {
        request.metadata_mut().append("authorization", value.parse().expect("text"));
    }
    let refused = client.server_live(request).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(refused.message().contains("`Authorization`"), "{refused:?}");
    // Once is fine, and other headers may be repeated.
    let headers = [("authorization", &*good), ("accept", "a/b"), ("accept", "c/d")];
    assert_eq!(server.send_plainly("GET", "/v1/plugins", &headers, Vec::new()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_models_needs_a_key_on_the_address_of_administration_too() {
    let folder = TempDir::new().expect("a folder");
    let (code, text) = run(folder.path(), &["key", "new", "acme"]);
    assert_eq!(code, Some(0), "{text}");
    let mut lines = text.lines();
    let (key, line) = (lines.next().expect("a key").to_owned(), lines.next().expect("a line"));
    let file = folder.path().join("keys");
    std::fs::write(&file, line).expect("written");
    let guests = guests_config("tester", "");
    let server =
        Server::start(&format!("[admin]\nlisten = \"127.0.0.1:0\"\n[auth]\nkeys_file = {file:?}\n{guests}")).await;
    let token = format!("Bearer {}", server.token.as_deref().expect("a token"));
    for base in [&server.url, &server.admin_url] {
        for (headers, status) in [
            (vec![], 401),
            (vec![("x-api-key", "wrong")], 401),
            (vec![("authorization", &*token)], 401),
            (vec![("x-api-key", &*key)], 200),
        ] {
            let (found, text) = ask(&server, base, "POST", "/v2/repository/index", &headers).await;
            assert_eq!(found, status, "{base} {headers:?}: {text}");
        }
        let mut client = GrpcInferenceServiceClient::new(channel(base).await);
        let refused = client.repository_index(RepositoryIndexRequest::default()).await.expect_err("no key");
        assert_eq!(refused.code(), Code::Unauthenticated, "{base}: {refused:?}");
    }
    // What is open stays open.
    for path in ["/v2/health/ready", "/metrics", "/openapi.json"] {
        assert_eq!(ask(&server, &server.admin_url, "GET", path, &[]).await.0, 200, "{path}");
    }
    // Without keys the list is open.
    let open = Server::start(&format!("[admin]\nlisten = \"127.0.0.1:0\"\n{guests}")).await;
    assert_eq!(ask(&open, &open.admin_url, "POST", "/v2/repository/index", &[]).await.0, 200);
}
