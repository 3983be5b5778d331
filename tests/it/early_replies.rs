//! A reply that is sent before the request's body has arrived reaches a client that sends the whole body first, as
//! proxies and many clients do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use plimsoll_tests::{Server, guests_config};

/// More than the sockets' buffers hold, so that the client still writes when the reply is sent.
const BODY: usize = 12 << 20;
const ROUNDS: usize = 10;

/// Sends a head and a body, and only then reads the reply, to its end.
fn send_first(address: &str, head: &str, body: usize) -> Result<String, String> {
    let mut stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    stream.set_write_timeout(Some(Duration::from_secs(60))).expect("set");
    stream.write_all(head.as_bytes()).map_err(|error| format!("head: {error}"))?;
    let piece = [b'x'; 64 << 10];
    for _ in 0..body / piece.len() {
        stream.write_all(&piece).map_err(|error| format!("body: {error}"))?;
    }
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).map_err(|error| format!("reply: {error}"))?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_before_the_end_of_the_body_is_not_lost() {
    let toml = format!("[server]\nmax_body = \"1MiB\"\n{}", guests_config("tester", ""));
    let server = Server::start(&toml).await;
    let address = address(&server.url);
    let json = "content-type: application/json\r\n";
    let cases = [
        ("PUT /v1/plugins/stamp", "", "401"),
        ("POST /v2/repository/models/p/load", "", "401"),
        ("POST /v1/pipelines/p/infer", "", "413"),
        ("POST /v2/models/p/infer", json, "413"),
        ("POST /v1/pipelines/none/infer", "", "404"),
        ("POST /v2/models/none/infer", json, "404"),
        ("GET /v1/pipelines/p/infer", "", "405"),
        ("POST /nowhere", "", "404"),
    ];
    let asked = tokio::task::spawn_blocking(move || {
        for (request, headers, status) in cases {
            for _ in 0..ROUNDS {
                let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {BODY}\r\n\r\n");
                let reply = send_first(&address, &head, BODY).unwrap_or_else(|error| panic!("{request}: {error}"));
                assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {reply}");
                assert!(reply.to_ascii_lowercase().contains("connection: close"), "{request}: {reply}");
            }
        }
        // Bytes that are not a request get a reply, too.
        for _ in 0..ROUNDS {
            let head = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
            let reply = send_first(&address, &head, 0).unwrap_or_else(|error| panic!("a large head: {error}"));
            assert!(reply.starts_with("HTTP/1.1 431"), "{reply}");
        }
    });
    asked.await.expect("every reply arrives");
}
