//! Clients with small requests are not refused by a server with its default settings, also while others only announce
//! bodies. `tests/conformance/test_triton_load.py` is the same for 32 threads of tritonclient.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_tests::{Server, guests_config};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::raw_http::{POST, http2, raw, read_all};
use crate::wrapped::until;

const INFER: &str = "/v1/pipelines/p/infer";

/// Uploads a body of 1 KB in four chunks, with pauses between them. Returns the line of the status.
async fn upload(server: &Server) -> String {
    let head =
        format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut stream = raw(server, head.as_bytes()).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let chunk = format!("100\r\n{}\r\n", "x".repeat(0x100));
        stream.write_all(chunk.as_bytes()).await.expect("sent");
    }
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    read_all(&mut stream).await.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_chunked_uploads_at_once_are_served() {
    let server = Arc::new(Server::start(&guests_config("tester", "")).await);
    // Bodies that never come: 16 of one connection of HTTP/2, and 16 of HTTP/1 with the largest length that is allowed.
    let mut silent = vec![raw(&server, &http2(POST, INFER, 65_535, 16)).await];
    let announced = format!("POST {INFER} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", 32 << 20);
    for _ in 0..16 {
        silent.push(raw(&server, announced.as_bytes()).await);
    }
    let mut clients = JoinSet::new();
    for _ in 0..48 {
        let server = Arc::clone(&server);
        clients.spawn(async move {
            for _ in 0..5 {
                assert_eq!(upload(&server).await, "HTTP/1.1 200 OK");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no upload is refused");
    }
    drop(silent);
}

/// A server cannot tell a client that is gone from one that has only ended its sending direction. `host/docs/http.md` and
/// `host/docs/protocol.md` say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_connection_counts_as_a_disconnect() {
    let server = Server::start(&guests_config("tester", "")).await;
    let head = format!("POST {INFER}?do=sleep&ms=60000 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx");
    let mut stream = raw(&server, head.as_bytes()).await;
    until("the run", async || server.app.runtime.pool_usage().expect("a pool").component_instances > 0).await;
    stream.shutdown().await.expect("the sending direction ends");
    assert_eq!(read_all(&mut stream).await, "");
    until("the end of the run", async || server.memory_row("preprocess", "cancelled").await.is_some()).await;
}
