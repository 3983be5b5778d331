//! The hosts that a request may name: the protection of an address of the loopback interface against DNS rebinding.

use std::net::SocketAddr;
use std::process::Command;

use plimsoll::serve::grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use plimsoll::serve::grpc::inference::{ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest};
use plimsoll_tests::{Server, guests_config};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::browser::Browser;
use crate::process::{BINARY, Process, Setup};

/// A client for which names are addresses of this machine, as they are for a browser after a rebinding.
fn client(server: &Server, version2: bool) -> (reqwest::Client, u16) {
    let address: SocketAddr = server.url["http://".len()..].parse().expect("an address");
    let builder = reqwest::Client::builder().resolve("evil.example", address).resolve("infer.example", address);
    let builder = if version2 { builder.http2_prior_knowledge() } else { builder };
    (builder.build().expect("a client"), address.port())
}

async fn ask(server: &Server, host: &str, version2: bool, method: &str, path: &str) -> (u16, String) {
    let (client, port) = client(server, version2);
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
    let request = client.request(method, format!("http://{host}:{port}{path}"));
    let reply = request.bearer_auth(server.token.as_deref().expect("a token")).send().await.expect("an answer");
    (reply.status().as_u16(), reply.text().await.expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_gets_nothing_from_a_loopback_address() {
    let server = Server::start(&guests_config("tester", "")).await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/console/app.js"),
        ("GET", "/v1/pipelines"),
        ("GET", "/v1/models"),
        ("GET", "/v1/memory"),
        ("GET", "/v2"),
        ("GET", "/v2/models/p"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("POST", "/v1/pipelines/p/infer"),
        ("POST", "/v2/repository/index"),
        ("GET", "/no-such-route"),
    ] {
        let (status, text) = ask(&server, "evil.example", false, method, path).await;
        assert_eq!(status, 421, "{method} {path}: {text}");
        assert!(text.contains("\"misdirected_request\""), "{path}: {text}");
        assert!(text.contains("`evil.example`") && text.contains("[server] hosts"), "{path}: {text}");
        for host in ["127.0.0.1", "localhost"] {
            let (status, text) = ask(&server, host, false, method, path).await;
            assert!(matches!(status, 200 | 404), "{host}: {method} {path}: {status} {text}");
        }
    }
    // The checks of load balancers use any name.
    for path in ["/v2/health/live", "/v2/health/ready", "/v2/health/ready/"] {
        let (status, text) = ask(&server, "evil.example", false, "GET", path).await;
        assert_eq!(status, 200, "{path}: {text}");
    }
    // No browser uses HTTP/2 without encryption.
    let (status, text) = ask(&server, "evil.example", true, "GET", "/v2").await;
    assert_eq!(status, 200, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_can_list_the_hosts() {
    let listed = |hosts: &str| format!("[server]\nhosts = {hosts}\n{}", guests_config("tester", ""));
    let server = Server::start(&listed("[\"Infer.example\"]")).await;
    for version2 in [false, true] {
        for (host, expected) in [("infer.example", 200), ("localhost", 200), ("127.0.0.1", 200), ("evil.example", 421)]
        {
            let (status, text) = ask(&server, host, version2, "GET", "/v2").await;
            assert_eq!(status, expected, "{host}: {text}");
        }
    }
    let server = Server::start(&listed("[\"*\"]")).await;
    assert_eq!(ask(&server, "evil.example", false, "GET", "/v2").await.0, 200);
    for wrong in ["[\"infer.example:443\"]", "[\"https://infer.example\"]", "[\"\"]", "\"infer.example\""] {
        let message = Server::rejection(&listed(wrong)).await;
        assert!(message.contains("hosts"), "{wrong}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_whose_page_has_another_name_cannot_read_the_server() {
    let server = Server::start(plimsoll::config::DEMO).await;
    let Some(mut browser) = Browser::start() else { return };
    let (_, port) = client(&server, false);
    browser.open(&format!("http://rebound.example:{port}/"));
    let text = browser.text();
    assert!(text.contains("`rebound.example` is not a known name"), "{text}");
    let read = "fetch('/v1/pipelines').then(async (reply) => [reply.status, await reply.text()])";
    let found = browser.eval(read);
    assert!(found[0] == 421 && !found[1].as_str().expect("text").contains("digits"), "{found}");
}

/// An empty list is a list: HTTP/2, which gRPC uses, is checked too.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_of_hosts_checks_http2_and_grpc_too_but_not_health() {
    for (hosts, code) in [("[]", tonic::Code::FailedPrecondition), ("[\"evil.example\"]", tonic::Code::Ok)] {
        let setup = Setup::new(&format!("hosts = {hosts}"));
        let process = setup.serve();
        let url = process.url();
        let port = url.rsplit(':').next().expect("a port").to_owned();
        for version2 in [false, true] {
            let builder =
                reqwest::Client::builder().resolve("evil.example", url["http://".len()..].parse().expect("an address"));
            let builder = if version2 { builder.http2_prior_knowledge() } else { builder };
            let client = builder.build().expect("a client");
            let status = async |path: &str| {
                let reply = client.get(format!("http://evil.example:{port}{path}")).send().await.expect("an answer");
                reply.status().as_u16()
            };
            assert_eq!(status("/v2").await, if code == tonic::Code::Ok { 200 } else { 421 }, "{hosts}");
            assert_eq!(status("/v2/health/ready").await, 200, "{hosts}");
        }
        let endpoint = Endpoint::from_shared(url.clone()).expect("a URL");
        let endpoint = endpoint.origin(format!("http://evil.example:{port}").parse().expect("a URI"));
        let channel = endpoint.connect().await.expect("a server");
        let mut client = GrpcInferenceServiceClient::new(channel.clone());
        let found = client.server_metadata(ServerMetadataRequest {}).await;
        assert_eq!(found.map_or_else(|status| status.code(), |_| tonic::Code::Ok), code, "{hosts}");
        assert!(client.server_live(ServerLiveRequest {}).await.expect("an answer").into_inner().live);
        assert!(client.server_ready(ServerReadyRequest {}).await.expect("an answer").into_inner().ready);
        let mut health = HealthClient::new(channel);
        health.check(HealthCheckRequest { service: String::new() }).await.expect("an answer");
        health.watch(HealthCheckRequest { service: String::new() }).await.expect("a stream");
    }
}

/// On an address that other machines reach, the names of a load balancer are not known. The log says what that means.
#[test]
fn the_log_names_an_address_that_answers_under_every_name() {
    for (listen, server, is_open) in [
        ("0.0.0.0:0", "drain = \"0s\"", true),
        ("0.0.0.0:0", "drain = \"0s\"\nhosts = [\"*\"]", false),
        ("127.0.0.1:0", "drain = \"0s\"", false),
    ] {
        let setup = Setup::new(server);
        let mut command = Command::new(BINARY);
        let process =
            Process::spawn(command.args(["serve", "--listen", listen, "--config", &setup.path("plimsoll.toml")]));
        process.url();
        process.signal("-TERM");
        let mut process = process;
        let (code, log) = process.wait_for_exit();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(log.contains("answers requests for every host name"), is_open, "{listen} {server}: {log}");
    }
}
