//! Where a request of HTTP/1.1 ends (RFC 9112, section 6). A request that a proxy could understand in another way is
//! refused, or its connection is closed, so that no part of its body is read as another request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use plimsoll_tests::{Server, guests_config};

/// The second request of each connection. It must not be answered.
const HIDDEN: &str = "GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
const POST: &str = "POST /v1/pipelines/p/infer HTTP/1.1\r\nhost: localhost\r\n";
const GET: &str = "GET /v2/health/live HTTP/1.1\r\n";

/// Sends bytes and returns the replies until the server closes the connection.
fn exchange(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    // The server may close the connection before everything is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut reply = Vec::new();
    if let Err(error) = stream.read_to_end(&mut reply) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{request:?} is not closed: {error}");
    }
    String::from_utf8_lossy(&reply).into_owned()
}

/// Sends each request and [`HIDDEN`] after it, and checks that there is one reply, and that the connection is closed.
async fn assert_one_reply(cases: Vec<(u16, String)>) {
    let server = Server::start(&guests_config("tester", "")).await;
    let address = server.url["http://".len()..].to_owned();
    let checks = move || {
        for (status, request) in cases {
            let replies = exchange(&address, &format!("{request}{HIDDEN}"));
            let shown = request.escape_debug().to_string();
            let shown = &shown[..shown.len().min(300)];
            assert!(
                replies.starts_with(&format!("HTTP/1.1 {status} "))
                    || replies.starts_with(&format!("HTTP/1.0 {status} ")),
                "{status} for {shown}: {replies}"
            );
            assert_eq!(replies.matches("HTTP/1.").count(), 1, "the hidden request is answered: {shown}: {replies}");
        }
    };
    tokio::task::spawn_blocking(checks).await.expect("no panic");
    assert_eq!(server.get("/v2/health/live").await.status, 200);
}

fn with(head: &str, headers: &str, body: &str) -> String {
    format!("{head}{headers}\r\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn transfer_codings_other_than_one_chunked_are_refused() {
    let chunked = "3\r\nabc\r\n0\r\n\r\n";
    let post = |headers: &str| with(POST, headers, chunked);
    let mut cases = Vec::new();
    for coding in ["gzip, chunked", "identity, chunked", "gzip,deflate , CHUNKED", "x, chunked", ", chunked"] {
        cases.push((501, post(&format!("transfer-encoding: {coding}\r\n"))));
    }
    cases.push((501, post("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n")));
    cases.push((501, post("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n")));
    for headers in [
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\nTransfer-Encoding: Chunked\r\n",
        // hyper refuses what does not end in `chunked`.
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked;q=1\r\n",
        "transfer-encoding: \"chunked\"\r\n",
        "transfer-encoding: \x0bchunked\r\n",
        "transfer-encoding:\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer\tencoding: chunked\r\n",
    ] {
        cases.push((400, post(headers)));
    }
    let old = POST.replace("HTTP/1.1", "HTTP/1.0");
    cases.push((400, with(&old, "transfer-encoding: chunked\r\nconnection: keep-alive\r\n", chunked)));
    assert_one_reply(cases).await;
}

/// The length is ignored, and the connection is closed after the reply, as RFC 9112 demands.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_both_framings_ends_its_connection() {
    let mut cases = Vec::new();
    for length in ["0", "3", "4", "13", "13\r\ncontent-length: 14", "9999", "nonsense"] {
        for [first, second] in [["content-length", "transfer-encoding"], ["transfer-encoding", "content-length"]] {
            let value = |name| if name == "content-length" { length } else { "chunked" };
            let headers = format!("{first}: {}\r\n{second}: {}\r\n", value(first), value(second));
            // A length that is not one is refused unless it comes last.
            let is_refused = first == "content-length" && (length == "nonsense" || length.contains("14"));
            cases.push((if is_refused { 400 } else { 200 }, with(POST, &headers, "3\r\nabc\r\n0\r\n\r\n")));
        }
    }
    assert_one_reply(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_and_headers_that_are_not_clear_are_refused() {
    let mut cases = Vec::new();
    for length in ["+3", "-3", "0x3", "3,3", "3, 4", "3 3", "", "3;", "18446744073709551616", "3\r\ncontent-length: 4"]
    {
        cases.push((400, with(POST, &format!("content-length: {length}\r\n"), "abc")));
    }
    for headers in [
        "host: localhost\r\n folded: y\r\n",
        "host: localhost\r\na: b\r\n\tfolded\r\n",
        "host: localhost\r\na : b\r\n",
        "host: localhost\r\n: b\r\n",
        "host: localhost\r\na\r\n",
        "host: localhost\r\na: b\rc: d\r\n",
        "host: localhost\r\na: b\0c\r\n",
        "host: localhost\r\na: b\r\r\n",
        " host: localhost\r\n",
    ] {
        cases.push((400, with(GET, headers, "")));
    }
    for line in [
        "GET  /v2/health/live HTTP/1.1",
        "GET /v2/health/live",
        "GET /a b HTTP/1.1",
        "G(T /v2 HTTP/1.1",
        "GET /v2 HTTP/1.9",
    ] {
        cases.push((400, format!("{line}\r\nhost: localhost\r\n\r\n")));
    }
    // Chunks: a size that overflows, is negative or empty, data of another length, an extension that does not end.
    for body in [
        "fffffffffffffffff\r\nabc",
        "-3\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
    ] {
        cases.push((400, with(POST, "transfer-encoding: chunked\r\n", body)));
    }
    let extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "e".repeat(40_000));
    cases.push((400, with(POST, "transfer-encoding: chunked\r\n", &extension)));
    let trailers = format!("3\r\nabc\r\n0\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    cases.push((400, with(POST, "transfer-encoding: chunked\r\n", &trailers)));
    assert_one_reply(cases).await;
}

/// What the standard allows is understood, and does not shift the next request.
#[tokio::test(flavor = "multi_thread")]
async fn unusual_requests_that_are_clear_are_answered() {
    let server = Server::start(&guests_config("tester", "")).await;
    let address = server.url["http://".len()..].to_owned();
    let last = "GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let cases = [
        (200, with(POST, "content-length: 3\r\ncontent-length: 3\r\n", "abc")),
        (200, with(POST, "Transfer-Encoding: \t Chunked \r\n", "3;name=value\r\nabc\r\n0\r\ntrailer: x\r\n\r\n")),
        (200, with(POST, "transfer-encoding: chunked\r\n", "03\r\nabc\r\n000\r\n\r\n")),
        (200, format!("\r\n\r\n{GET}host: localhost\r\n\r\n")),
        (200, "GET /v2/health/live HTTP/1.1\nhost: localhost\n\n".to_owned()),
        (200, "GET http://127.9.9.9/v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n".to_owned()),
        (421, "GET http://another.example/v2 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned()),
        (404, "OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned()),
        (421, "CONNECT another.example:443 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned()),
        (200, format!("{GET}host: localhost\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n")),
    ];
    let checks = move || {
        for (status, request) in cases {
            let replies = exchange(&address, &format!("{request}{last}"));
            assert!(replies.starts_with(&format!("HTTP/1.1 {status} ")), "{status} for {request:?}: {replies}");
            assert_eq!(replies.matches("HTTP/1.1 ").count(), 2, "{request:?}: {replies}");
        }
    };
    tokio::task::spawn_blocking(checks).await.expect("no panic");
}
