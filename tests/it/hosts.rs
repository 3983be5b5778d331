//! The hosts that a request may name: the protection of an address of the loopback interface against DNS rebinding.

use std::net::SocketAddr;

use plimsoll_tests::{Server, guests_config};

use crate::browser::Browser;

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
